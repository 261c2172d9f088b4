#include "checkpoint/hdf5.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>

#include "checkpoint/child_process.h"
#include "common/error.h"

namespace sisa::checkpoint::hdf5 {
namespace {

// HDF5 prints errors to stderr unless that is switched off in each thread.
void keep_quiet() {
  thread_local const herr_t once = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  static_cast<void>(once);
}

// The call that failed and the innermost reason: "H5Fopen: unable to open file (truncated file: eof = 96,
// …)".
std::string explanation() {
  std::string text;
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_DOWNWARD,
      [](unsigned depth, const H5E_error2_t* error, void* out) -> herr_t {
        auto& message = *static_cast<std::string*>(out);
        if (depth == 0) message = fmt::format("{}: {}", error->func_name, error->desc);
        return 0;
      },
      &text);
  H5Ewalk2(
      H5E_DEFAULT, H5E_WALK_UPWARD,
      [](unsigned depth, const H5E_error2_t* error, void* out) -> herr_t {
        if (depth == 0) *static_cast<std::string*>(out) += fmt::format(" ({})", error->desc);
        return 0;
      },
      &text);
  return text.empty() ? "HDF5 gives no reason" : text;
}

Id file_access() {
  Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "Cannot prepare a file");
  // With the default version bounds a master file of many virtual datasets takes minutes to open, and
  // metadata has no checksums.
  check(H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110), "Cannot choose the file format");
#if H5_VERSION_GE(1, 10, 7)
  check(H5Pset_file_locking(access, false, true), "Cannot choose the file locking");
#endif
  return access;
}

Id string_type(size_t length) {  // or H5T_VARIABLE
  Id type(H5Tcopy(H5T_C_S1), H5Tclose, "Cannot make a text type");
  check(H5Tset_size(type, std::max<size_t>(length, 1)), "Cannot make a text type");
  check(H5Tset_strpad(type, H5T_STR_NULLPAD), "Cannot make a text type");
  check(H5Tset_cset(type, H5T_CSET_UTF8), "Cannot make a text type");
  return type;
}

void write_scalar(hid_t object, const std::string& name, hid_t file_type, hid_t memory_type,
                  const void* value) {
  const std::string what = "Cannot write the attribute " + name;
  const Id attribute(H5Acreate2(object, name.c_str(), file_type, dataspace({}), H5P_DEFAULT, H5P_DEFAULT),
                     H5Aclose, what);
  check(H5Awrite(attribute, memory_type, value), what);
}

// A value of a single element, into which HDF5 would write as many as the file says.
template <typename T>
T read_scalar(hid_t object, const std::string& name, H5T_class_t expected, hid_t memory_type) {
  const std::string what = "Cannot read the attribute " + name;
  const Id attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, what);
  const Id space(H5Aget_space(attribute), H5Sclose, what), type(H5Aget_type(attribute), H5Tclose, what);
  if (H5Sget_simple_extent_npoints(space) != 1) throw SystemError(what + ": it is no single value");
  if (H5Tget_class(type) != expected || (expected == H5T_STRING && H5Tis_variable_str(type) <= 0))
    throw SystemError(what + ": it has another type than it should");
  T value{};
  check(H5Aread(attribute, memory_type, &value), what);
  return value;
}

}  // namespace

int64_t check(int64_t status, const std::string& what) {
  if (status < 0) throw SystemError(fmt::format("{}: {}", what, explanation()));
  return status;
}

Id::Id(Id&& other) noexcept : id_(std::exchange(other.id_, hid_t{H5I_INVALID_HID})), close_(other.close_) {}

Id::~Id() {
  if (id_ >= 0) close_(id_);
}

void Id::close(const std::string& what) {
  check(close_(std::exchange(id_, hid_t{H5I_INVALID_HID})), what);
}

void MemoryFile::Free::operator()(std::byte* data) const {
  std::free(data);
}

hid_t MemoryFile::create(int64_t metadata_bytes, int64_t user_block, Image* image) {
  keep_quiet();
  const std::string what = "Cannot make an HDF5 file in memory";
  const Id creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose, what);
  check(H5Pset_userblock(creation, static_cast<hsize_t>(user_block)), what);
  const Id access = file_access();
  check(H5Pset_meta_block_size(access, static_cast<hsize_t>(metadata_bytes)), what);
  check(H5Pset_fapl_core(access, 64 << 10, false), what);
  // HDF5 hands its buffer over when it closes the file. (H5Fget_file_image, which works on an open file,
  // gives a superblock with a wrong checksum for this format in HDF5 1.10.8.)
  H5FD_file_image_callbacks_t callbacks{};
  callbacks.image_realloc = [](void* data, size_t size, H5FD_file_image_op_t, void* user) {
    static_cast<Image*>(user)->size = size;
    return std::realloc(data, size);
  };
  callbacks.image_free = [](void* data, H5FD_file_image_op_t operation, void* user) -> herr_t {
    auto* bytes = static_cast<std::byte*>(data);
    if (operation == H5FD_FILE_IMAGE_OP_FILE_CLOSE)
      static_cast<Image*>(user)->data.reset(bytes);
    else
      std::free(bytes);
    return 0;
  };
  callbacks.udata_copy = [](void* user) { return user; };
  callbacks.udata_free = [](void*) -> herr_t { return 0; };
  callbacks.udata = image;
  check(H5Pset_file_image_callbacks(access, &callbacks), what);
  // The name must be unique: HDF5 takes two files with the same name for the same file.
  return H5Fcreate(fmt::format("memory at {}", fmt::ptr(image)).c_str(), H5F_ACC_TRUNC, creation, access);
}

MemoryFile::MemoryFile(int64_t metadata_bytes, int64_t user_block)
    : lock_(hdf5_in_use()),
      file_(create(metadata_bytes, user_block, &image_), H5Fclose, "Cannot make an HDF5 file in memory") {}

void MemoryFile::close() {
  hsize_t size = 0;
  check(H5Fget_filesize(file_, &size), "Cannot learn the size of an HDF5 file");
  file_.close("Cannot finish an HDF5 file");
  size_ = std::max(static_cast<int64_t>(size), static_cast<int64_t>(image_.size));
  lock_.unlock();
}

Id open_file(const std::filesystem::path& path) {
  keep_quiet();
  return Id(H5Fopen(path.c_str(), H5F_ACC_RDONLY, file_access()), H5Fclose, "Cannot open " + path.string());
}

Id open_image(std::span<const std::byte> content) {
  keep_quiet();
  const std::string what = "Cannot open an HDF5 file";
  const Id access = file_access();
  check(H5Pset_fapl_core(access, 64 << 10, false), what);
  // HDF5 copies the bytes and does not change them.
  check(H5Pset_file_image(access, const_cast<std::byte*>(content.data()), content.size()), what);
  return Id(H5Fopen("image", H5F_ACC_RDONLY, access), H5Fclose, what);
}

Id create_group(hid_t parent, const std::string& name) {
  return Id(H5Gcreate2(parent, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose,
            "Cannot create the group " + name);
}

Id open_dataset(hid_t file, const std::string& path) {
  return Id(H5Dopen2(file, path.c_str(), H5P_DEFAULT), H5Dclose, "Cannot open the dataset " + path);
}

Id create_dataset(hid_t file, const std::string& path, hid_t type, const std::vector<int64_t>& shape,
                  hid_t creation) {
  return Id(H5Dcreate2(file, path.c_str(), type, dataspace(shape), H5P_DEFAULT, creation, H5P_DEFAULT),
            H5Dclose, "Cannot create the dataset " + path);
}

Id dataspace(const std::vector<int64_t>& shape) {
  const std::vector<hsize_t> extent(shape.begin(), shape.end());
  return Id(shape.empty() ? H5Screate(H5S_SCALAR)
                          : H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr),
            H5Sclose, "Cannot describe a shape");
}

std::vector<int64_t> shape_of(hid_t dataset) {
  const Id space(H5Dget_space(dataset), H5Sclose, "Cannot read a shape");
  std::vector<hsize_t> extent(
      static_cast<size_t>(check(H5Sget_simple_extent_ndims(space), "Cannot read a shape")));
  check(H5Sget_simple_extent_dims(space, extent.data(), nullptr), "Cannot read a shape");
  return {extent.begin(), extent.end()};
}

bool has_type(hid_t dataset, hid_t type) {
  const Id stored(H5Dget_type(dataset), H5Tclose, "Cannot read a number type");
  return check(H5Tequal(stored, type), "Cannot compare number types") > 0;
}

hid_t stored_type(c10::ScalarType type) {
  return type == c10::kBFloat16 ? H5T_STD_U16LE : type == c10::kDouble ? H5T_IEEE_F64LE : H5T_IEEE_F32LE;
}

void write_attribute(hid_t object, const std::string& name, int64_t value) {
  write_scalar(object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

void write_attribute(hid_t object, const std::string& name, double value) {
  write_scalar(object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

void write_attribute(hid_t object, const std::string& name, const std::string& text) {
  const Id type = string_type(H5T_VARIABLE);  // h5py reads variable-length text as str, other text as bytes
  const char* const value = text.c_str();
  write_scalar(object, name, type, type, &value);
}

int64_t read_integer(hid_t object, const std::string& attribute) {
  return read_scalar<int64_t>(object, attribute, H5T_INTEGER, H5T_NATIVE_INT64);
}

bool has_attribute(hid_t object, const std::string& attribute) {
  return check(H5Aexists(object, attribute.c_str()), "Cannot look for the attribute " + attribute) > 0;
}

double read_number(hid_t object, const std::string& attribute) {
  return read_scalar<double>(object, attribute, H5T_FLOAT, H5T_NATIVE_DOUBLE);
}

std::string read_string(hid_t object, const std::string& attribute) {
  const std::unique_ptr<char, decltype(&H5free_memory)> value(
      read_scalar<char*>(object, attribute, H5T_STRING, string_type(H5T_VARIABLE)), H5free_memory);
  return value ? value.get() : "";
}

void write_text(hid_t file, const std::string& path, const std::string& text) {
  const Id type = string_type(text.size());
  const Id dataset = create_dataset(file, path, type, {}, H5P_DEFAULT);
  check(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.c_str()), "Cannot write " + path);
}

bool has_text(hid_t file, const std::string& path) {
  return check(H5Lexists(file, path.c_str(), H5P_DEFAULT), "Cannot look for " + path) > 0;
}

std::string read_text(hid_t file, const std::string& path, size_t most_bytes) {
  const Id dataset = open_dataset(file, path);
  const Id type(H5Dget_type(dataset), H5Tclose, "Cannot read the type of " + path);
  const Id space(H5Dget_space(dataset), H5Sclose, "Cannot read the shape of " + path);
  const size_t size = H5Tget_size(type);
  if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 || size == 0 || size > most_bytes ||
      H5Sget_simple_extent_npoints(space) != 1)
    throw SystemError(fmt::format("Cannot read {}: it is no text of up to {} bytes", path, most_bytes));
  std::string text(size, '\0');
  check(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()), "Cannot read " + path);
  text.erase(text.find_last_not_of('\0') + 1);
  return text;
}

}  // namespace sisa::checkpoint::hdf5
