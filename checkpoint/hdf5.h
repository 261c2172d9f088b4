// The part of HDF5 that checkpoints need, with identifiers that close themselves.
//
// HDF5 itself never writes to the disk here. Files are created in memory and their bytes are written by
// File::write, so that a full disk is an ordinary error. All functions throw SystemError with HDF5's own
// explanation. Files are not locked, because published files never change and many network file systems do
// not support locks.
//
// What reads is called only in a process of its own (child_process.h), because HDF5 may crash or never return.
#pragma once

#include <c10/core/ScalarType.h>
#include <hdf5.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace sisa::checkpoint::hdf5 {

// Throws SystemError "`what`: (HDF5's explanation)" if `status` is negative, otherwise returns it.
int64_t check(int64_t status, const std::string& what);

// An HDF5 identifier that is closed at the end of its scope.
class Id {
 public:
  using Close = herr_t (*)(hid_t);
  Id(hid_t id, Close closer, const std::string& what) : id_(check(id, what)), close_(closer) {}
  Id(Id&& other) noexcept;
  Id& operator=(Id&&) = delete;
  ~Id();
  operator hid_t() const { return id_; }
  void close(const std::string& what);  // closes it now; throws if that fails

 private:
  hid_t id_;
  Close close_;
};

// A file that is created in memory. Until it is closed, no other thread can use HDF5 in this process.
class MemoryFile {
 public:
  // All metadata is in the first `metadata_bytes` after the user block. The space of datasets follows, with
  // that of text attributes, which HDF5 stores like data. user_block: the number of bytes at the start of the
  // file that HDF5 ignores; 0, or a power of two >= 512.
  explicit MemoryFile(int64_t metadata_bytes, int64_t user_block = 0);
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  hid_t id() const { return file_; }
  // Closes the file. From then on image() is valid: the first bytes of the file, with everything that was
  // written to it. The whole file has size() bytes; those after the image are space of datasets.
  void close();
  std::span<const std::byte> image() const { return {image_.data.get(), image_.size}; }
  std::span<std::byte> image() { return {image_.data.get(), image_.size}; }
  int64_t size() const { return size_; }

 private:
  struct Free {
    void operator()(std::byte* data) const;
  };
  struct Image {
    std::unique_ptr<std::byte[], Free> data;
    size_t size = 0;
  };
  static hid_t create(int64_t metadata_bytes, int64_t user_block, Image* image);

  std::unique_lock<std::mutex> lock_;
  Image image_;  // declared before file_, which writes to it when it is closed
  Id file_;
  int64_t size_ = 0;
};

Id open_file(const std::filesystem::path& path);    // for reading
Id open_image(std::span<const std::byte> content);  // of a whole file, for reading
Id create_group(hid_t parent, const std::string& name);
Id open_dataset(hid_t file, const std::string& path);
Id create_dataset(hid_t file, const std::string& path, hid_t type, const std::vector<int64_t>& shape,
                  hid_t creation);
Id dataspace(const std::vector<int64_t>& shape);  // {} is a scalar
std::vector<int64_t> shape_of(hid_t dataset);     // of an open dataset
bool has_type(hid_t dataset, hid_t type);
// The type in which numbers are stored. HDF5 has no bfloat16, whose bits are stored as uint16.
hid_t stored_type(c10::ScalarType type);

void write_attribute(hid_t object, const std::string& name, int64_t value);
void write_attribute(hid_t object, const std::string& name, double value);
void write_attribute(hid_t object, const std::string& name, const std::string& text);
bool has_attribute(hid_t object, const std::string& attribute);
// The attribute must be a single value of the class that is asked for.
int64_t read_integer(hid_t object, const std::string& attribute);
double read_number(hid_t object, const std::string& attribute);
std::string read_string(hid_t object, const std::string& attribute);

// A text of any length, stored as a scalar dataset.
void write_text(hid_t file, const std::string& path, const std::string& text);
bool has_text(hid_t file, const std::string& path);
// Throws SystemError if it would have more than `most_bytes`.
std::string read_text(hid_t file, const std::string& path, size_t most_bytes);

}  // namespace sisa::checkpoint::hdf5
