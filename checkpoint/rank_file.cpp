#include "checkpoint/rank_file.h"

#include <ATen/ops/empty.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <system_error>

#include "checkpoint/child_process.h"
#include "checkpoint/damage.h"
#include "checkpoint/hdf5.h"
#include "common/error.h"
#include "common/hash.h"
#include "common/parameter.h"

namespace sisa::checkpoint {
namespace fs = std::filesystem;
namespace {

using parallel::StateArray;

constexpr int64_t read_chunk = 4 << 20;  // bytes

// The space that is reserved for HDF5's metadata, about three times what HDF5 1.10 needs.
int64_t metadata_bytes(const std::vector<Slice>& slices) {
  int64_t bytes = 64 << 10;
  for (const Slice& s : slices) bytes += 1024 + 4 * static_cast<int64_t>(s.piece.block->name.size());
  return bytes;
}

c10::ScalarType type_of(const parallel::ParameterSpace& space, const Slice& slice) {
  return common::state_type(space.options().precision, slice.piece.range->traits);
}

std::span<std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()};
}

// Throws Damage if the file is too short for a dataset.
void check_length(const File& file, const StoredSlice& source) {
  if (file.size() < source.offset + source.bytes())
    throw Damage(fmt::format("{} has {} bytes; at least {} were written for {}", file.path(), file.size(),
                             source.offset + source.bytes(), source.describe()));
}

// Reads the bytes of a dataset in chunks, calls `use(chunk, position)` for each, and checks the checksum at
// the end.
template <typename Use>
void read_checked(const File& file, const StoredSlice& source, Use use) {
  common::Hasher hasher;
  std::vector<std::byte> buffer(static_cast<size_t>(std::min(read_chunk, source.bytes())));
  for (int64_t position = 0; position < source.bytes();) {
    const auto chunk =
        std::span(buffer).first(static_cast<size_t>(std::min(read_chunk, source.bytes() - position)));
    file.read(chunk, source.offset + position);
    hasher.update(chunk);
    use(std::span<const std::byte>(chunk), position);
    position += static_cast<int64_t>(chunk.size());
  }
  if (hasher.digest() != source.checksum)
    throw Damage(fmt::format("{} is damaged: {} has the checksum {}, and {} was written", file.path(),
                             source.describe(), common::hash_hex(hasher.digest()),
                             common::hash_hex(source.checksum)));
}

// Throws SystemError if the file's own description of a dataset differs from the index.
void check_dataset(hid_t file, const StoredSlice& source) {
  const hdf5::Id dataset = hdf5::open_dataset(file, source.dataset());
  const auto expect = [&](bool right, const std::string& what) {
    if (!right) throw Damage(fmt::format("{} is not what the index says", what));
  };
  expect(hdf5::shape_of(dataset) == std::vector<int64_t>{source.end - source.begin}, "its length");
  expect(hdf5::has_type(dataset, hdf5::stored_type(source.type)), "its number type");
  expect(hdf5::read_integer(dataset, "begin") == source.begin, "its attribute `begin`");
  expect(H5Dget_offset(dataset) == static_cast<haddr_t>(source.offset), "its place in the file");
}

// The datasets that HDF5 does not find as the index says, in sentences. Throws Damage if it cannot open the file.
std::vector<std::string> damage_of_metadata(const File& file,
                                            const std::vector<const StoredSlice*>& sources) {
  // HDF5 does not say whether the file or the disk is at fault, so that what it will read is read before. All
  // of it lies before the first dataset.
  int64_t metadata = file.size();
  for (const StoredSlice* source : sources) metadata = std::min(metadata, source->offset);
  std::vector<std::byte> buffer(static_cast<size_t>(std::min(read_chunk, metadata)));
  for (int64_t position = 0; position < metadata; position += read_chunk)
    file.read(std::span(buffer).first(static_cast<size_t>(std::min(read_chunk, metadata - position))),
              position);

  const ChildLimits limits{.seconds = 10 + static_cast<int64_t>(sources.size()) / 500};
  return texts_from_child_process(
      file.path(),
      [&] {
        std::vector<std::string> damage;
        const hdf5::Id opened = hdf5::open_file(file.path());
        for (const StoredSlice* source : sources) try {
            check_dataset(opened, *source);
          } catch (const SystemError& error) {
            damage.push_back(fmt::format("{} of {}: {}", source->describe(), file.path(), error.what()));
          }
        return damage;
      },
      limits);
}

}  // namespace

std::vector<Slice> slices_to_save(const parallel::ParameterSpace& space, int rank, int world_size,
                                  bool moments) {
  std::vector<Slice> slices;
  const auto pieces = space.pieces_to_save(rank, world_size);
  for (const StateArray array : saved_arrays(moments))
    for (const parallel::BlockSlice& piece : pieces)
      if (piece.begin < piece.end) slices.push_back({piece, array});
  return slices;
}

int64_t rank_file_bytes(const parallel::ParameterSpace& space, const std::vector<Slice>& slices) {
  int64_t bytes = metadata_bytes(slices);
  for (const Slice& s : slices)
    bytes += (s.piece.end - s.piece.begin) * static_cast<int64_t>(c10::elementSize(type_of(space, s)));
  return bytes;
}

void Snapshot::take(const parallel::ParameterSpace& space, std::vector<Slice> slices) {
  slices_ = std::move(slices);
  types_.clear();
  begins_ = {0};
  std::vector<at::Tensor> cells;
  for (const Slice& slice : slices_) {
    cells.push_back(space.cells(slice.piece, slice.array));
    types_.push_back(cells.back().scalar_type());
    // Each copy begins at a multiple of 64 bytes.
    begins_.push_back(begins_.back() + (static_cast<int64_t>(cells.back().nbytes()) + 63) / 64 * 64);
  }
  const at::Device device = space.options().device;
  if (!memory_.defined() || memory_.numel() < begins_.back())
    memory_ =
        at::empty({begins_.back()}, at::device(at::kCPU).dtype(at::kByte).pinned_memory(device.is_cuda()));
  for (size_t i = 0; i < cells.size(); ++i)
    memory_.narrow(0, begins_[i], static_cast<int64_t>(cells[i].nbytes()))
        .view(types_[i])
        .copy_(cells[i], /*non_blocking=*/true);
  if (device.is_cuda()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
}

std::span<const std::byte> Snapshot::elements(size_t slice, std::vector<std::byte>& buffer) const {
  const parallel::BlockSlice& piece = slices_[slice].piece;
  const size_t size = c10::elementSize(types_[slice]);
  buffer.resize(static_cast<size_t>(piece.end - piece.begin) * size);
  const auto* const memory = static_cast<const std::byte*>(memory_.const_data_ptr());
  parallel::copy_without_padding(
      piece, size, std::span(memory + begins_[slice], parallel::cell_count(piece) * size), buffer);
  return buffer;
}

std::vector<StoredSlice> write_rank_file(const fs::path& folder, int rank, const Snapshot& snapshot,
                                         const Disk& disk) {
  const std::vector<Slice>& slices = snapshot.slices();
  const int64_t metadata = metadata_bytes(slices);
  hdf5::MemoryFile frame(metadata);
  std::vector<StoredSlice> sources;
  {
    // The space of a dataset is allocated when it is created, so that its offset is known, and HDF5 never
    // fills it.
    const hdf5::Id layout(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "Cannot prepare a dataset");
    hdf5::check(H5Pset_layout(layout, H5D_CONTIGUOUS), "Cannot prepare a dataset");
    hdf5::check(H5Pset_alloc_time(layout, H5D_ALLOC_TIME_EARLY), "Cannot prepare a dataset");
    hdf5::check(H5Pset_fill_time(layout, H5D_FILL_TIME_NEVER), "Cannot prepare a dataset");
    for (const StateArray array : saved_arrays(/*moments=*/true))
      hdf5::create_group(frame.id(), std::string(group_name(array)));
    for (size_t i = 0; i < slices.size(); ++i) {
      StoredSlice source{.file = rank_file_name(rank),
                         .array = slices[i].array,
                         .name = slices[i].piece.block->name,
                         .begin = slices[i].piece.begin,
                         .end = slices[i].piece.end,
                         .type = snapshot.type(i)};
      const hdf5::Id dataset = hdf5::create_dataset(
          frame.id(), source.dataset(), hdf5::stored_type(source.type), {source.end - source.begin}, layout);
      hdf5::write_attribute(dataset, "begin", source.begin);
      const haddr_t offset = H5Dget_offset(dataset);
      TORCH_INTERNAL_ASSERT(offset != HADDR_UNDEF, "HDF5 set no space aside for ", source.dataset());
      source.offset = static_cast<int64_t>(offset);
      sources.push_back(std::move(source));
    }
  }
  frame.close();
  const auto image = std::as_const(frame).image();
  TORCH_INTERNAL_ASSERT(sources.empty() || static_cast<int64_t>(image.size()) <= sources.front().offset,
                        "the metadata of a rank's file outgrew its ", metadata, " bytes");

  File file(folder / rank_file_name(rank), O_WRONLY | O_CREAT | O_EXCL);
  file.write(image, 0, disk);
  std::vector<std::byte> buffer;
  for (size_t i = 0; i < slices.size(); ++i) {
    const std::span<const std::byte> bytes = snapshot.elements(i, buffer);
    sources[i].checksum = common::hash64(bytes);
    file.write(bytes, sources[i].offset, disk);
  }
  file.finish(frame.size(), disk);
  return sources;
}

Reader::Reader(fs::path folder, const Contents& contents)
    : folder_(std::move(folder)), sources_(contents.sources_by_array()) {}

at::Tensor Reader::read(StateArray array, const std::string& name, int64_t begin, int64_t end) const {
  const auto found = sources_.find({array, name});
  const std::string what = fmt::format("{} holds no {}/{}", folder_.string(), group_name(array), name);
  if (found == sources_.end()) throw Damage(what);
  const auto needed = [&](const StoredSlice& source) { return source.end > begin && source.begin < end; };
  // Before memory is taken for them: no two slices share bytes, so that their files bound it.
  for (const StoredSlice* source : found->second)
    if (needed(*source)) check_length(File(folder_ / source->file, O_RDONLY), *source);
  const at::Tensor elements = at::empty({end - begin}, found->second.front()->type);
  const auto size = static_cast<int64_t>(elements.element_size());
  const std::span<std::byte> out = bytes_of(elements);
  int64_t filled = begin;  // the elements before this one have been read
  for (const StoredSlice* source : found->second) {
    if (!needed(*source)) continue;
    if (source->begin > filled || source->type != elements.scalar_type()) break;
    read_checked(File(folder_ / source->file, O_RDONLY), *source,
                 [&](std::span<const std::byte> chunk, int64_t position) {
                   // The overlap of this chunk and `out`, in bytes from the start of the array.
                   const int64_t first = source->begin * size + position;
                   const int64_t from = std::max(first, begin * size);
                   const int64_t to = std::min(first + static_cast<int64_t>(chunk.size()), end * size);
                   if (from < to)
                     std::copy_n(chunk.begin() + (from - first), to - from,
                                 out.begin() + (from - begin * size));
                 });
    filled = source->end;
  }
  if (filled < end) throw Damage(fmt::format("{} after element {} in its type", what, filled));
  return elements;
}

void read_into(const Reader& reader, parallel::ParameterSpace& space, bool moments) {
  for (const StateArray array : saved_arrays(moments)) {
    for (const parallel::BlockSlice& piece : space.owned_pieces()) {
      const auto type = common::state_type(space.options().precision, piece.range->traits);
      space.write(piece, array, reader.read(array, piece.block->name, piece.begin, piece.end).to(type));
    }
  }
}

std::vector<std::string> damage_of_rank_file(const fs::path& folder, const std::string& file_name,
                                             const Contents& contents) {
  std::vector<std::string> damage;
  const fs::path path = folder / file_name;
  std::vector<const StoredSlice*> sources;
  for (const StoredSlice& s : contents.sources)
    if (s.file == file_name) sources.push_back(&s);
  std::error_code code;
  if (!fs::exists(path, code) && !code) {
    damage.push_back(fmt::format("{} is missing", path.string()));
    if (!sources.empty())
      damage.back() +=
          fmt::format("; it held {} and {} more", sources.front()->describe(), sources.size() - 1);
    return damage;
  }
  try {
    const File file(path, O_RDONLY);
    for (const StoredSlice* source : sources) try {
        read_checked(file, *source, [](std::span<const std::byte>, int64_t) {});
      } catch (const Damage& error) {
        damage.push_back(fmt::format("{}: {}", source->describe(), error.what()));
      }
    for (std::string& text : damage_of_metadata(file, sources)) damage.push_back(std::move(text));
  } catch (const Damage& error) {
    damage.push_back(error.what());
  }
  return damage;
}

}  // namespace sisa::checkpoint
