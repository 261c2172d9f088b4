#include "tests/model/golden_file.h"

#include <ATen/ops/empty.h>
#include <hdf5.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "model/mixers/registry.h"

namespace sisa::tests {

GoldenFile::GoldenFile(const std::filesystem::path& path)
    : name_(path.stem().string()), file_(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT)) {
  if (file_ < 0) throw std::runtime_error("cannot open " + path.string());
  const hid_t attribute = H5Aopen(file_, "config", H5P_DEFAULT), type = H5Aget_type(attribute);
  char* text = nullptr;  // a string of variable length
  H5Aread(attribute, type, &text);
  config_ = text;
  H5free_memory(text);
  H5Tclose(type);
  H5Aclose(attribute);
}

GoldenFile::~GoldenFile() {
  H5Fclose(file_);
}

std::string GoldenFile::system() const {
  const auto json = nlohmann::json::parse(config_);
  return json.at("system").get<std::string>() + (json.value("pro", false) ? "_pro" : "");
}

model::ModelConfig GoldenFile::config() const {
  const auto json = nlohmann::json::parse(config_);
  model::ModelConfig c;
  c.system = system();
  c.vocab_size = json.at("vocab_size");
  c.d_model = json.at("d_model");
  c.num_layers = json.at("num_layers");
  c.d_ff = json.at("d_ff");
  for (const model::Key& key : model::find_system(c.system).keys) {
    if (!json.contains(key.name)) continue;
    const auto& value = json.at(key.name);
    if (key.type == model::Key::Type::choice)
      c.settings[key.name] = value.get<std::string>();
    else if (key.type == model::Key::Type::real)
      c.settings[key.name] = value.get<double>();
    else if (key.type == model::Key::Type::layers)
      c.settings[key.name] = value.get<std::vector<int64_t>>();
    else
      c.settings[key.name] = value.get<int64_t>();
  }
  // The definition without an offset: total decay is at most 120 in these files.
  if (json.value("offset", "") == "none") c.settings["offset"] = "causal";
  return model::completed(c);
}

bool GoldenFile::has(const std::string& name) const {
  return H5Lexists(file_, name.c_str(), H5P_DEFAULT) > 0;
}

at::Tensor GoldenFile::tensor(const std::string& name) const {
  const hid_t dataset = H5Dopen2(file_, name.c_str(), H5P_DEFAULT);
  if (dataset < 0) throw std::runtime_error("no dataset " + name + " in " + name_);
  const hid_t space = H5Dget_space(dataset), type = H5Dget_type(dataset);
  std::vector<hsize_t> extent(static_cast<size_t>(H5Sget_simple_extent_ndims(space)));
  H5Sget_simple_extent_dims(space, extent.data(), nullptr);
  const bool integer = H5Tget_class(type) == H5T_INTEGER;
  const at::Tensor tensor =
      at::empty(std::vector<int64_t>(extent.begin(), extent.end()), integer ? at::kLong : at::kDouble);
  H5Dread(dataset, integer ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT,
          tensor.data_ptr());
  H5Tclose(type);
  H5Sclose(space);
  H5Dclose(dataset);
  return tensor;
}

std::vector<std::string> GoldenFile::names(const std::string& group) const {
  std::vector<std::string> names;
  const hid_t id = H5Gopen2(file_, group.c_str(), H5P_DEFAULT);
  H5Literate(
      id, H5_INDEX_NAME, H5_ITER_NATIVE, nullptr,
      [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
        static_cast<std::vector<std::string>*>(out)->emplace_back(name);
        return 0;
      },
      &names);
  H5Gclose(id);
  return names;
}

std::vector<std::filesystem::path> golden_files() {
  const char* folder = std::getenv("SISA_GOLDEN_DIR");
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder ? folder : SISA_TEST_DATA "/golden"))
    if (entry.path().extension() == ".h5") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace sisa::tests
