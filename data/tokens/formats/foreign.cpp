#include "data/tokens/formats/foreign.h"

#include <fmt/ranges.h>  // fmt::join

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <numeric>
#include <span>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "data/tokens/formats/llmc.h"
#include "data/tokens/formats/megatron.h"
#include "data/tokens/formats/raw_shards.h"

namespace sisa::data {
namespace {

namespace fs = std::filesystem;

bool is_present(const fs::path& path) {
  std::error_code unreachable;  // so that an inaccessible path does not throw a filesystem_error
  return fs::exists(path, unreachable);
}

bool is_folder(const fs::path& path) {
  std::error_code unreachable;
  return fs::is_directory(path, unreachable);
}

bool ends_with(const fs::path& path, const char* extension) {
  return path.extension() == extension;
}

fs::path with(const fs::path& prefix, const char* extension) {
  return prefix.string() + extension;
}

bool is_prefix(const fs::path& path) {
  return !is_present(path) && (is_present(with(path, ".idx")) || is_present(with(path, ".bin")));
}

// Whether a name contains one of the words: "fineweb_val_000000.bin" does, "latest.bin" does not.
bool says_held_out(const fs::path& path) {
  static constexpr std::array<std::string_view, 4> words = {"val", "valid", "validation", "test"};
  std::string word;
  for (const char c : path.stem().string() + ".") {
    if (std::isalpha(static_cast<unsigned char>(c))) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      continue;
    }
    if (std::find(words.begin(), words.end(), word) != words.end()) return true;
    word.clear();
  }
  return false;
}

std::vector<fs::path> list(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code code;
  for (fs::directory_iterator i(folder, code), end; !code && i != end; i.increment(code)) paths.push_back(*i);
  if (code) throw Error("The folder {} cannot be read: {}.", folder.string(), code.message());
  std::sort(paths.begin(), paths.end());
  return paths;
}

// A file of ids, with what its format says about documents.
struct File {
  TokenArray ids;
  std::optional<DocumentIndex> index = {};
  int64_t first = 0;  // the index of the first token of `ids` within the file

  // The number of documents that begin among `ids`.
  int64_t documents() const {
    const auto before = [&](int64_t token) {
      return token == index->start(index->documents()) ? index->documents() : index->documents_before(token);
    };
    return index && ids.size() > 0 ? before(first + ids.size()) - before(first) : 0;
  }
};

struct Opened {
  std::string kind;
  std::vector<File> files;
  std::optional<int64_t> delimiter;
  bool delimiter_first = false;  // the delimiter begins a document; otherwise it ends one
  std::string remark;
};

Opened open_as_raw_shards(const fs::path& folder, const std::vector<fs::path>& bins) {
  RawShards raw = open_raw_shards(folder, bins);
  Opened opened{.kind = "raw uint16 shards of the published code", .delimiter = raw.end_of_document};
  for (TokenArray& shard : raw.shards) opened.files.push_back({std::move(shard)});
  std::vector<std::string> said;
  for (const char* key : {"dataset", "tokenizer", "vocab_size"})
    if (raw.meta.contains(key)) said.push_back(fmt::format("{} {}", key, raw.meta.at(key)));
  opened.remark = fmt::format("{}", fmt::join(said, ", "));
  return opened;
}

Opened open_as_llmc(const std::vector<fs::path>& bins) {
  Opened opened{.delimiter_first = true};
  std::string tokenizer;
  for (const fs::path& bin : bins) {
    LlmcFile file = open_llmc(bin);
    if (!tokenizer.empty() && file.tokenizer != tokenizer)
      throw Error(
          "{} is for the tokenizer of {}, but {} for that of {}. Name one of them, or part the folder.",
          bins.front().string(), tokenizer, bin.string(), file.tokenizer);
    tokenizer = file.tokenizer;
    opened.delimiter = file.start_of_document;
    opened.kind = fmt::format("llm.c, {} ({})", tokenizer, id_type_name(file.ids.type()));
    opened.files.push_back({std::move(file.ids)});
  }
  return opened;
}

Opened open_as_megatron(const std::vector<fs::path>& prefixes) {
  Opened opened{.kind = "Megatron-LM"};
  for (const fs::path& prefix : prefixes) {
    MegatronFile file = open_megatron(prefix);
    opened.files.push_back({std::move(file.ids), std::move(file.index)});
  }
  opened.kind += fmt::format(" ({})", id_type_name(opened.files.front().ids.type()));
  return opened;
}

// Refuses a file of our own format: it belongs to a preparation that did not end, or to a dataset that must
// be named by its folder, and its split would be ignored here.
void refuse_ours(const fs::path& bin) {
  static constexpr std::string_view magic = "SISATOK\n";
  const common::InputFile file(bin);
  std::string start(magic.size(), ' ');
  if (file.size() < static_cast<int64_t>(magic.size())) return;
  file.read(0, std::as_writable_bytes(std::span(start)));
  if (start != magic) return;
  const fs::path folder = bin.parent_path();
  if (is_dataset(folder))
    throw Error("{} is one file of a prepared dataset. Name its folder, {}.", bin.string(), folder.string());
  throw Error(
      "{} is a file of `sisa data prepare`, but there is no manifest.json beside it: the preparation did not "
      "end. Repeat it.",
      bin.string());
}

Opened open_folder(const fs::path& folder) {
  std::vector<fs::path> bins, prefixes;
  for (const fs::path& path : list(folder)) {
    if (ends_with(path, ".bin")) bins.push_back(path);
    if (ends_with(path, ".idx")) prefixes.push_back(folder / path.stem());
  }
  if (is_present(folder / "meta.txt")) return open_as_raw_shards(folder, bins);
  if (!bins.empty()) refuse_ours(bins.front());
  if (!prefixes.empty()) {
    for (const fs::path& bin : bins) prefixes.push_back(folder / bin.stem());
    std::sort(prefixes.begin(), prefixes.end());
    prefixes.erase(std::unique(prefixes.begin(), prefixes.end()), prefixes.end());
    return open_as_megatron(prefixes);
  }
  if (bins.empty())
    throw Error(
        "{} holds no tokens: no manifest.json (which `sisa data prepare` writes last), no meta.txt beside "
        "raw uint16 shards, no .idx (Megatron-LM) and no .bin (llm.c). Make a dataset with `sisa data "
        "prepare TEXT --output FOLDER`.",
        folder.string());
  return open_as_llmc(bins);
}

Opened open_all(const fs::path& path) {
  if (is_folder(path)) return open_folder(path);
  const bool bin = ends_with(path, ".bin"), idx = ends_with(path, ".idx");
  fs::path prefix = path;
  if (bin || idx) prefix.replace_extension();
  const bool has_idx = is_present(with(prefix, ".idx"));
  if (!is_present(path) && !has_idx && !is_present(with(prefix, ".bin")))
    throw Error("There is no dataset {}: no such folder or file.", path.string());
  if (idx || (bin && has_idx) || is_prefix(path)) return open_as_megatron({prefix});
  if (!bin)
    throw Error(
        "{} is no file of tokens: those end in .bin or .idx. Make tokens of text with `sisa data prepare`.",
        path.string());
  refuse_ours(path);
  return open_as_llmc({path});
}

// The first token of a file, from `from` > 0 on, at which a document begins; `from` itself if none begins
// there.
int64_t document_boundary(const File& file, int64_t from, const Opened& opened) {
  int64_t boundary = file.ids.size();
  if (file.index) {
    boundary = file.index->start(file.index->documents_before(from));
  } else if (opened.delimiter) {
    boundary = file.ids.find(*opened.delimiter, opened.delimiter_first ? from : from - 1);
    if (!opened.delimiter_first && boundary < file.ids.size()) ++boundary;
  }
  return boundary < file.ids.size() ? boundary : from;
}

// Restricts the files to one split, where about the last `share` of all tokens is held out.
void keep_split(Opened& opened, Split split, double share) {
  const int64_t total = std::accumulate(opened.files.begin(), opened.files.end(), int64_t{0},
                                        [](int64_t sum, const File& file) { return sum + file.ids.size(); });
  const auto cut = total - static_cast<int64_t>(std::llround(share * static_cast<double>(total)));
  int64_t begin = 0;
  for (File& file : opened.files) {
    const int64_t size = file.ids.size(), within = std::clamp<int64_t>(cut - begin, 0, size);
    const int64_t boundary = within == 0 || within == size ? within : document_boundary(file, within, opened);
    begin += size;
    file.first = split == Split::train ? 0 : boundary;
    file.ids.keep(file.first, split == Split::train ? boundary : size - boundary);
  }
}

}  // namespace

bool names_tokens(const fs::path& path) {
  return is_folder(path) || ends_with(path, ".bin") || ends_with(path, ".idx") || is_prefix(path);
}

ForeignTokens open_foreign(const fs::path& path, Split split, double validation) {
  Opened opened = open_all(path);
  auto& files = opened.files;
  const auto held_out = [](const File& file) { return says_held_out(file.ids.path()); };
  if (is_folder(path) && std::any_of(files.begin(), files.end(), held_out))
    std::erase_if(files, [&](const File& file) { return held_out(file) != (split == Split::validation); });
  else
    keep_split(opened, split, validation);

  ForeignTokens result{.kind = opened.kind, .delimiter = opened.delimiter, .remark = opened.remark};
  for (File& file : files) {
    if (file.ids.size() == 0) continue;
    result.documents += file.documents();
    result.files.push_back(std::move(file.ids));
  }
  return result;
}

}  // namespace sisa::data
