// The inputs of a preparation, cut into blocks of whole documents. The cuts depend on the inputs alone, and
// each block is worked on by itself: so any number of processes and threads gives the same result.
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
  bool regular = true;         // else a pipe or standard input, which can be read once only
  int64_t bytes = 0;           // of the file; 0 of a pipe
  int64_t time = 0;            // last change, ns since an epoch; 0 of a pipe
};
// Throws Error if a path is no file to read, or if standard input is named twice.
std::vector<Input> look_at(const std::vector<std::filesystem::path>& paths);

// Consecutive blocks that are read from one place.
struct Unit {
  enum class Kind {
    files,  // the inputs [first, last) whole: one block
    range,  // the lines of a file that begin in its bytes [begin, end): one block
    stream  // one input, from its start to its end: a block for every `block_bytes` unpacked bytes
  };
  Kind kind = Kind::files;
  size_t first = 0, last = 0;
  int64_t begin = 0, end = 0;
  int64_t bytes = 0;  // of the files; 0 of a pipe
};
// In order of the documents. Small files share a block.
std::vector<Unit> list_units(const std::vector<Input>& inputs, int64_t block_bytes);

struct Block {
  size_t unit = 0;
  int64_t number = 0;       // within its unit
  bool last = true;         // of its unit
  int64_t input_bytes = 0;  // of the files, packed as they are
  // Of a stream only:
  std::string text;
  bool lines = true;         // of JSON; else the text is one document
  int64_t lines_before = 0;  // in a pipe, which cannot be read again to count them
};

// The blocks that fall to one of several parts, each a process. Ranges and groups of files are dealt in turn.
// A packed stream must be unpacked from its start, which one process does alone if there are at least four of
// them for each; where there are fewer, teams of processes share them, each unpacking all and taking every
// n-th block. Pipes fall to part 0.
class BlockSource {
 public:
  // `done(unit)`: a unit to leave out. The inputs and units must outlive this.
  BlockSource(const std::vector<Input>& inputs, const std::vector<Unit>& units, int64_t block_bytes, int part,
              int num_parts, const std::function<bool(size_t unit)>& done);
  // The next block, for any thread; false if there is none left. Streams are read here, by one thread at a
  // time each. Throws Error, with the block's unit set, if one cannot be read; then the others get false.
  bool next(Block& block);
  void stop();  // no more blocks

 private:
  struct Stream {
    size_t unit;
    int member, members;  // takes the blocks whose number is `member` modulo `members`
    std::unique_ptr<LineStream> stream;
    bool lines = true, busy = false;
    int64_t next_block = 0, lines_before = 0, consumed = 0;
  };
  bool read(Stream& stream, Block& block) const;  // false: at the end, and the last block is another's
  void open(Stream& stream) const;

  const std::vector<Input>& inputs_;
  const std::vector<Unit>& units_;
  const int64_t block_bytes_;
  std::mutex mutex_;  // of all that follows
  std::condition_variable changed_;
  std::deque<Stream> waiting_;
  std::list<Stream> open_;
  bool stopped_ = false;
};

// Hands the documents of a block to `document`, and so on: DocumentVisitor, with the number of the input put
// before. Returns the number of lines; 0 for whole files. Lines are counted from the block's start.
struct BlockVisitor {
  std::function<void(size_t input, std::string_view text)> document;
  std::function<void(size_t input, int64_t line, const std::string& reason, std::string_view advice)> bad;
};
int64_t read_block(const std::vector<Input>& inputs, const Unit& unit, const Block& block,
                   const BlockVisitor& visitor);
// Lines of its file before the block; reads what is before.
int64_t lines_before(const std::vector<Input>& inputs, const Unit& unit, const Block& block,
                     int64_t block_bytes);

}  // namespace sisa::data
