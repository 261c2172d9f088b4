// The safetensors format, in which weights travel between programs:
//
//   8 bytes   n, little-endian: the length of the header
//   n bytes   the header, JSON: {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …};
//   under
//             "__metadata__" it may hold texts by name, which say nothing about the tensors
//   the rest  the tensors, row-major, little-endian; data_offsets are the first byte of each and the one
//   after
//             its last, counted from the header's end; together they cover the rest without gap or overlap
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "common/file.h"

namespace sisa::checkpoint {

// A file to read, mapped into memory. Whoever wrote it need not be trusted: every length, shape and offset is
// checked before use.
class SafetensorsFile {
 public:
  struct Tensor {
    c10::ScalarType type;              // double, float, half or bfloat16
    std::vector<int64_t> shape;        // {}: a scalar
    std::span<const std::byte> bytes;  // in the mapped file, at any alignment
  };

  // Throws Error saying what was found, what was expected and for which tensor, unless `path` is a sound
  // safetensors file whose tensors have the types above; SystemError where it cannot be opened or mapped.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::string& path() const { return path_; }
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }  // by name
  // Elements [begin, end), row-major, of a tensor of the file: 1-D, on the CPU, in the stored type.
  at::Tensor read(const std::string& name, int64_t begin, int64_t end) const;

 private:
  std::string path_;
  common::MappedFile file_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace sisa::checkpoint
