#include "data/tokens/formats/raw_shards.h"

#include <charconv>

#include "common/error.h"
#include "common/quantity.h"
#include "common/text.h"

namespace sisa::data {
namespace {

class Meta {
 public:
  explicit Meta(std::filesystem::path path) : path_(std::move(path)) {
    int64_t number = 0;
    for (std::string line : common::split(common::read_file(path_), '\n')) {
      ++number;
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (line.empty()) continue;
      const size_t equals = line.find('=');
      if (equals == std::string::npos)
        throw Error("{}, line {}: '{}' is not of the form key=value, such as total_tokens=1000.",
                    path_.string(), number, line.substr(0, 40));
      values_[line.substr(0, equals)] = line.substr(equals + 1);
      lines_[line.substr(0, equals)] = number;
    }
  }

  const std::map<std::string, std::string>& values() const { return values_; }
  bool has(const std::string& key) const { return values_.contains(key); }

  int64_t count(const std::string& key) const {
    const std::string& text = value(key);
    int64_t number = -1;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (code != std::errc() || end != text.data() + text.size() || number < 0)
      throw Error("{} '{}', no whole number from 0 on.", says(key), text);
    return number;
  }

  void expect(const std::string& key, int64_t found, const char* where) const {
    if (count(key) != found)
      throw Error("{} {}, but {} {}. A file is missing, cut off or not one of them.", says(key),
                  common::format_count(count(key)), where, common::format_count(found));
  }

  void expect_uint16() const {
    if (value("dtype") != "uint16")
      throw Error("{} '{}', but such shards are read as uint16 only.", says("dtype"), value("dtype"));
  }

 private:
  const std::string& value(const std::string& key) const {
    if (!has(key))
      throw Error("{} has no line {}=…, so that the shards beside it cannot be checked.", path_.string(),
                  key);
    return values_.at(key);
  }
  std::string says(const std::string& key) const {
    return fmt::format("{}, line {}: {} is", path_.string(), lines_.at(key), key);
  }

  std::filesystem::path path_;
  std::map<std::string, std::string> values_;
  std::map<std::string, int64_t> lines_;  // from 1
};

}  // namespace

RawShards open_raw_shards(const std::filesystem::path& folder,
                          const std::vector<std::filesystem::path>& bins) {
  const Meta meta(folder / "meta.txt");
  meta.expect_uint16();
  meta.expect("num_shards", static_cast<int64_t>(bins.size()), "the files *.bin beside it are");
  RawShards result{.meta = meta.values()};
  int64_t tokens = 0;
  for (const auto& path : bins)
    tokens += result.shards.emplace_back(path, common::InputFile(path), IdType::uint16, 0).size();
  meta.expect("total_tokens", tokens, "the tokens in the files *.bin beside it are");
  if (meta.has("eos_id")) result.end_of_document = meta.count("eos_id");
  return result;
}

}  // namespace sisa::data
