// Text into a dataset.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "data/prepare/input_blocks.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokens/manifest.h"

namespace sisa::data {

struct PrepareOptions {
  std::vector<std::filesystem::path> inputs;  // see document_reader.h; together they are one source
  std::filesystem::path output;               // a folder that holds no dataset yet
  double validation = 0.01;                   // share held out, 0 to 0.5; 0: none
  OnError on_error = OnError::stop;
  bool deduplicate = false;                // of documents with equal text the first remains
  std::string tokenizer_name = "bytes";    // as make_tokenizer was told; a file is copied as tokenizer.json
  int threads = 0;                         // of this process; 0: as many as it may use cores
  int64_t shard_tokens = 500'000'000;      // a token file is closed once it holds as many
  int64_t block_bytes = int64_t{8} << 20;  // of text, about, that is worked on at a time
};

struct PrepareProgress {
  int64_t documents = 0, text_bytes = 0, tokens = 0, bad = 0;
  int64_t input_bytes = 0;  // of the files, packed as they are
  // Of the above, what an earlier run had done.
  int64_t found_text_bytes = 0, found_input_bytes = 0;
  int64_t joined_tokens = 0;  // in token files
};

// A dataset in the making, by any number of processes that see the same files. First every block of the
// inputs becomes a file of tokens, a piece, in the folder `unfinished` of the output, by whichever process
// and thread; then one process joins the pieces in order. So the result does not depend on their number, and
// a preparation that was killed goes on: pieces that are there are not made again. Options that the pieces do
// not depend on (validation, deduplicate, shard_tokens, on_error) may differ then. Between the two, the disk
// holds every token twice.
class Preparation {
 public:
  // Looks at the options and the inputs and writes nothing. Throws Error if one cannot be used. The tokenizer
  // must outlive this; its `encode` is called from several threads.
  Preparation(PrepareOptions options, const Tokenizer& tokenizer);
  ~Preparation();

  // All that the pieces depend on, in words; equal in all processes that see the same files.
  const std::string& job() const { return job_; }
  int64_t input_bytes() const;  // of all files; 0 if some are pipes, so that nobody knows

  struct Start {
    bool complete = false;  // the last run was killed when all but tidying up was done
    std::string remark;     // a sentence on what was found, or ""
  };
  // By one process, before the rest. Throws Error if the output holds a dataset or cannot be written, or if
  // another process is at work on it. What is left of a preparation of something else is removed.
  Start begin();
  // By every process: its part of the pieces. Throws Error on text that cannot be read.
  void tokenize(int part, int num_parts);
  void stop() { stopping_ = true; }  // tokenize() returns soon; from any thread
  // By one process, after all. Writes the manifest last. Throws Error if a split comes out empty.
  Manifest finish();

  PrepareProgress progress() const;  // of this process and of earlier runs; from any thread

 private:
  std::filesystem::path folder() const { return options_.output / "unfinished"; }  // of the pieces
  // Holds the job, and is locked, while the output is unfinished.
  std::filesystem::path job_file() const { return options_.output / "unfinished.json"; }
  std::filesystem::path piece_path(size_t unit, int64_t number) const;
  void lock();
  void clear();
  void tidy();
  void make_piece(const Block& block);

  PrepareOptions options_;
  const Tokenizer& tokenizer_;
  std::vector<Input> inputs_;
  std::vector<Unit> units_;
  std::string job_;
  uint64_t job_hash_ = 0;
  int lock_ = -1;  // descriptor
  std::atomic<bool> stopping_ = false;
  std::atomic<int64_t> joined_tokens_ = 0;
  mutable std::mutex mutex_;
  PrepareProgress progress_;  // guarded by mutex_
};

// All of it, by this process.
Manifest prepare(const PrepareOptions& options, const Tokenizer& tokenizer);

}  // namespace sisa::data
