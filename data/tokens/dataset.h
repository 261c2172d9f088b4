// Tokens to train on or to hold out, whatever wrote them.
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

// What the files of other programs do not say themselves.
struct ForeignOptions {
  int64_t vocab_size = any_vocabulary;  // every id is below it
  double validation =
      0;  // share of the tokens that is held out where no file's name says it is; see foreign.h
};

// The tokens of one split as one sequence, mapped into memory.
class TokenDataset {
 public:
  // A folder of `sisa data prepare`, or what data::open_foreign opens; `options` are for the latter. Throws
  // Error naming the file, and the offset where there is one, if a file is missing, damaged in its header or
  // not the one of the manifest. Ids are not looked at.
  static TokenDataset open(const std::filesystem::path& path, Split split,
                           const ForeignOptions& options = {});

  const std::string& kind() const { return kind_; }      // for people
  const std::string& remark() const { return remark_; }  // what the files say besides; may be empty
  int64_t tokens() const { return starts_.back(); }
  int64_t num_files() const { return static_cast<int64_t>(files_.size()); }
  int64_t documents() const;   // 0: the files do not say
  int64_t text_bytes() const;  // UTF-8 bytes of the text that the tokens stand for; 0: the files do not say
  int64_t vocab_size() const { return vocab_size_; }  // every id that is read is below it
  // The id that stands between documents, if it is known.
  std::optional<int64_t> delimiter() const { return delimiter_; }
  bool has_manifest() const { return manifest_.has_value(); }
  const Manifest& manifest() const;  // of a folder of `sisa data prepare`
  const std::filesystem::path& path() const { return path_; }
  // Of the content, wherever it lies: equal for equal tokens of `sisa data prepare`, whose files know their
  // checksums. Of other files 64 pages each are hashed, besides their lengths.
  std::string fingerprint() const;

  // Copies the tokens [first, first + out.size()), which the split must hold, across files. Throws Error,
  // with file and offset, on an id outside the vocabulary.
  void read(int64_t first, std::span<int64_t> out) const;
  // The largest of the ids [first, first + count), -1 of none. Reads them all, at the speed of memory, and
  // throws Error as `read` does.
  int64_t largest_id(int64_t first, int64_t count) const;
  // Reads every file of `sisa data prepare` whole. Throws Error if ids or a checksum are wrong.
  void verify() const;
  int64_t count(int64_t id) const;
  // How often each id occurs; `size` is above all of them.
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
  std::vector<int64_t> starts_ = {0};  // of each file within the sequence, and the end
};

}  // namespace sisa::data
