#include "checkpoint/master_file.h"

#include <c10/util/Exception.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <system_error>
#include <utility>

#include "checkpoint/child_process.h"
#include "checkpoint/damage.h"
#include "checkpoint/folders.h"
#include "checkpoint/hdf5.h"
#include "common/error.h"
#include "common/file.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/precision_names.h"

namespace sisa::checkpoint {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;
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

constexpr int64_t most_bytes = int64_t{512} << 20;  // of a master file; one of 1000 ranks has about 100 MB

// The content of folder/master.h5, whose checksum is right.
std::string read_bytes(const fs::path& path) {
  const File file(path, O_RDONLY);
  const int64_t size = file.size();
  if (size > most_bytes)
    throw Damage(fmt::format("{} has {} bytes; at most {} were expected", path.string(), size, most_bytes));
  std::string bytes(static_cast<size_t>(size), '\0');
  file.read(std::as_writable_bytes(std::span(bytes)), 0);
  if (bytes.size() < user_block || !bytes.starts_with(first_line(std::as_bytes(std::span(bytes)))))
    throw Damage(fmt::format(
        "{} is damaged: its bytes do not have the checksum that stands in its first line", path.string()));
  return bytes;
}

// Reading takes milliseconds; a second for some ten thousand mappings.
ChildLimits limits_for(const std::string& bytes) {
  const auto size = static_cast<int64_t>(bytes.size());
  return {.seconds = 10 + size / 500'000, .memory = (int64_t{1} << 30) + 8 * size, .answer = 4 * size + 4096};
}

constexpr std::array integers{"format_version", "step",       "updates",  "samples",
                              "tokens",         "world_size", "sequence", "kept"};
constexpr std::array numbers{"written", "held_out_loss"};
constexpr std::array strings{"precision", "code_version"};
constexpr std::array texts{"recipe", "extra", "index"};

// All of a master file that Contents are made of, as CBOR: an object of the names above, without those that
// the file does not have. Called in a process of its own.
std::string parts_of(const std::string& bytes) {
  json parts = json::object();
  const hdf5::Id file = hdf5::open_image(std::as_bytes(std::span(bytes)));
  const auto add = [&](const auto& names, auto read) {
    for (const char* const name : names)
      if (hdf5::has_attribute(file, name)) parts[name] = read(file, name);
  };
  add(integers, hdf5::read_integer);
  add(numbers, hdf5::read_number);
  add(strings, hdf5::read_string);
  for (const char* const name : texts)
    if (hdf5::has_text(file, name)) parts[name] = hdf5::read_text(file, name, bytes.size());
  std::string cbor;
  json::to_cbor(parts, cbor);
  return cbor;
}

// The sampler serves numbers of samples up to 2^50; so many steps, tokens and saves are out of reach as well.
constexpr int64_t most_counted = int64_t{1} << 50;
constexpr double most_seconds = 253'402'300'799;  // the end of the year 9999, beyond which no date is printed

Contents contents_of(const common::JsonPart& parts, const std::string& name) {
  const auto count = [&](const char* key) { return parts.at(key).integer(0, most_counted); };
  const int64_t version = parts.at("format_version").integer(1, most_counted);
  if (version > format_version)
    throw Error(
        "{} has format {}, and this program reads formats up to {}. Use the version of sisa that wrote it "
        "({}).",
        name, version, format_version, parts.at("code_version").text());
  Contents contents;
  contents.state.step = count("step");
  contents.state.updates = count("updates");
  contents.state.samples = count("samples");
  contents.state.tokens = count("tokens");
  // A loss may be infinite or no number at all, which a diverged run has.
  if (parts.has("held_out_loss"))
    contents.state.held_out_loss = parts.at("held_out_loss").value().get<double>();
  contents.state.recipe = parts.at("recipe").text();
  contents.state.code_version = parts.at("code_version").text();
  contents.state.extra = parts.at("extra").text();
  const json extra = common::parse_json<json>(contents.state.extra, parts.at("extra").where());
  if (!extra.is_object())
    parts.at("extra").refuse("is {}, where a JSON object is expected", parts.at("extra").shown());
  contents.world_size = parts.at("world_size").integer(1, std::numeric_limits<int>::max());
  contents.precision = parts.at("precision").text();
  const auto& known = common::precision_names;
  if (std::none_of(known.begin(), known.end(), [&](const auto& p) { return p.first == contents.precision; }))
    parts.at("precision").refuse("is {}, which this version does not know", parts.at("precision").shown());
  contents.sequence = count("sequence");
  contents.written = parts.at("written").number();
  if (contents.written < 0 || contents.written > most_seconds)
    parts.at("written").refuse("is {}, no time from 1970 to 9999", contents.written);
  contents.kept = parts.has("kept");
  index_from_json(parts.at("index").text(), parts.at("index").where(), contents);
  return contents;
}

// Every rank has a file. One that the index does not name and that does not exist ends the search, so that a
// number of ranks without bound costs nothing.
void check_ranks(const fs::path& folder, const Contents& contents) {
  std::set<std::string> named;
  for (const StoredSlice& source : contents.sources) named.insert(source.file);
  for (int rank = 0; rank < contents.world_size; ++rank) {
    const fs::path file = folder / rank_file_name(rank);
    std::error_code code;
    if (named.contains(file.filename().string()) || fs::exists(file, code)) continue;
    if (code) throw SystemError(fmt::format("Cannot look for {}: {}", file.string(), code.message()));
    throw Damage(
        fmt::format("{} is missing: {} ranks wrote the checkpoint", file.string(), contents.world_size));
  }
}

// The virtual datasets of a master file that do not match the index, in sentences. Called in a process of its
// own.
std::vector<std::string> compare_mappings(const std::string& bytes, const std::string& name,
                                          const Contents& contents) {
  std::vector<std::string> damage;
  const hdf5::Id file = hdf5::open_image(std::as_bytes(std::span(bytes)));
  for (const Mapping& mapping : mappings(contents)) {
    const std::string dataset_name = mapping.sources.front()->dataset();
    const std::string where = fmt::format("{} of {}", dataset_name, name);
    try {
      const hdf5::Id dataset = hdf5::open_dataset(file, dataset_name);
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
  std::error_code code;
  if (!fs::exists(path, code) && !code)
    throw Damage(fmt::format("{} is missing: {} is not a whole checkpoint", path.string(), folder.string()));
  const std::string name = path.string(), bytes = read_bytes(path);
  const std::string cbor = in_child_process(
      name, [&] { return parts_of(bytes); }, limits_for(bytes));
  try {
    const json parts = json::from_cbor(cbor);
    Contents contents = contents_of({parts, ""}, name);
    check_ranks(folder, contents);
    return contents;
  } catch (const json::exception& error) {  // of a process that HDF5 confused
    throw Damage(fmt::format("{} is damaged: {}", name, error.what()));
  } catch (const common::JsonError& error) {
    throw Damage(fmt::format("{} is damaged: {}", name, error.what()));
  }
}

std::vector<std::string> damage_of_virtual_datasets(const fs::path& folder, const Contents& contents) {
  const std::string name = (folder / "master.h5").string(), bytes = read_bytes(name);
  try {
    return texts_from_child_process(
        name, [&] { return compare_mappings(bytes, name, contents); }, limits_for(bytes));
  } catch (const Damage& error) {
    return {error.what()};
  }
}

}  // namespace sisa::checkpoint
