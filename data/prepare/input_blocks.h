// Divides the inputs of a preparation into blocks of whole documents. The division depends on the inputs
// alone and each block is processed by itself, so that the result does not depend on the number of processes
// and threads.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "data/prepare/document_reader.h"

namespace sisa::data {

struct Input {
  std::filesystem::path path;  // "-": standard input
  bool regular = true;         // false for a pipe and standard input, which can be read only once
  int64_t bytes = 0;           // the size of the file; 0 for a pipe
  int64_t time = 0;            // of the last change, in nanoseconds since 1970; 0 for a pipe
  // Inode and time of the last change of status, which no program can set: they tell a file of equal size and
  // time that took the place of another. They differ between copies of one file.
  std::string stamp = {};
  // What document_reader.h says of the content. Only if the file is large: small ones are looked into when
  // they are read, since opening all of a million files beforehand takes long.
  bool lines = false, packed = false;
  bool held_out = false;  // as a whole: text of the user's own to validate with
};
// A file itself, or the files below a folder in the order of their names, without hidden ones. Throws Error
// if the folder holds none, or a dataset.
std::vector<std::filesystem::path> texts_in(const std::filesystem::path& path);
// Looks into files that are larger than a block. Throws Error if a path is not a readable file, or if
// standard input is named twice.
std::vector<Input> look_at(const std::vector<std::filesystem::path>& paths, int64_t block_bytes);

// A part of the inputs that is read sequentially, as one block or several.
struct Unit {
  enum class Kind {
    files,  // all of the inputs [first, last), as one block
    range,  // the lines of the input `first` that begin in its bytes [begin, end), as one block
    stream  // all of the input `first`, as one block for every `block_bytes` decompressed bytes
  };
  Kind kind = Kind::files;
  size_t first = 0, last = 0;  // inputs
  int64_t begin = 0, end = 0;  // bytes, for a range
  int64_t bytes = 0;           // the size of this part of the files, compressed as they are; 0 for a pipe
};
// The units of the inputs, in the order of the documents. Small files share a unit.
std::vector<Unit> list_units(const std::vector<Input>& inputs, int64_t block_bytes);

struct InputBlock {
  size_t unit = 0;
  int64_t number = 0;       // within its unit
  bool last = true;         // the last one of its unit
  int64_t input_bytes = 0;  // how many bytes of the files it takes, compressed as they are
  // For blocks of a stream only:
  std::string text;
  bool lines = true;         // the text is lines of JSON; otherwise one document
  int64_t lines_before = 0;  // lines before the block, for a pipe, which cannot be read again to count them
};

// The blocks that one of several processes (a "part") works on. Ranges and groups of files are assigned to
// the parts in turn. A compressed stream has to be decompressed from its start. If there are at least four
// such streams per part, each stream is assigned to one part. If there are fewer, teams of n parts share
// streams: each member decompresses the whole stream and takes every n-th block. Pipes are assigned to part
// 0.
class BlockSource {
 public:
  // Units for which `done(unit)` is true are left out. The inputs and units must outlive this object.
  BlockSource(const std::vector<Input>& inputs, const std::vector<Unit>& units, int64_t block_bytes, int part,
              int num_parts, const std::function<bool(size_t unit)>& done);
  // Gives the next block to the calling thread, which may be any; false if there is none left. Streams are
  // read in this call, each by one thread at a time. Throws Error, with the block's unit set, if a stream
  // cannot be read; from then on calls return false.
  bool next(InputBlock& block);
  void stop();  // from now on next() returns false

 private:
  struct Stream {
    size_t unit;
    int member, members;  // takes the blocks whose number is `member` modulo `members`
    std::unique_ptr<LineStream> stream;
    bool lines = true, busy = false;
    int64_t next_block = 0, lines_before = 0, consumed = 0;
  };
  // Reads up to the next block of this part; false if the stream ended with a block of another part.
  bool read(Stream& stream, InputBlock& block) const;
  void open(Stream& stream) const;

  const std::vector<Input>& inputs_;
  const std::vector<Unit>& units_;
  const int64_t block_bytes_;
  std::mutex mutex_;  // guards all members below
  std::condition_variable changed_;
  std::deque<Stream> waiting_;
  std::list<Stream> open_;
  bool stopped_ = false;
};

// Like DocumentVisitor, with the index of the input as an additional first argument. Lines are counted from
// the block's start.
struct BlockVisitor {
  std::function<void(size_t input, std::string_view text)> document;
  std::function<void(size_t input, int64_t line, const std::string& reason, std::string_view advice)> bad;
  std::function<void(int64_t mark)> mark = {};
};
// Passes the documents of a block to the visitor. Returns the number of lines; 0 for a block of whole files.
int64_t read_block(const std::vector<Input>& inputs, const Unit& unit, const InputBlock& block,
                   const BlockVisitor& visitor);
// The number of lines of its file before the block. Reads the file up to the block.
int64_t lines_before(const std::vector<Input>& inputs, const Unit& unit, const InputBlock& block,
                     int64_t block_bytes);

}  // namespace sisa::data
