#include "checkpoint/master_file.h"

#include <c10/util/Exception.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <map>
#include <span>
#include <utility>

#include "checkpoint/damage.h"
#include "checkpoint/folders.h"
#include "checkpoint/hdf5.h"
#include "common/error.h"
#include "common/file.h"
#include "common/hash.h"

namespace sisa::checkpoint {
namespace fs = std::filesystem;
namespace {

using parallel::StateArray;

constexpr size_t user_block = 512;  // bytes

std::string first_line(std::span<const std::byte> file) {
  return fmt::format("sisa checkpoint. XXH3-64 of all bytes after the first {}: {}\n", user_block,
                     common::hash_hex(common::hash64(file.subspan(user_block))));
}

// The weights or a moment of one parameter, and the datasets that contain them. All of these have the same
// type.
struct Mapping {
  const Array* array;
  StateArray state;
  std::vector<const StoredSlice*> sources;  // in ascending order; together they cover the array exactly
};

std::vector<Mapping> mappings(const Contents& contents) {
  auto by_array = contents.sources_by_array();
  std::vector<Mapping> out;
  for (const StateArray state : saved_arrays(contents.has_moments())) {
    for (const Array& array : contents.arrays) {
      auto& sources = by_array[{state, array.name}];
      int64_t covered = 0;
      for (const StoredSlice* s : sources) {
        if (s->begin != covered || s->type != sources.front()->type) break;
        covered = s->end;
      }
      TORCH_INTERNAL_ASSERT(covered == array.numel(), "the ranks' slices of ", group_name(state), "/",
                            array.name, " do not cover it exactly: they end at element ", covered, " of ",
                            array.numel());
      out.push_back({&array, state, std::move(sources)});
    }
  }
  return out;
}

void set_nan_fill(hid_t creation, c10::ScalarType type) {
  const uint16_t bf16 = 0x7FC0;
  const float fp32 = std::numeric_limits<float>::quiet_NaN();
  const double fp64 = std::numeric_limits<double>::quiet_NaN();
  const void* value = type == c10::kBFloat16 ? static_cast<const void*>(&bf16)
                      : type == c10::kDouble ? static_cast<const void*>(&fp64)
                                             : &fp32;
  hdf5::check(H5Pset_fill_value(creation, hdf5::stored_type(type), value), "Cannot set a fill value");
}

std::vector<hsize_t> extents(const std::vector<int64_t>& numbers) {
  return {numbers.begin(), numbers.end()};
}

void write_virtual_dataset(hid_t file, const Mapping& mapping) {
  const StoredSlice& first = *mapping.sources.front();
  const std::string what = "Cannot map " + first.dataset();
  const hdf5::Id creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, what);
  set_nan_fill(creation, first.type);
  for (const StoredSlice* source : mapping.sources) {
    const hdf5::Id from = hdf5::dataspace({source->end - source->begin});
    const hdf5::Id to = hdf5::dataspace(mapping.array->shape);
    // Each rectangle has a mapping of its own, because HDF5 cannot store irregular unions beyond 2^32
    // elements.
    for (const Rectangle& box : rectangles(mapping.array->shape, source->begin, source->end)) {
      const auto start = static_cast<hsize_t>(box.begin - source->begin);
      const auto count = static_cast<hsize_t>(box.numel());
      hdf5::check(H5Sselect_hyperslab(from, H5S_SELECT_SET, &start, nullptr, &count, nullptr), what);
      hdf5::check(H5Sselect_hyperslab(to, H5S_SELECT_SET, extents(box.start).data(), nullptr,
                                      extents(box.count).data(), nullptr),
                  what);
      hdf5::check(H5Pset_virtual(creation, to, source->file.c_str(), first.dataset().c_str(), from), what);
    }
  }
  const hdf5::Id dataset = hdf5::create_dataset(file, first.dataset(), hdf5::stored_type(first.type),
                                                mapping.array->shape, creation);
  hdf5::write_attribute(dataset, "dtype", std::string(type_name(first.type)));
}

void write_state(hid_t file, const Contents& contents) {
  const RunState& state = contents.state;
  hdf5::write_attribute(file, "format_version", format_version);
  hdf5::write_attribute(file, "step", state.step);
  hdf5::write_attribute(file, "updates", state.updates);
  hdf5::write_attribute(file, "samples", state.samples);
  hdf5::write_attribute(file, "tokens", state.tokens);
  if (state.held_out_loss) hdf5::write_attribute(file, "held_out_loss", *state.held_out_loss);
  hdf5::write_attribute(file, "world_size", contents.world_size);
  hdf5::write_attribute(file, "sequence", contents.sequence);
  hdf5::write_attribute(file, "written", contents.written);
  if (contents.kept) hdf5::write_attribute(file, "kept", int64_t{1});
  hdf5::write_attribute(file, "precision", contents.precision);
  hdf5::write_attribute(file, "model_fingerprint", contents.fingerprint());
  hdf5::write_attribute(file, "code_version", state.code_version);
  hdf5::write_text(file, "recipe", state.recipe);
  hdf5::write_text(file, "extra", state.extra);
  hdf5::write_text(file, "index", index_to_json(contents));
}

// A mapping of a virtual dataset, in words: "rank-00001.h5 /moment1/x [0 4096) -> (3, 0) x (1, 512)".
std::string describe_mapping(const std::string& file, const std::string& dataset, int64_t begin, int64_t end,
                             const std::vector<int64_t>& start, const std::vector<int64_t>& count) {
  return fmt::format("{} {} [{} {}) -> {} x {}", file, dataset, begin, end, format_shape(start),
                     format_shape(count));
}

std::vector<std::string> expected_mappings(const Mapping& mapping) {
  std::vector<std::string> out;
  for (const StoredSlice* s : mapping.sources)
    for (const Rectangle& box : rectangles(mapping.array->shape, s->begin, s->end))
      out.push_back(describe_mapping(s->file, s->dataset(), box.begin - s->begin,
                                     box.begin - s->begin + box.numel(), box.start, box.count));
  return out;
}

// The start and the count of a selection that is a single box.
std::pair<std::vector<int64_t>, std::vector<int64_t>> box_of(hid_t space) {
  const std::string what = "Cannot read a mapping";
  const auto dimensions = static_cast<size_t>(hdf5::check(H5Sget_simple_extent_ndims(space), what));
  std::vector<hsize_t> low(dimensions), high(dimensions);  // both inclusive
  hdf5::check(H5Sget_select_bounds(space, low.data(), high.data()), what);
  std::vector<int64_t> count;
  for (size_t d = 0; d < dimensions; ++d) count.push_back(static_cast<int64_t>(high[d] - low[d] + 1));
  return {{low.begin(), low.end()}, count};
}

std::vector<std::string> stored_mappings(hid_t dataset) {
  const std::string what = "Cannot read a mapping";
  const hdf5::Id creation(H5Dget_create_plist(dataset), H5Pclose, what);
  size_t count = 0;
  hdf5::check(H5Pget_virtual_count(creation, &count), what);
  const auto text = [&](auto get, size_t i) {
    std::string name(static_cast<size_t>(hdf5::check(get(creation, i, nullptr, size_t{0}), what)) + 1, '\0');
    hdf5::check(get(creation, i, name.data(), name.size()), what);
    name.pop_back();
    return name;
  };
  std::vector<std::string> out;
  for (size_t i = 0; i < count; ++i) {
    const hdf5::Id from(H5Pget_virtual_srcspace(creation, i), H5Sclose, what);
    const hdf5::Id to(H5Pget_virtual_vspace(creation, i), H5Sclose, what);
    const auto [from_start, from_count] = box_of(from);
    const auto [start, size] = box_of(to);
    out.push_back(describe_mapping(text(H5Pget_virtual_filename, i), text(H5Pget_virtual_dsetname, i),
                                   from_start.front(), from_start.front() + from_count.front(), start, size));
  }
  return out;
}

// Opens a master file whose checksum is right.
Contents read_contents(const fs::path& path) {
  const hdf5::Id file = hdf5::open_file(path);
  const int64_t version = hdf5::read_integer(file, "format_version");
  if (version > format_version)
    throw Error(
        "{} has format {}, and this program reads formats up to {}. Use the version of sisa that wrote it "
        "({}).",
        path.string(), version, format_version, hdf5::read_string(file, "code_version"));
  Contents contents{.state = {.step = hdf5::read_integer(file, "step"),
                              .updates = hdf5::read_integer(file, "updates"),
                              .samples = hdf5::read_integer(file, "samples"),
                              .tokens = hdf5::read_integer(file, "tokens"),
                              .recipe = hdf5::read_text(file, "recipe"),
                              .code_version = hdf5::read_string(file, "code_version"),
                              .extra = hdf5::read_text(file, "extra")},
                    .world_size = hdf5::read_integer(file, "world_size"),
                    .precision = hdf5::read_string(file, "precision"),
                    .sequence = hdf5::read_integer(file, "sequence"),
                    .written = hdf5::read_number(file, "written"),
                    .kept = hdf5::has_attribute(file, "kept"),
                    .arrays = {},
                    .sources = {}};
  if (hdf5::has_attribute(file, "held_out_loss"))
    contents.state.held_out_loss = hdf5::read_number(file, "held_out_loss");
  index_from_json(hdf5::read_text(file, "index"), contents);
  return contents;
}

}  // namespace

namespace {

// Writes the file, which must not exist, and forces it to the disk.
void write_new(const fs::path& path, const Contents& contents, const Disk& disk) {
  const std::vector<Mapping> all = mappings(contents);
  hdf5::MemoryFile master(64 << 10, user_block);
  write_state(master.id(), contents);
  for (const StateArray state : saved_arrays(contents.has_moments()))
    hdf5::create_group(master.id(), std::string(group_name(state)));
  for (const Mapping& mapping : all) write_virtual_dataset(master.id(), mapping);
  master.close();

  const std::span<std::byte> image = master.image();
  const std::string line = first_line(image);
  std::transform(line.begin(), line.end(), image.begin(), [](char c) { return static_cast<std::byte>(c); });
  File file(path, O_WRONLY | O_CREAT | O_EXCL);
  file.write(image, 0, disk);
  file.finish(static_cast<int64_t>(image.size()), disk);
}

}  // namespace

void write_master(const fs::path& folder, const Contents& contents, const Disk& disk) {
  write_new(folder / "master.h5", contents, disk);
}

void replace_master(const fs::path& folder, const Contents& contents, const Disk& disk) {
  const fs::path temporary = folder / temporary_name("master.h5");
  fs::remove(temporary);
  write_new(temporary, contents, disk);
  fs::rename(temporary, folder / "master.h5");
  common::sync_file(folder);
}

Contents read_master(const fs::path& folder) {
  const fs::path path = folder / "master.h5";
  if (!fs::exists(path))
    throw Damage(fmt::format("{} is missing: {} is not a whole checkpoint", path.string(), folder.string()));
  const std::string bytes = common::read_file(path);
  if (bytes.size() < user_block || !bytes.starts_with(first_line(std::as_bytes(std::span(bytes)))))
    throw Damage(fmt::format(
        "{} is damaged: its bytes do not have the checksum that stands in its first line", path.string()));

  try {
    return read_contents(path);
  } catch (const SystemError& error) {
    // All its bytes could be read just now, so that what HDF5 does not understand is their fault.
    throw Damage(error.what());
  }
}

std::vector<std::string> damage_of_virtual_datasets(const fs::path& folder, const Contents& contents) {
  std::vector<std::string> damage;
  const hdf5::Id file = hdf5::open_file(folder / "master.h5");
  for (const Mapping& mapping : mappings(contents)) {
    const std::string name = mapping.sources.front()->dataset();
    const std::string where = fmt::format("{} of {}", name, (folder / "master.h5").string());
    try {
      const hdf5::Id dataset = hdf5::open_dataset(file, name);
      if (hdf5::shape_of(dataset) != mapping.array->shape)
        damage.push_back(fmt::format("{} has the shape {}; its index says {}", where,
                                     format_shape(hdf5::shape_of(dataset)),
                                     format_shape(mapping.array->shape)));
      else if (stored_mappings(dataset) != expected_mappings(mapping))
        damage.push_back(fmt::format("{} does not show the slices that its index lists", where));
    } catch (const SystemError& error) {
      damage.push_back(fmt::format("{}: {}", where, error.what()));
    }
  }
  return damage;
}

}  // namespace sisa::checkpoint
