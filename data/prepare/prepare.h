// Turns text into a dataset.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/file_lock.h"
#include "data/prepare/input_blocks.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokens/manifest.h"

namespace sisa::data {

struct PrepareOptions {
  std::vector<std::filesystem::path> inputs;  // see document_reader.h; together they are one source
  std::filesystem::path output;               // a folder without a dataset
  double validation = 0.01;                   // the share that is held out, from 0 to 0.5; see hold_out.h
  // Files of text that are held out instead of a share. Copies of their documents are not trained on.
  std::vector<std::filesystem::path> held_out = {};
  OnError on_error = OnError::stop;
  bool deduplicate = false;                // keep only the first of several documents with the same text
  std::string tokenizer_name = "bytes";    // of make_tokenizer; a file is copied to tokenizer.json
  int threads = 0;                         // of this process; 0: one for each core that it may use
  int64_t shard_tokens = 500'000'000;      // a token file is closed once it has this many tokens
  int64_t block_bytes = int64_t{8} << 20;  // the approximate size of a block of text
};

struct PrepareProgress {
  int64_t documents = 0, text_bytes = 0, tokens = 0, bad = 0;
  int64_t input_bytes = 0;  // of the files, compressed as they are
  // How much of the above an earlier run had done.
  int64_t found_text_bytes = 0, found_input_bytes = 0;
  int64_t joined_tokens = 0;  // written to token files
};

// The preparation of a dataset by any number of processes that see the same files.
//
// First, any thread of any process turns each block of the inputs into a file of tokens, a piece, in the
// folder `unfinished` of the output. Then one process joins the pieces in order. The result therefore does
// not depend on the number of processes and threads, and a preparation that was killed can go on: existing
// pieces are not made again. Options on which the pieces do not depend (validation, deduplicate,
// shard_tokens, on_error) may be different then. While the pieces are joined, every token is on the disk
// twice.
class Preparation {
 public:
  // Checks the options and the inputs and writes nothing. Throws Error if one of them cannot be used. The
  // tokenizer must outlive this object; its `encode` is called from several threads.
  Preparation(PrepareOptions options, const Tokenizer& tokenizer);

  // Everything on which the pieces depend, as JSON. It is equal in all processes that see the same files.
  const std::string& job() const { return job_; }
  int64_t input_bytes() const;  // the size of all files together; 0 if one is a pipe, whose size is unknown

  struct Start {
    bool complete = false;  // the dataset is complete: an earlier run was killed while it removed its pieces
    std::string remark;     // a sentence about what an earlier run left, or ""
  };
  // Called by one process, before all else. Throws Error if the output holds a dataset or cannot be written,
  // or if another process is preparing it. Removes what a preparation with another job() left there.
  Start begin();
  // Called by every process: makes its part of the pieces. Throws Error on text that cannot be read.
  void tokenize(int part, int num_parts);
  void stop() { stopping_ = true; }  // makes tokenize() return soon; may be called from any thread
  // Called by one process, after all have tokenised. Writes the manifest last. Throws Error if a split would
  // be empty.
  Manifest finish();

  // The progress of this process and of earlier runs. May be called from any thread.
  PrepareProgress progress() const;

 private:
  std::filesystem::path folder() const { return options_.output / "unfinished"; }  // for the pieces
  // Holds job() and a hash of the inputs' stamps while the dataset is not complete, and is locked by the
  // process that called begin(), which alone compares the stamps: other hosts may have files of their own.
  std::filesystem::path job_file() const { return options_.output / "unfinished.json"; }
  std::filesystem::path piece_path(size_t unit, int64_t number) const;
  void lock();
  void clear();
  void tidy();
  void make_piece(const InputBlock& block);

  PrepareOptions options_;
  const Tokenizer& tokenizer_;
  std::vector<Input> inputs_;
  std::vector<Unit> units_;
  std::string job_, stamps_;
  uint64_t job_hash_ = 0;
  std::optional<common::FileLock> lock_;  // of job_file()
  std::atomic<bool> stopping_ = false;
  std::atomic<int64_t> joined_tokens_ = 0;
  mutable std::mutex mutex_;
  PrepareProgress progress_;  // guarded by mutex_
};

// The whole preparation, by this process alone.
Manifest prepare(const PrepareOptions& options, const Tokenizer& tokenizer);

}  // namespace sisa::data
