#include "data/prepare/join.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>

#include "common/error.h"
#include "common/quantity.h"
#include "common/threads.h"
#include "data/prepare/hold_out.h"
#include "data/prepare/piece.h"
#include "data/tokens/token_file.h"

namespace sisa::data {
namespace {

using common::format_count;
using common::Hash128;
namespace fs = std::filesystem;

// A set of hashes with open addressing, for at most `capacity` of them.
class HashSet {
 public:
  explicit HashSet(uint64_t capacity) : slots_(capacity + capacity / 2 + 1) {}
  // Returns whether the hash was not in the set before.
  bool insert(Hash128 hash) {
    if (hash == Hash128{}) hash.low = 1;  // zero marks an empty slot
    for (size_t i = hash.low % slots_.size();; i = i + 1 == slots_.size() ? 0 : i + 1) {
      if (slots_[i] == hash) return false;
      if (slots_[i] == Hash128{}) return slots_[i] = hash, true;
    }
  }

 private:
  std::vector<Hash128> slots_;
};

// A run of consecutive tokens of one piece, which go to a token file.
struct Extent {
  size_t piece;
  uint64_t first, count;
  bool cut;  // ends within a document, so that an end-of-document token has to be added
};

struct PlannedFile {
  Split split;
  std::string name;
  std::vector<Extent> extents;
  int64_t tokens = 0, documents = 0, text_bytes = 0;
};

class FileLayout {
 public:
  explicit FileLayout(int64_t file_tokens) : file_tokens_(file_tokens) {}
  void add(Split split, const Extent& extent, int64_t text_bytes) {
    auto& [open, number] = splits_[split == Split::train ? 0 : 1];
    if (!open) {
      open = files_.size();
      files_.push_back({split, fmt::format("{}-{:05}.bin", split_name(split), number++), {}});
    }
    PlannedFile& file = files_[*open];
    if (!file.extents.empty() && follows(file.extents.back(), extent)) {
      file.extents.back().count += extent.count;
      file.extents.back().cut = extent.cut;
    } else {
      file.extents.push_back(extent);
    }
    file.tokens += static_cast<int64_t>(extent.count) + extent.cut;
    file.documents += 1;
    file.text_bytes += text_bytes;
    if (file.tokens >= file_tokens_) open.reset();
  }
  const std::vector<PlannedFile>& files() const { return files_; }

 private:
  static bool follows(const Extent& a, const Extent& b) {
    return a.piece == b.piece && a.first + a.count == b.first && !a.cut;
  }
  int64_t file_tokens_;
  std::vector<PlannedFile> files_;
  struct {
    std::optional<size_t> open;  // the index of the file that is not yet full
    int number = 0;              // of the next file
  } splits_[2];
};

class Joiner {
 public:
  Joiner(const std::vector<fs::path>& pieces, const std::vector<Input>& inputs, const JoinOptions& options,
         const Tokenizer& tokenizer)
      : pieces_(pieces),
        inputs_(inputs),
        options_(options),
        tokenizer_(tokenizer),
        hold_out_(options.validation),
        plan_(options.shard_tokens) {}

  Manifest run(std::atomic<int64_t>& tokens_done) {
    verify();
    survey();
    hold_out();
    lay_out();
    refuse_empty();
    const auto& files = plan_.files();
    std::vector<TokenFileInfo> infos(files.size());
    common::parallel_for(static_cast<int64_t>(files.size()), options_.threads, [&](int64_t i) {
      infos[static_cast<size_t>(i)] = write(files[static_cast<size_t>(i)], tokens_done);
    });
    for (size_t i = 0; i < files.size(); ++i)
      (files[i].split == Split::train ? manifest_.train : manifest_.validation_shards)
          .push_back({files[i].name, infos[i]});
    return std::move(manifest_);
  }

 private:
  void verify() const {
    common::parallel_for(static_cast<int64_t>(pieces_.size()), options_.threads, [&](int64_t i) {
      const fs::path& path = pieces_[static_cast<size_t>(i)];
      if (Piece(path).intact()) return;
      std::error_code ignored;
      fs::remove(path, ignored);
      throw SystemError(fmt::format(
          "{} was damaged on disk and is removed. Run the same command again: it makes that piece "
          "anew and goes on.",
          path.string()));
    });
  }

  // Counts the documents and finds those that are dropped: repeated ones, and where texts of the user's own
  // are held out, which are the first inputs, copies of them.
  void survey() {
    manifest_.tokenizer = tokenizer_.fingerprint();
    manifest_.vocab_size = tokenizer_.vocab_size();
    manifest_.end_of_document = tokenizer_.end_of_document();
    manifest_.validation = options_.validation;
    for (const Input& input : inputs_)
      manifest_.sources.push_back({input.path.filename().string(), 0, 0, input.held_out});
    std::unordered_set<uint64_t> held_out_texts;  // half of each hash
    std::optional<HashSet> seen;
    if (options_.deduplicate) {
      uint64_t documents = 0;
      for (const fs::path& path : pieces_) documents += Piece(path).info().documents;
      seen.emplace(documents);
      manifest_.duplicate_documents = 0;
    }
    std::vector<uint64_t> lines(inputs_.size());  // of each input, in the pieces so far
    for (size_t p = 0; p < pieces_.size(); ++p) {
      const Piece piece(pieces_[p]);
      const PieceInfo& info = piece.info();
      if (info.bad > 0 && manifest_.skipped_documents == 0)
        manifest_.first_skipped = fmt::format("{}, line {}, {}", stream_name(inputs_[info.bad_input].path),
                                              lines[info.bad_input] + info.bad_line, piece.bad_reason());
      manifest_.skipped_documents += static_cast<int64_t>(info.bad);
      lines[info.input] += info.lines;
      const auto documents = piece.documents();
      for (size_t d = 0; d < documents.size(); ++d) {
        Manifest::Source& source = manifest_.sources[documents[d].input];
        source.documents += 1;
        source.text_bytes += static_cast<int64_t>(documents[d].text_bytes);
        text_bytes_ += static_cast<int64_t>(documents[d].text_bytes);
        const bool held_out = inputs_[documents[d].input].held_out;
        const bool copy = !held_out && held_out_texts.contains(documents[d].hash.low);
        if (copy || (seen && !seen->insert(documents[d].hash))) {
          dropped_.push_back({p, d});
          ++(copy ? manifest_.held_out_copies : *manifest_.duplicate_documents);
        } else if (held_out) {
          held_out_texts.insert(documents[d].hash.low);
        } else {
          hold_out_.count(documents[d].hash, length(documents[d]));
        }
      }
    }
  }

  static int64_t length(const PieceDocument& document) { return static_cast<int64_t>(document.tokens) - 1; }

  // Calls use(index of the piece, piece, document, its first token) for every document that is not dropped.
  template <typename Use>
  void for_each_document(const Use& use) const {
    auto dropped = dropped_.begin();
    for (size_t p = 0; p < pieces_.size(); ++p) {
      const Piece piece(pieces_[p]);
      const auto documents = piece.documents();
      uint64_t first = 0;
      for (size_t d = 0; d < documents.size(); first += documents[d++].tokens) {
        if (dropped != dropped_.end() && *dropped == std::pair{p, d}) {
          ++dropped;
        } else {
          use(p, piece, documents[d], first);
        }
      }
    }
  }

  void hold_out() {
    hold_out_.narrow();
    for_each_document([&](size_t, const Piece&, const PieceDocument& document, uint64_t) {
      if (!inputs_[document.input].held_out) hold_out_.examine(document.hash, length(document));
    });
    hold_out_.settle();
  }

  void lay_out() {
    for_each_document([&](size_t p, const Piece& piece, const PieceDocument& document, uint64_t first) {
      const auto text_bytes = static_cast<int64_t>(document.text_bytes);
      const int64_t held_out = inputs_[document.input].held_out
                                   ? length(document)
                                   : hold_out_.held_out_tokens(document.hash, length(document));
      const auto trained = static_cast<uint64_t>(length(document) - held_out);
      const Cut cut = held_out == 0  ? Cut{document.tokens, text_bytes}
                      : trained == 0 ? Cut{}
                                     : cut_at(piece, document, first, trained);
      const bool divided = cut.tokens > 0 && cut.tokens < document.tokens;
      if (cut.tokens > 0) plan_.add(Split::train, {p, first, cut.tokens, divided}, cut.text_bytes);
      if (cut.tokens < document.tokens)
        plan_.add(Split::validation, {p, first + cut.tokens, document.tokens - cut.tokens, false},
                  text_bytes - cut.text_bytes);
    });
  }

  struct Cut {
    uint64_t tokens = 0;
    int64_t text_bytes = 0;  // of these tokens
  };
  // The last place among the first `tokens` tokens of a document at which a character ends.
  Cut cut_at(const Piece& piece, const PieceDocument& document, uint64_t first, uint64_t tokens) const {
    std::vector<uint32_t> ids(std::min(tokens + 1, document.tokens));
    piece.read(first, ids);
    while (tokens > 0 && continues_character(ids[tokens])) --tokens;
    ids.resize(tokens);
    // Text that was normalised may be longer than it was in the document.
    const auto decoded = static_cast<uint64_t>(tokenizer_.decode(ids).size());
    return {tokens, static_cast<int64_t>(std::min<uint64_t>(decoded, document.text_bytes))};
  }
  bool continues_character(uint32_t id) const {
    const std::string text = tokenizer_.decode({&id, 1});
    return !text.empty() && (static_cast<unsigned char>(text.front()) & 0xC0) == 0x80;
  }

  void refuse_empty() const {
    std::string names = inputs_.empty()          ? "no file"
                        : inputs_[0].path == "-" ? "standard input"
                                                 : inputs_[0].path.string();
    if (inputs_.size() > 1) names += fmt::format(" and {} more", inputs_.size() - 1);
    int64_t documents = 0;
    for (const auto& source : manifest_.sources) documents += source.documents;
    if (documents == 0)
      throw Error("There is no text in {}{}.", names,
                  manifest_.skipped_documents == 0
                      ? ""
                      : fmt::format(": {} documents were skipped; the first: {}",
                                    format_count(manifest_.skipped_documents), manifest_.first_skipped));
    const auto has = [&](Split split) {
      return std::any_of(plan_.files().begin(), plan_.files().end(),
                         [&](const PlannedFile& file) { return file.split == split; });
    };
    const bool own = std::any_of(inputs_.begin(), inputs_.end(), [](const Input& i) { return i.held_out; });
    if (own && (!has(Split::train) || !has(Split::validation)))
      throw Error("There is no text {} in {}.", has(Split::train) ? "to hold out" : "to train on", names);
    if (!has(Split::train) || (options_.validation > 0 && !has(Split::validation)))
      throw Error(
          "Nothing of {} is left {}: {} bytes in {} documents are too few for a held-out share of {}. Bring "
          "more text or choose another share (--validation, or data.validation of a recipe).",
          names, has(Split::train) ? "to hold out" : "to train on", format_count(text_bytes_),
          format_count(documents), options_.validation);
  }

  TokenFileInfo write(const PlannedFile& file, std::atomic<int64_t>& tokens_done) const {
    TokenFileWriter writer(options_.output / file.name, tokenizer_.vocab_size());
    std::optional<Piece> piece;
    size_t open = pieces_.size();
    std::vector<uint32_t> ids(size_t{1} << 16);
    const uint32_t end = tokenizer_.end_of_document();
    for (const Extent& extent : file.extents) {
      if (extent.piece != open) piece.emplace(pieces_[open = extent.piece]);
      for (uint64_t done = 0; done < extent.count;) {
        const auto part = std::span(ids).first(std::min<uint64_t>(ids.size(), extent.count - done));
        piece->read(extent.first + done, part);
        writer.append(part);
        done += part.size();
      }
      if (extent.cut) writer.append({&end, 1});
      tokens_done += static_cast<int64_t>(extent.count);
    }
    writer.count(file.documents, file.text_bytes);
    return writer.finish();
  }

  const std::vector<fs::path>& pieces_;
  const std::vector<Input>& inputs_;
  const JoinOptions& options_;
  const Tokenizer& tokenizer_;
  HoldOut hold_out_;
  FileLayout plan_;
  Manifest manifest_;
  int64_t text_bytes_ = 0;
  std::vector<std::pair<size_t, size_t>> dropped_;  // the piece and the index in it of each such document
};

}  // namespace

Manifest join_pieces(const std::vector<fs::path>& pieces, const std::vector<Input>& inputs,
                     const JoinOptions& options, const Tokenizer& tokenizer,
                     std::atomic<int64_t>& tokens_done) {
  return Joiner(pieces, inputs, options, tokenizer).run(tokens_done);
}

}  // namespace sisa::data
