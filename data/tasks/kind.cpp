#include "data/tasks/kind.h"

#include "common/error.h"
#include "common/quantity.h"

namespace sisa::data {

using common::format_count;

int64_t TaskSetting::vocab_size(int64_t needed, const std::string& use) const {
  const auto own = options_.values.find(vocab_size_key().name);
  const bool has_own = own != options_.values.end() && own->second > 0;
  const int64_t size = has_own ? static_cast<int64_t>(own->second) : shape_.vocab_size;
  if (size > shape_.vocab_size)
    throw Error("The task {} has vocab_size {}, but model.vocab_size is {}. Raise that one to as many.",
                options_.name, size, shape_.vocab_size);
  if (size < needed)
    throw Error("The task {} takes at least {} token ids ({}), but {}vocab_size is {}. Raise it.",
                options_.name, format_count(needed), use, has_own ? "its " : "model.", size);
  return size;
}

void TaskSetting::check_length(int64_t needed, const std::string& use) const {
  if (shape_.sequence_length < needed)
    throw Error(
        "The task {} takes at least {} tokens a sample ({}), but data.sequence_length is {}. Choose longer "
        "sequences, or ask for less in them.",
        options_.name, format_count(needed), use, shape_.sequence_length);
}

TaskKey vocab_size_key() {
  return {.name = "vocab_size",
          .type = TaskKey::Type::whole,
          .default_value = 0,
          .minimum = 0,
          .maximum = 1 << 24,
          .doc = "token ids that are used, from 0 on; 0: model.vocab_size"};
}

}  // namespace sisa::data
