// Tokens to train on or to hold out, whichever program wrote them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/tokens/manifest.h"
#include "data/tokens/token_array.h"

namespace sisa::data {

// What a recipe or a command says about files of other programs, which do not say it themselves.
struct ForeignOptions {
  int64_t vocab_size = any_vocabulary;  // every id is below it
  // The share of the tokens that is held out if no file's name says that the file is; see foreign.h.
  double validation = 0;
};

// The tokens of one split as one sequence.
class TokenDataset {
 public:
  // Opens a folder of `sisa data prepare`, or what data::open_foreign opens, to which `options` apply. Throws
  // Error naming the file, and the offset if there is one, if a file is missing, has a damaged header or is
  // not the one in the manifest. Does not read the ids.
  static TokenDataset open(const std::filesystem::path& path, Split split,
                           const ForeignOptions& options = {});

  const std::string& kind() const { return kind_; }      // the format, for people
  const std::string& remark() const { return remark_; }  // what else the files say; may be empty
  int64_t tokens() const { return starts_.back(); }
  int64_t num_files() const { return static_cast<int64_t>(files_.size()); }
  int64_t documents() const;   // 0 if the files do not say
  int64_t text_bytes() const;  // UTF-8 bytes of the text that the tokens stand for; 0 if the files do not say
  int64_t vocab_size() const { return vocab_size_; }  // every id that is read is below it
  // The id between documents, if it is known.
  std::optional<int64_t> delimiter() const { return delimiter_; }
  bool has_manifest() const { return manifest_.has_value(); }
  const Manifest& manifest() const;  // requires has_manifest(): a folder of `sisa data prepare`
  const std::filesystem::path& path() const { return path_; }
  // Identifies the content, wherever the files are. It is equal for equal tokens of `sisa data prepare`,
  // whose files contain their checksums. For other files it is a hash of the length and 64 pages of each.
  std::string fingerprint() const;

  // Copies the tokens [first, first + out.size()), which must exist and may be in several files. Throws
  // Error, with file and offset, on an id outside the vocabulary.
  void read(int64_t first, std::span<int64_t> out) const;
  // The largest of the ids [first, first + count), or -1 if count is 0. Reads all of them, at the speed of
  // memory. Throws Error like read().
  int64_t largest_id(int64_t first, int64_t count) const;
  // Reads all files of a folder of `sisa data prepare`. Throws Error if an id or a checksum is wrong.
  void verify() const;
  int64_t count(int64_t id) const;  // how often an id occurs
  // How often each id below `size` occurs. No id may be `size` or above.
  std::vector<int64_t> tally(int64_t size) const;

 private:
  void add(TokenArray file);
  template <typename Use>
  void for_each_part(int64_t first, int64_t count, const Use& use) const;

  std::filesystem::path path_;
  std::string kind_, remark_;
  Split split_ = Split::train;
  std::optional<Manifest> manifest_;
  int64_t vocab_size_ = any_vocabulary;
  int64_t documents_ = 0;
  std::optional<int64_t> delimiter_;
  std::vector<TokenArray> files_;
  std::vector<int64_t> starts_ = {0};  // the first token of each file within the sequence, then tokens()
};

}  // namespace sisa::data
