#include "data/tokens/formats/megatron.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/quantity.h"

namespace sisa::data {
namespace {

using common::format_count;
using std::string_view_literals::operator""sv;

constexpr std::string_view magic = "MMIDIDX\0\0"sv;
constexpr int64_t version_offset = 9, type_offset = 17, sequences_offset = 18, documents_offset = 26,
                  header_bytes = 34;

IdType id_type(int code, const std::string& name) {
  switch (code) {
    case 1:
      return IdType::uint8;
    case 3:
      return IdType::int16;
    case 4:
      return IdType::int32;
    case 5:
      return IdType::int64;
    case 8:
      return IdType::uint16;
    default:
      throw Error(
          "{} has the type code {} (offset {}), which holds no token ids; expected 1 (uint8), 3 (int16), 4 "
          "(int32), 5 (int64) or 8 (uint16).",
          name, code, type_offset);
  }
}

// A list of numbers in a file that is read from front to back.
template <typename T>
class Column {
 public:
  Column(const common::InputFile& file, int64_t offset, int64_t count)
      : file_(file), offset_(offset), left_(count) {}
  T next() {  // at most `count` times
    if (at_ == block_.size()) {
      block_.resize(static_cast<size_t>(std::min(left_, longest)));
      file_.read(offset_, std::as_writable_bytes(std::span(block_)));
      offset_ += static_cast<int64_t>(block_.size() * sizeof(T));
      left_ -= static_cast<int64_t>(block_.size());
      at_ = 0;
    }
    return block_[at_++];
  }

 private:
  static constexpr int64_t longest = 1 << 15;  // numbers in a block
  const common::InputFile& file_;
  int64_t offset_, left_;
  std::vector<T> block_;
  size_t at_ = 0;
};

}  // namespace

DocumentIndex::DocumentIndex(std::filesystem::path path, int64_t bin_bytes)
    : path_(std::move(path)), file_(path_), bin_bytes_(bin_bytes) {
  read_header();
  check_sequences();
  check_documents();
}

int64_t DocumentIndex::pointer_offset(int64_t sequence) const {
  return header_bytes + 4 * num_sequences_ + 8 * sequence;
}

int64_t DocumentIndex::document_offset(int64_t document) const {
  return pointer_offset(num_sequences_) + 8 * document;
}

void DocumentIndex::read_header() {
  const std::string name = path_.string();
  const int64_t size = file_.size();
  if (size < header_bytes)
    throw Error("{} has {} bytes, fewer than the header of a Megatron-LM index ({}): it was cut off.", name,
                size, header_bytes);
  std::string start(magic.size(), ' ');
  file_.read(0, std::as_writable_bytes(std::span(start)));
  if (start != magic)
    throw Error("{} is no Megatron-LM index: it does not start with 'MMIDIDX' and two zero bytes (offset 0).",
                name);
  if (const auto version = file_.at<uint64_t>(version_offset); version != 1)
    throw Error("{} has version {} (offset {}), but this program reads version 1.", name, version,
                version_offset);
  type_ = id_type(file_.at<uint8_t>(type_offset), name);
  const auto sequences = file_.at<uint64_t>(sequences_offset),
             documents = file_.at<uint64_t>(documents_offset);
  // Neither count can exceed the number of bytes. With that checked first, the sum cannot overflow.
  const auto limit = static_cast<uint64_t>(size);
  if (sequences > limit || documents > limit || header_bytes + 12 * sequences + 8 * documents != limit)
    throw Error(
        "{} has {} bytes, not the {} + 12 x {} sequences (offset {}) + 8 x {} document marks (offset {}) "
        "that its header promises: it was cut off, or it is a multimodal index, which holds more than text.",
        name, format_count(size), header_bytes, sequences, sequences_offset, documents, documents_offset);
  if (documents == 0)
    throw Error("{} has no document marks (offset {}), but even an index of no documents has one.", name,
                documents_offset);
  num_sequences_ = static_cast<int64_t>(sequences);
  num_documents_ = static_cast<int64_t>(documents) - 1;
}

void DocumentIndex::check_sequences() const {
  int64_t end = 0;  // the byte at which the sequences so far end
  Column<int64_t> pointers(file_, pointer_offset(0), num_sequences_);
  Column<int32_t> lengths(file_, header_bytes, num_sequences_);
  for (int64_t i = 0; i < num_sequences_; ++i) {
    const int64_t pointer = pointers.next(), length = lengths.next();
    if (pointer != end)
      throw Error(
          "{} says that sequence {} begins at byte {} of the .bin (offset {}), but the one before it ends "
          "at byte {}: the index is damaged.",
          path_.string(), i, pointer, pointer_offset(i), end);
    if (length < 0 || length > (bin_bytes_ - end) / id_size(type_))
      throw Error(
          "{} says that sequence {} has {} {} ids (offset {}) from byte {} on, but the .bin beside it has "
          "{} bytes: it was cut off, or the index belongs to another one.",
          path_.string(), i, length, id_type_name(type_), header_bytes + 4 * i, end,
          format_count(bin_bytes_));
    end += length * id_size(type_);
  }
  if (end != bin_bytes_)
    throw Error(
        "{} holds sequences of {} bytes in all, but the .bin beside it has {}: the index belongs to another "
        "one, or its writer was cut off.",
        path_.string(), format_count(end), format_count(bin_bytes_));
}

void DocumentIndex::check_documents() const {
  int64_t last = 0;
  Column<int64_t> marks(file_, document_offset(0), num_documents_ + 1);
  for (int64_t d = 0; d <= num_documents_; ++d) {
    const int64_t mark = marks.next();
    const int64_t least = d == num_documents_ ? num_sequences_ : last;
    const int64_t most = d == 0 ? 0 : num_sequences_;
    if (mark < least || mark > most)
      throw Error(
          "{} says that document {} begins with sequence {} (offset {}), but the marks must rise from 0 to "
          "the {} sequences: the index is damaged.",
          path_.string(), d, mark, document_offset(d), num_sequences_);
    last = mark;
  }
}

int64_t DocumentIndex::start(int64_t document) const {
  TORCH_INTERNAL_ASSERT(document >= 0 && document <= num_documents_);
  const auto sequence = file_.at<int64_t>(document_offset(document));
  return (sequence == num_sequences_ ? bin_bytes_ : file_.at<int64_t>(pointer_offset(sequence))) /
         id_size(type_);
}

int64_t DocumentIndex::documents_before(int64_t token) const {
  const auto documents = std::views::iota(int64_t{0}, num_documents_);
  return std::ranges::partition_point(documents, [&](int64_t d) { return start(d) < token; }) -
         documents.begin();
}

MegatronFile open_megatron(const std::filesystem::path& prefix) {
  const std::filesystem::path bin = prefix.string() + ".bin", idx = prefix.string() + ".idx";
  std::error_code unreachable;
  for (const auto& [missing, other] : {std::pair(bin, idx), std::pair(idx, bin)})
    if (!std::filesystem::exists(missing, unreachable))
      throw Error("{} is missing beside {}: a Megatron-LM dataset is both.", missing.string(),
                  other.string());
  common::InputFile file(bin);
  DocumentIndex index(idx, file.size());
  const IdType type = index.type();
  return {TokenArray(bin, std::move(file), type, 0), std::move(index)};
}

}  // namespace sisa::data
