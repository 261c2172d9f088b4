// The safetensors format, in which weights travel between programs:
//
//   8 bytes   n, little-endian: the length of the header
//   n bytes   the header, JSON: {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}; its
//             "__metadata__" may hold texts by name, which say nothing about the tensors
//   the rest  the tensors, row-major, little-endian; data_offsets are the first byte of each and the one
//             after its last, counted from the header's end; together they cover the rest without gap or
//             overlap
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/disk.h"
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
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // Elements [begin, end), row-major, of a tensor of the file: 1-D, on the CPU, in the stored type.
  at::Tensor read(const std::string& name, int64_t begin, int64_t end) const;

 private:
  std::string path_;
  common::MappedFile file_;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

// Writes a file tensor by tensor, so that one of them at a time need be in memory.
//
// The file has its name once it is whole and on the disk; until `finish` it is called NAME.tmp-PROCESS, and a
// writer that goes without it removes that. All members throw SystemError where the disk fails.
class SafetensorsWriter {
 public:
  struct Tensor {
    std::string name;
    std::vector<int64_t> shape;
  };
  // All tensors have one of the types above. `tensors` in the order in which they are written.
  SafetensorsWriter(const std::filesystem::path& path, const std::vector<Tensor>& tensors,
                    c10::ScalarType type, const std::map<std::string, std::string>& metadata,
                    const Disk& disk = {});
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // The next tensor's elements, row-major: 1-D, on the CPU, of the file's type.
  void write(const at::Tensor& elements);
  void finish();  // all tensors are written

 private:
  struct Temporary {  // removed, if it is still there, at the end
    std::filesystem::path path;
    ~Temporary();
  };

  std::filesystem::path path_;
  Temporary temporary_;
  Disk disk_;
  File file_;
  int64_t written_ = 0, size_ = 0;  // bytes
};

// The first element of a 1-D CPU tensor that is not finite; absent: all are.
std::optional<int64_t> first_not_finite(const at::Tensor& elements);

}  // namespace sisa::checkpoint
