#include "data/prepare/prepare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "common/file.h"
#include "common/file_lock.h"
#include "common/hash.h"
#include "common/threads.h"
#include "data/prepare/join.h"
#include "data/prepare/piece.h"
#include "data/tokens/token_file.h"

namespace sisa::data {
namespace {

namespace fs = std::filesystem;
constexpr int piece_version = 2;
constexpr auto patience = std::chrono::seconds(3);  // time for the ranks of a killed run to end

void check(const PrepareOptions& o) {
  if (!(o.validation >= 0 && o.validation <= 0.5))
    throw Error("The held-out share is {}; it must be from 0 to 0.5.", o.validation);
  if (o.shard_tokens < 1) throw Error("A token file must hold at least 1 token, not {}.", o.shard_tokens);
  if (o.threads < 0) throw Error("There must be at least 1 thread, not {}.", o.threads);
}

std::string describe_job(const PrepareOptions& options, const std::vector<Input>& inputs,
                         const Tokenizer& tokenizer) {
  nlohmann::ordered_json job = {{"version", piece_version},
                                {"tokenizer", tokenizer.fingerprint()},
                                {"vocab_size", tokenizer.vocab_size()},
                                {"end_of_document", tokenizer.end_of_document()},
                                {"block_bytes", options.block_bytes},
                                {"inputs", nlohmann::ordered_json::array()}};
  for (const Input& input : inputs)
    job["inputs"].push_back(
        {{"path", input.regular ? fs::absolute(input.path).lexically_normal().string() : input.path.string()},
         {"bytes", input.bytes},
         {"changed", input.time}});
  // JSON is UTF-8, but names of files need not be.
  return job.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

// Files that a preparation writes into the output before its manifest, under their final or temporary names.
std::vector<fs::path> remnants(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code unreadable;  // a folder that cannot be read holds nothing that could be overwritten
  for (const auto& entry : fs::directory_iterator(folder, unreadable)) {
    const std::string name = entry.path().filename().string();
    for (const char* begin : {"train-", "validation-", "tokenizer.json", "manifest.json"})
      if (name.starts_with(begin)) files.push_back(entry.path());
  }
  return files;
}

void refuse_dataset(const fs::path& output) {
  if (is_dataset(output))
    throw Error("{} already holds a dataset. Choose another folder, or remove this one first.",
                output.string());
}

}  // namespace

Preparation::Preparation(PrepareOptions options, const Tokenizer& tokenizer)
    : options_(std::move(options)), tokenizer_(tokenizer) {
  check(options_);
  if (options_.threads == 0) options_.threads = common::available_cores();
  // Held-out texts are the first inputs, so that copies of them are known for what they are when they come.
  std::vector<fs::path> paths = options_.held_out;
  paths.insert(paths.end(), options_.inputs.begin(), options_.inputs.end());
  inputs_ = look_at(paths, options_.block_bytes);
  for (size_t i = 0; i < options_.held_out.size(); ++i) inputs_[i].held_out = true;
  if (!options_.held_out.empty()) options_.validation = 0;
  units_ = list_units(inputs_, options_.block_bytes);
  job_ = describe_job(options_, inputs_, tokenizer_);
  job_hash_ = common::hash64(job_);
  for (const Input& input : inputs_) stamps_ += input.stamp;
  stamps_ = common::hash_hex(common::hash64(stamps_)) + "\n";
}

int64_t Preparation::input_bytes() const {
  int64_t sum = 0;
  for (const Input& input : inputs_) {
    if (!input.regular) return 0;
    sum += input.bytes;
  }
  return sum;
}

fs::path Preparation::piece_path(size_t unit, int64_t number) const {
  return folder() / fmt::format("{:06}-{:07}.piece", unit, number);
}

void Preparation::lock() {
  const fs::path path = job_file();
  if (!std::ofstream(path, std::ios::app))
    throw Error("Cannot write {}: {}. Choose an output folder that you may write to.", path.string(),
                std::strerror(errno));
  try {
    lock_ = common::FileLock::acquire(path, patience, common::FileLock::Content::left_alone);
  } catch (const SystemError&) {
    return;  // a file system without locks: nobody is kept out
  }
  if (!lock_)
    throw Error("Another process is preparing {}. Wait until it ends, or choose another folder.",
                options_.output.string());
}

Preparation::Start Preparation::begin() {
  std::error_code code;
  if (!fs::exists(job_file(), code)) {
    refuse_dataset(options_.output);
    common::create_directories(options_.output);
    if (const auto files = remnants(options_.output); !files.empty())
      throw Error("{} holds {}, which might be overwritten. Choose another folder, or remove it first.",
                  options_.output.string(), files.front().filename().string());
  }
  lock();
  const std::string begun = common::read_file(job_file());
  if (is_dataset(options_.output)) {
    if (begun.empty()) fs::remove(job_file());  // another process finished the dataset in the meantime
    if (!begun.starts_with(job_) || input_bytes() == 0) refuse_dataset(options_.output);
    tidy();
    return {true, ""};
  }
  common::create_directories(folder());
  Start start;
  if (begun != job_ + stamps_) {
    clear();
    if (!begun.empty())
      start.remark = fmt::format(
          "{} holds what is left of a preparation of other inputs, or with another tokenizer. It is removed; "
          "this one starts over.",
          options_.output.string());
    std::ofstream(job_file()) << job_ << stamps_;  // if it is written incompletely, the next run starts over
  }
  if (!begun.empty())
    for (const fs::path& file : remnants(options_.output)) fs::remove(file);
  int64_t found = 0;
  for (const auto& entry : fs::directory_iterator(folder())) {
    const auto info = Piece::find(entry.path(), job_hash_);
    if (!info) continue;
    ++found;
    progress_.documents += static_cast<int64_t>(info->documents);
    progress_.text_bytes += static_cast<int64_t>(info->text_bytes);
    progress_.tokens += static_cast<int64_t>(info->tokens);
    progress_.bad += static_cast<int64_t>(info->bad);
    progress_.input_bytes += static_cast<int64_t>(info->input_bytes);
  }
  progress_.found_text_bytes = progress_.text_bytes;
  progress_.found_input_bytes = progress_.input_bytes;
  if (found > 0)
    start.remark =
        fmt::format("An earlier run was cut short: {} pieces of its are there, and this one goes on.", found);
  return start;
}

void Preparation::clear() {
  for (const auto& entry : fs::directory_iterator(folder()))
    if (entry.path().filename().string().find(".piece") != std::string::npos) fs::remove(entry.path());
}

void Preparation::tidy() {
  std::error_code ignored;  // the folder stays if it holds a file that is not ours
  if (fs::exists(folder(), ignored)) clear();
  fs::remove(folder(), ignored);
  fs::remove(job_file());  // from this moment on the dataset counts as finished
}

void Preparation::tokenize(int part, int num_parts) {
  // Only pieces that exist now are looked at. Asking for a piece that another process has yet to make would
  // harm: network file systems remember for a while that a file did not exist, and finish() would not see it.
  std::set<fs::path> there;
  for (const auto& entry : fs::directory_iterator(folder())) there.insert(entry.path());
  const auto done = [&](size_t unit) {
    if (!inputs_[units_[unit].first].regular) return false;  // a pipe is read again, and its content compared
    for (int64_t number = 0;; ++number) {
      const fs::path path = piece_path(unit, number);
      const auto info = there.contains(path) ? Piece::find(path, job_hash_) : std::nullopt;
      if (!info) return false;
      if (info->last) return true;
    }
  };
  BlockSource source(inputs_, units_, options_.block_bytes, part, num_parts, done);
  std::mutex mutex;
  std::exception_ptr error;
  std::pair<size_t, int64_t> failed;  // unit and number of the first block that failed
  common::parallel_for(options_.threads, options_.threads, [&](int64_t) {
    InputBlock block;
    try {
      while (!stopping_ && source.next(block)) make_piece(block);
    } catch (...) {
      stop();
      const std::lock_guard lock(mutex);
      const std::pair place{block.unit, block.number};
      if (!error || place < failed) error = std::current_exception(), failed = place;
    }
  });
  if (error) std::rethrow_exception(error);
}

void Preparation::make_piece(const InputBlock& block) {
  const Unit& unit = units_[block.unit];
  const Input& input = inputs_[unit.first];
  const fs::path path = piece_path(block.unit, block.number);
  PieceWriter piece;
  if (!input.regular) piece.info.content_hash = common::hash64(block.text);
  if (const auto found = Piece::find(path, job_hash_)) {
    if (found->content_hash == piece.info.content_hash) return;
    throw Error(
        "{} is not what it was when this preparation began: it differs after about {} bytes. To start over, "
        "remove {}.",
        stream_name(input.path), block.number * options_.block_bytes, job_file().string());
  }
  piece.info.job = job_hash_;
  piece.info.input = unit.first;
  piece.info.input_bytes = static_cast<uint64_t>(block.input_bytes);
  piece.info.last = block.last;
  piece.info.bytes_per_id =
      static_cast<uint64_t>(TokenFileInfo{.vocab_size = tokenizer_.vocab_size()}.bytes_per_token());
  std::vector<uint32_t> ids;
  const BlockVisitor visitor = {
      .document =
          [&](size_t of, std::string_view text) {
            ids.clear();
            tokenizer_.encode(text, ids);
            ids.push_back(tokenizer_.end_of_document());
            piece.add(of, text, ids);
          },
      .bad =
          [&](size_t of, int64_t line, const std::string& reason, std::string_view advice) {
            if (options_.on_error == OnError::skip) return piece.add_bad(of, line, reason);
            throw Error("{}, line {}, {}. {}", stream_name(inputs_[of].path),
                        lines_before(inputs_, unit, block, options_.block_bytes) + line, reason, advice);
          },
      .mark = [&](int64_t mark) { piece.info.open_streams += mark; }};
  piece.info.lines = static_cast<uint64_t>(read_block(inputs_, unit, block, visitor));
  piece.write(path);

  const std::lock_guard lock(mutex_);
  progress_.documents += static_cast<int64_t>(piece.info.documents);
  progress_.text_bytes += static_cast<int64_t>(piece.info.text_bytes);
  progress_.tokens += static_cast<int64_t>(piece.info.tokens);
  progress_.bad += static_cast<int64_t>(piece.info.bad);
  progress_.input_bytes += block.input_bytes;
}

Manifest Preparation::finish() {
  std::vector<fs::path> pieces;
  std::vector<fs::path> ends_of_pipes;
  int64_t open_streams = 0;
  for (size_t unit = 0; unit < units_.size(); ++unit)
    for (int64_t number = 0;; ++number) {
      const auto info = Piece::find(pieces.emplace_back(piece_path(unit, number)), job_hash_);
      if (!info)
        throw Error("{} is missing. All processes must see the same folder {}: choose one that all share.",
                    pieces.back().string(), options_.output.string());
      open_streams += info->open_streams;
      if (!info->last) continue;
      if (!inputs_[units_[unit].first].regular) ends_of_pipes.push_back(pieces.back());
      break;
    }
  if (open_streams != 0) {
    // So that the same pipe, when it comes again as a whole, is not taken for another one.
    for (const fs::path& piece : ends_of_pipes) fs::remove(piece);
    throw Error(
        "The program that wrote these lines marked where they begin and end, as scripts/parquet_to_jsonl.py "
        "does, and the {} is missing: it failed, or what it wrote was cut off. Mend what it reported and "
        "give the same command again. If a part is all that is wanted, let it write no marks (--no-marks).",
        open_streams > 0 ? "end" : "beginning");
  }
  Manifest manifest = join_pieces(pieces, inputs_,
                                  {.output = options_.output,
                                   .validation = options_.validation,
                                   .deduplicate = options_.deduplicate,
                                   .shard_tokens = options_.shard_tokens,
                                   .threads = options_.threads},
                                  tokenizer_, joined_tokens_);
  if (options_.tokenizer_name != "bytes") {
    fs::path file = options_.tokenizer_name;
    if (fs::is_directory(file)) file /= "tokenizer.json";
    common::write_file_atomically(options_.output / "tokenizer.json", common::read_file(file));
  }
  write_manifest(options_.output, manifest);
  tidy();
  return manifest;
}

PrepareProgress Preparation::progress() const {
  const std::lock_guard lock(mutex_);
  PrepareProgress progress = progress_;
  progress.joined_tokens = joined_tokens_;
  return progress;
}

Manifest prepare(const PrepareOptions& options, const Tokenizer& tokenizer) {
  Preparation preparation(options, tokenizer);
  if (preparation.begin().complete) return read_manifest(options.output);
  preparation.tokenize(0, 1);
  return preparation.finish();
}

}  // namespace sisa::data
