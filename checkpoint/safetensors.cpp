#include "checkpoint/safetensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

#include "checkpoint/contents.h"
#include "checkpoint/folders.h"
#include "common/error.h"
#include "common/json.h"
#include "common/quantity.h"

namespace sisa::checkpoint {
namespace fs = std::filesystem;
namespace {

using common::format_count;
using nlohmann::json;
using Tensor = SafetensorsFile::Tensor;

static_assert(std::endian::native == std::endian::little, "tensors lie in the file as in memory");

constexpr uint64_t largest_header = 100'000'000;  // in bytes; a limit of the format
constexpr std::string_view metadata_name = "__metadata__";

constexpr std::array<std::pair<std::string_view, c10::ScalarType>, 4> dtypes{
    {{"F64", c10::kDouble}, {"F32", c10::kFloat}, {"F16", c10::kHalf}, {"BF16", c10::kBFloat16}}};

// Other formats of weights, recognised by their first bytes.
constexpr std::array<std::pair<std::string_view, std::string_view>, 3> other_formats{
    {{"\x89HDF", "an HDF5 file"},
     {"PK\x03\x04", "a zip archive, as PyTorch's .pt and .bin files are"},
     {"\x80\x02", "a Python pickle, as PyTorch's old .pt and .bin files are"}}};

// A value of the header for a message: as ASCII, so that it can be cut off anywhere.
std::string shown(const json& value) {
  constexpr size_t longest = 60;
  const std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true);
  return text.size() <= longest ? text : text.substr(0, longest) + "…";
}

std::string header_of(const common::InputFile& file) {
  constexpr auto length_bytes = static_cast<int64_t>(sizeof(uint64_t));
  if (file.size() < length_bytes)
    throw Error("has {} bytes, fewer than the {} of the header's length", file.size(), length_bytes);
  const auto length = file.at<uint64_t>(0);
  const auto rest = static_cast<uint64_t>(file.size() - length_bytes);
  if (length > rest || length > largest_header) {
    const auto first = file.at<std::array<char, length_bytes>>(0);
    for (const auto& [start, name] : other_formats)
      if (std::string_view(first.data(), first.size()).starts_with(start))
        throw Error("is {}, not a safetensors file", name);
    throw Error("says that its header has {} bytes, but {}: it was cut off or is no safetensors file", length,
                length > rest ? fmt::format("only {} follow", rest)
                              : fmt::format("the format allows {}", largest_header));
  }
  std::string text(length, ' ');
  file.read(length_bytes, std::as_writable_bytes(std::span(text)));
  return text;
}

// Also refuses what the parser would accept: keys that occur twice, of which it would keep the last, and
// lists within lists, which the format does not have.
json parse_header(std::string_view text) {
  constexpr int any_depth = std::numeric_limits<int>::max();  // what follows refuses all but the first few
  constexpr int deepest = 2;                                  // of a list in a tensor's entry in the header
  std::array<std::set<std::string>, deepest + 1> keys;        // of the object that is open at each depth
  const auto check = [&](int depth, json::parse_event_t event, const json& read) {
    using enum json::parse_event_t;
    if ((event == object_start || event == array_start) && depth > deepest)
      throw Error("has a header of more than {} levels", deepest + 1);
    if (event == object_start) keys[static_cast<size_t>(depth)].clear();
    if (event == key && !keys[static_cast<size_t>(depth) - 1].insert(read).second)
      throw Error("has {} twice in its header", shown(read));
    return true;
  };
  if (const std::string problem = common::beyond_limits(text, {.levels = any_depth}); !problem.empty())
    throw Error("has a header that {}", problem);
  try {
    json header = json::parse(text, check);
    if (!header.is_object()) throw Error("has a header that is no JSON object but {}", shown(header));
    return header;
  } catch (const json::exception& error) {
    throw Error("has a header that is no JSON ({})", error.what());
  }
}

std::vector<int64_t> integers(const std::string& name, const json& entry, const char* key) {
  const auto list = entry.find(key);
  const auto fits = [](const json& n) { return n.is_number_unsigned() && n.get<uint64_t>() <= INT64_MAX; };
  if (list == entry.end() || !list->is_array() || !std::all_of(list->begin(), list->end(), fits))
    throw Error("has for {} the {} {}; a list of integers from 0 on was expected", name, key,
                list == entry.end() ? "nothing" : shown(*list));
  return *list;
}

c10::ScalarType type_of(const std::string& name, const json& entry) {
  const auto dtype = entry.find("dtype");
  if (dtype != entry.end())
    for (const auto& [tag, type] : dtypes)
      if (*dtype == tag) return type;
  throw Error("has for {} the dtype {}; F64, F32, F16 or BF16 was expected", name,
              dtype == entry.end() ? "nothing" : shown(*dtype));
}

// The size of a tensor in bytes; nothing if it does not fit int64.
std::optional<int64_t> num_bytes(const std::vector<int64_t>& shape, c10::ScalarType type) {
  auto bytes = static_cast<int64_t>(c10::elementSize(type));
  for (const int64_t n : shape)
    if (__builtin_mul_overflow(bytes, n, &bytes)) return {};
  return bytes;
}

// The data of the tensors are the bytes [begin, end) of the file.
Tensor to_tensor(const std::string& name, const json& entry, int64_t begin, int64_t end) {
  if (!entry.is_object())
    throw Error("has for {} the entry {}; a JSON object was expected", name, shown(entry));
  Tensor tensor{type_of(name, entry), integers(name, entry, "shape")};
  const std::vector<int64_t> offsets = integers(name, entry, "data_offsets");
  if (offsets.size() != 2 || offsets[0] > offsets[1])
    throw Error("has for {} the data_offsets {}; two in ascending order were expected", name,
                shown(entry["data_offsets"]));
  const int64_t size = offsets[1] - offsets[0];
  if (num_bytes(tensor.shape, tensor.type) != size)
    throw Error("has {} bytes of data for {}, which is not what its shape {} takes in {}", format_count(size),
                name, shown(entry["shape"]), entry["dtype"].get<std::string>());
  if (offsets[1] > end - begin)
    throw Error("has {} bytes of data, and {} ends at byte {} of them: it was cut off",
                format_count(end - begin), name, format_count(offsets[1]));
  tensor.begin = begin + offsets[0];
  tensor.end = begin + offsets[1];
  return tensor;
}

// Throws Error unless the tensors cover the bytes [begin, end) of the file exactly once.
void check_cover(const std::map<std::string, Tensor>& tensors, int64_t begin, int64_t end) {
  std::vector<std::tuple<int64_t, int64_t, std::string_view>> order;
  for (const auto& [name, tensor] : tensors) order.emplace_back(tensor.begin, tensor.end, name);
  std::sort(order.begin(), order.end());
  int64_t covered = begin;  // the end of what is covered so far
  std::string_view before = "the header";
  for (const auto& [first, last, name] : order) {
    if (first < covered) throw Error("has bytes that belong to both {} and {}", before, name);
    if (first > covered)
      throw Error("has {} bytes of no tensor between {} and {}", format_count(first - covered), before, name);
    covered = last;
    before = name;
  }
  if (covered < end) throw Error("has {} bytes of no tensor after {}", format_count(end - covered), before);
}

std::map<std::string, std::string> to_metadata(const json& entry) {
  const auto is_text = [](const json& value) { return value.is_string(); };
  if (!entry.is_object() || !std::all_of(entry.begin(), entry.end(), is_text))
    throw Error("has the {} {}; texts by name were expected", metadata_name, shown(entry));
  return entry;
}

// The length and the header, which is filled up with spaces so that the tensors begin at a multiple of 8
// bytes.
std::string header_text(const std::vector<SafetensorsWriter::Tensor>& tensors, c10::ScalarType type,
                        const std::map<std::string, std::string>& metadata, int64_t& data_bytes) {
  const auto dtype =
      std::find_if(dtypes.begin(), dtypes.end(), [&](const auto& d) { return d.second == type; });
  TORCH_INTERNAL_ASSERT(dtype != dtypes.end());
  nlohmann::ordered_json header = {{metadata_name, metadata}};
  data_bytes = 0;
  for (const auto& [name, shape] : tensors) {
    const int64_t begin = data_bytes;
    data_bytes += num_bytes(shape, type).value();
    header[name] = {{"dtype", dtype->first}, {"shape", shape}, {"data_offsets", {begin, data_bytes}}};
  }
  // Paths in a recipe may contain bytes that are not UTF-8.
  std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const fs::path& path) : path_(path.string()) {
  std::error_code code;
  if (!fs::is_regular_file(path, code)) throw Error("{} is no file; a safetensors file was expected.", path_);
  file_ = common::InputFile(path);
  try {
    const std::string text = header_of(file_);
    const auto begin = static_cast<int64_t>(sizeof(uint64_t) + text.size());
    const json header = parse_header(text);
    for (const auto& [name, entry] : header.items())
      if (name == metadata_name)
        metadata_ = to_metadata(entry);
      else
        tensors_.emplace(name, to_tensor(name, entry, begin, file_.size()));
    check_cover(tensors_, begin, file_.size());
  } catch (const SystemError&) {
    throw;
  } catch (const Error& error) {
    throw Error("{} {}. Copy or export it again, or name another safetensors file.", path_, error.what());
  }
}

at::Tensor SafetensorsFile::read(const std::string& name, int64_t begin, int64_t end) const {
  const Tensor& tensor = tensors_.at(name);
  const auto size = static_cast<int64_t>(c10::elementSize(tensor.type));
  TORCH_INTERNAL_ASSERT(0 <= begin && begin <= end && end <= (tensor.end - tensor.begin) / size, name,
                        " has no elements ", begin, " to ", end);
  const at::Tensor elements = at::empty({end - begin}, tensor.type);
  file_.read(tensor.begin + begin * size,
             {static_cast<std::byte*>(elements.data_ptr()), static_cast<size_t>((end - begin) * size)});
  return elements;
}

SafetensorsWriter::SafetensorsWriter(const fs::path& path, const std::vector<Tensor>& tensors,
                                     c10::ScalarType type, const std::map<std::string, std::string>& metadata,
                                     const Disk& disk)
    : path_(fs::current_path() / path),
      temporary_{path_.parent_path() / temporary_name(path_.filename().string())},
      disk_(disk),
      file_(temporary_.path, O_WRONLY | O_CREAT | O_TRUNC) {
  int64_t data_bytes = 0;
  const std::string header = header_text(tensors, type, metadata, data_bytes);
  written_ = static_cast<int64_t>(header.size());
  size_ = written_ + data_bytes;
  file_.write(std::as_bytes(std::span(header)), 0, disk_);
}

SafetensorsWriter::Temporary::~Temporary() {
  std::error_code ignored;
  fs::remove(path, ignored);
}

void SafetensorsWriter::write(const at::Tensor& elements) {
  const at::Tensor bytes = elements.contiguous();
  file_.write({static_cast<const std::byte*>(bytes.data_ptr()), bytes.nbytes()}, written_, disk_);
  written_ += static_cast<int64_t>(bytes.nbytes());
}

void SafetensorsWriter::finish() {
  TORCH_INTERNAL_ASSERT(written_ == size_, "the tensors that were written have ", written_ - size_,
                        " bytes more than those that were announced");
  file_.finish(size_, disk_);
  std::error_code code;
  fs::rename(temporary_.path, path_, code);
  if (code)
    throw SystemError(
        fmt::format("Cannot rename {} to {}: {}", temporary_.path.string(), path_.string(), code.message()));
  common::sync_file(path_.parent_path());
}

std::optional<int64_t> first_not_finite(const at::Tensor& elements) {
  const at::Tensor finite = at::isfinite(elements);
  if (finite.all().item<bool>()) return {};
  return finite.to(at::kByte).argmin().item<int64_t>();
}

}  // namespace sisa::checkpoint
