// The safetensors format, in which programs exchange weights:
//
//   8 bytes   n, the length of the header, little-endian
//   n bytes   the header as JSON: {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}.
//             Its entry "__metadata__" may contain texts by name, which say nothing about the tensors.
//   the rest  the tensors, row-major and little-endian. The data_offsets of a tensor are its first byte and
//             the byte after its last one, counted from the end of the header. The tensors cover the rest of
//             the file without gaps and overlaps.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/disk.h"
#include "common/file.h"

namespace sisa::checkpoint {

// A file for reading. Its writer need not be trusted: every length, shape and offset is checked before it is
// used.
class SafetensorsFile {
 public:
  struct Tensor {
    c10::ScalarType type;        // double, float, half or bfloat16
    std::vector<int64_t> shape;  // {} is a scalar
    int64_t begin = 0, end = 0;  // of its bytes, counted from the start of the file
  };

  // Throws Error, saying what was found, what was expected and for which tensor, if `path` is not a valid
  // safetensors file or a tensor has another type than those above. Throws SystemError if the file cannot be
  // opened or read.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::string& path() const { return path_; }
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }  // by name
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // The elements [begin, end), row-major, of a tensor of the file, as a 1-D tensor of the stored type on the
  // CPU. Throws SystemError if the file cannot be read any more.
  at::Tensor read(const std::string& name, int64_t begin, int64_t end) const;

 private:
  std::string path_;
  common::InputFile file_;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

// Writes a file tensor by tensor, so that only one of them at a time has to be in memory.
//
// The file gets its name once it is complete and on the disk. Until finish() it is called NAME.tmp-PROCESS,
// and the destructor removes it if finish() was not called. All members throw SystemError if the disk fails.
class SafetensorsWriter {
 public:
  struct Tensor {
    std::string name;
    std::vector<int64_t> shape;
  };
  // `tensors` are in the order in which they will be written. All of them have the type `type`, one of those
  // above.
  SafetensorsWriter(const std::filesystem::path& path, const std::vector<Tensor>& tensors,
                    c10::ScalarType type, const std::map<std::string, std::string>& metadata,
                    const Disk& disk = {});
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // Writes the next tensor. `elements`, row-major, is 1-D, on the CPU and of the file's type.
  void write(const at::Tensor& elements);
  // Completes the file after all tensors were written.
  void finish();

 private:
  struct Temporary {  // removed by the destructor if it still exists
    std::filesystem::path path;
    ~Temporary();
  };

  std::filesystem::path path_;
  Temporary temporary_;
  Disk disk_;
  File file_;
  int64_t written_ = 0, size_ = 0;  // bytes
};

// The index of the first element of a 1-D CPU tensor that is not finite; nothing if all are finite.
std::optional<int64_t> first_not_finite(const at::Tensor& elements);

}  // namespace sisa::checkpoint
