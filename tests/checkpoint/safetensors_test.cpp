#include "checkpoint/safetensors.h"

#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "common/error.h"

namespace sisa::tests {
namespace {

namespace fs = std::filesystem;
using checkpoint::SafetensorsFile;
using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

template <typename Number>
std::string bytes_of(std::initializer_list<Number> numbers) {
  return {reinterpret_cast<const char*>(numbers.begin()), numbers.size() * sizeof(Number)};
}

class Safetensors : public testing::Test {
 protected:
  Safetensors() {
    std::string path = (fs::temp_directory_path() / "sisa-safetensors-XXXXXX").string();
    folder_ = ::mkdtemp(path.data());
  }
  ~Safetensors() override { fs::remove_all(folder_); }

  fs::path write(std::string_view content) const {
    const fs::path path = folder_ / "a.safetensors";
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  static std::string file(const std::string& header, const std::string& data) {
    return bytes_of<uint64_t>({header.size()}) + header + data;
  }
  // The message about a file with this content, without its name and the advice.
  std::string refusal(std::string_view content) const { return refusal_of(write(content)); }
  static std::string refusal_of(const fs::path& path) {
    try {
      const SafetensorsFile opened(path);
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), common::users_mistake);
      const std::string text = error.what(), start = path.string() + " ",
                        advice = ". Copy or export it again, or name another safetensors file.";
      EXPECT_THAT(text, AllOf(StartsWith(start), EndsWith(advice)));
      return text.substr(start.size(), text.size() - start.size() - advice.size());
    }
    ADD_FAILURE() << "it was accepted";
    return "";
  }
  std::string header_refusal(const std::string& header, size_t data_bytes = 0) const {
    return refusal(file(header, std::string(data_bytes, '\0')));
  }

  fs::path folder_;
};

TEST_F(Safetensors, ReadsEveryType) {
  const std::string header =
      R"({"d": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]},)"
      R"( "f": {"dtype": "F32", "shape": [2, 3], "data_offsets": [16, 40]}, "__metadata__": {"format": "pt"},)"
      R"( "h": {"dtype": "F16", "shape": [], "data_offsets": [40, 42]},)"
      R"( "b": {"dtype": "BF16", "shape": [3, 1], "data_offsets": [42, 48]},)"
      R"( "none": {"dtype": "F32", "shape": [0, 5], "data_offsets": [48, 48]}}   )";
  const SafetensorsFile opened(
      write(file(header, bytes_of<double>({0.1, -1e300}) + bytes_of<float>({0, 1, 2, 3, 4, 0.1f}) +
                             bytes_of<uint16_t>({0x3c00}) + bytes_of<uint16_t>({0x3f80, 0xc000, 0x4049}))));
  ASSERT_EQ(opened.tensors().size(), 5u);
  EXPECT_THAT(opened.tensors().at("f").shape, ElementsAre(2, 3));
  EXPECT_THAT(opened.tensors().at("h").shape, IsEmpty());
  const auto expect = [&](const std::string& name, int64_t begin, int64_t end, const at::Tensor& right) {
    const at::Tensor read = opened.read(name, begin, end);
    EXPECT_EQ(read.scalar_type(), right.scalar_type()) << name;
    EXPECT_TRUE(read.equal(right)) << name;
  };
  expect("d", 0, 2, at::tensor({0.1, -1e300}, at::kDouble));
  expect("f", 0, 6, at::tensor({0.f, 1.f, 2.f, 3.f, 4.f, 0.1f}));
  expect("f", 2, 5, at::tensor({2.f, 3.f, 4.f}));
  expect("f", 6, 6, at::tensor(std::vector<float>{}));
  expect("h", 0, 1, at::tensor({1.f}).to(at::kHalf));
  expect("b", 1, 3, at::tensor({-2.f, 3.140625f}).to(at::kBFloat16));
  expect("none", 0, 0, at::tensor(std::vector<float>{}));
}

TEST_F(Safetensors, AFileOfNoTensorsIsSound) {
  EXPECT_THAT(SafetensorsFile(write(file("{}", ""))).tensors(), IsEmpty());
}

TEST_F(Safetensors, OtherFilesAreToldApart) {
  EXPECT_EQ(refusal(""), "has 0 bytes, fewer than the 8 of the header's length");
  EXPECT_EQ(refusal("\x89HDF\r\n\x1a\n..."), "is an HDF5 file, not a safetensors file");
  EXPECT_EQ(refusal("PK\x03\x04........."),
            "is a zip archive, as PyTorch's .pt and .bin files are, not a safetensors file");
  EXPECT_EQ(refusal("\x80\x02}q........."),
            "is a Python pickle, as PyTorch's old .pt and .bin files are, not a safetensors file");
  EXPECT_EQ(refusal("a text of 20 letters"),
            "says that its header has 8007528197911748705 bytes, but only 12 follow: it was cut off or is no "
            "safetensors file");
  EXPECT_THAT(refusal(bytes_of<uint64_t>({std::numeric_limits<uint64_t>::max()})),
              HasSubstr("18446744073709551615 bytes, but only 0 follow"));
  const fs::path long_header = write(bytes_of<uint64_t>({100'000'001}));
  fs::resize_file(long_header, 200'000'000);  // sparse
  EXPECT_EQ(
      refusal_of(long_header),
      "says that its header has 100000001 bytes, but the format allows 100000000: it was cut off or is no "
      "safetensors file");
}

TEST_F(Safetensors, NoFile) {
  for (const fs::path& path : {folder_ / "absent", folder_}) try {
      const SafetensorsFile opened(path);
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.what(), path.string() + " is no file; a safetensors file was expected.");
    }
}

TEST_F(Safetensors, HeadersThatAreNoSuchJson) {
  EXPECT_THAT(header_refusal(""), StartsWith("has a header that is no JSON ("));
  EXPECT_THAT(header_refusal(R"({"a": )"), StartsWith("has a header that is no JSON ("));
  EXPECT_THAT(header_refusal(std::string(9, '\0')), StartsWith("has a header that is no JSON ("));
  EXPECT_THAT(header_refusal("{\"\xff\": 1}"), StartsWith("has a header that is no JSON ("));
  EXPECT_THAT(header_refusal(R"({"a": {"shape": [1e999]}})"), StartsWith("has a header that is no JSON ("));
  EXPECT_EQ(header_refusal("[1, 2]"), "has a header that is no JSON object but [1,2]");
  EXPECT_EQ(header_refusal(R"({"a": 5})"), "has for a the entry 5; a JSON object was expected");
  const std::string entry = R"({"dtype": "F32", "shape": [], "data_offsets": [0, 4]})";
  EXPECT_EQ(header_refusal(R"({"a": )" + entry + R"(, "a": )" + entry + "}", 4),
            "has \"a\" twice in its header");
  EXPECT_EQ(header_refusal(R"({"a": {"shape": [1], "shape": [2]}})"), "has \"shape\" twice in its header");
  // A recursive parser would overflow its stack.
  for (const char* open : {"[", R"({"a":)"}) {
    std::string deep;
    for (int i = 0; i < 1'000'000; ++i) deep += open;
    EXPECT_EQ(header_refusal(deep), "has a header of more than 3 levels");
  }
}

TEST_F(Safetensors, Entries) {
  const auto with = [&](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return header_refusal(
        R"({"w": {"dtype": )" + dtype + R"(, "shape": )" + shape + R"(, "data_offsets": )" + offsets + "}}",
        24);
  };
  for (const std::string dtype : {R"("I64")", R"("F8_E4M3")", "32", "null"})
    EXPECT_EQ(with(dtype, "[6]", "[0, 24]"),
              "has for w the dtype " + dtype + "; F64, F32, F16 or BF16 was expected");
  for (const std::string shape : {"[-6]", "[6.0]", R"(["6"])", "[9223372036854775808]", "6", "[1e30]", "{}"})
    EXPECT_THAT(
        with(R"("F32")", shape, "[0, 24]"),
        AllOf(StartsWith("has for w the shape "), EndsWith("; a list of integers from 0 on was expected")));
  EXPECT_EQ(with(R"("F32")", "[6]", "[0, 24, 30]"),
            "has for w the data_offsets [0,24,30]; two in ascending order were expected");
  EXPECT_EQ(with(R"("F32")", "[6]", "[24, 0]"),
            "has for w the data_offsets [24,0]; two in ascending order were expected");
  EXPECT_EQ(with(R"("F32")", "[6]", "[-24, 0]"),
            "has for w the data_offsets [-24,0]; a list of integers from 0 on was expected");
  EXPECT_EQ(with(R"("F16")", "[2, 3]", "[0, 24]"),
            "has 24 bytes of data for w, which is not what its shape [2,3] takes in F16");
  EXPECT_EQ(with(R"("F64")", "[2, 3]", "[0, 48]"),
            "has 24 bytes of data, and w ends at byte 48 of them: it was cut off");
  // 2^64 bytes, which is 0 in 64-bit arithmetic.
  EXPECT_EQ(with(R"("F32")", "[2147483648, 2147483648]", "[0, 0]"),
            "has 0 bytes of data for w, which is not what its shape [2147483648,2147483648] takes in F32");
  EXPECT_THAT(with(R"("F32")", "[6]", "[9223372036854775807, 18446744073709551615]"),
              HasSubstr("a list of integers from 0 on"));
  EXPECT_EQ(header_refusal("{\"w\": {}}"), "has for w the dtype nothing; F64, F32, F16 or BF16 was expected");
  EXPECT_EQ(header_refusal(R"({"w": {"dtype": "F32", "shape": [1]}})"),
            "has for w the data_offsets nothing; a list of integers from 0 on was expected");
}

TEST_F(Safetensors, TheDataIsCoveredExactlyOnce) {
  const auto two = [&](const std::string& first, const std::string& second) {
    return header_refusal(R"({"v": {"dtype": "F32", "shape": [2], "data_offsets": )" + first +
                              R"(}, "w": {"dtype": "F32", "shape": [2], "data_offsets": )" + second + "}}",
                          20);
  };
  EXPECT_EQ(two("[0, 8]", "[4, 12]"), "has bytes that belong to both v and w");
  EXPECT_EQ(two("[0, 8]", "[0, 8]"), "has bytes that belong to both v and w");
  EXPECT_EQ(two("[0, 8]", "[12, 20]"), "has 4 bytes of no tensor between v and w");
  EXPECT_EQ(two("[12, 20]", "[4, 12]"), "has 4 bytes of no tensor between the header and w");
  EXPECT_EQ(two("[8, 16]", "[0, 8]"), "has 4 bytes of no tensor after v");
}

TEST_F(Safetensors, WrittenFilesReadBack) {
  const std::vector<checkpoint::SafetensorsWriter::Tensor> tensors = {
      {"b", {2, 3}}, {"scalar", {}}, {"none", {0, 5}}, {"ä \"quoted\"", {3}}};
  const std::vector<at::Tensor> values = {at::tensor({1.f, 2.f, 3.f, 4.f, 5.f, 6.f}), at::tensor({7.f}),
                                          at::tensor(std::vector<float>{}), at::tensor({8.f, 9.f, 0.1f})};
  for (const auto type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16}) {
    const fs::path path = folder_ / "written.safetensors";
    checkpoint::SafetensorsWriter writer(path, tensors, type, {{"text", "a\nb"}, {"path", "\xff"}});
    EXPECT_FALSE(fs::exists(path)) << "it is not whole yet";
    for (const at::Tensor& v : values) writer.write(v.to(type));
    writer.finish();
    const SafetensorsFile read(path);
    ASSERT_EQ(read.tensors().size(), tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      const SafetensorsFile::Tensor& tensor = read.tensors().at(tensors[i].name);
      EXPECT_EQ(tensor.shape, tensors[i].shape);
      EXPECT_TRUE(read.read(tensors[i].name, 0, values[i].numel()).equal(values[i].to(type)));
    }
    EXPECT_EQ(read.tensors().at("b").begin % 8, 0);
    EXPECT_EQ(read.metadata().at("text"), "a\nb");
    EXPECT_EQ(read.metadata().at("path"), "\xef\xbf\xbd") << "no UTF-8, which JSON asks for";
    fs::remove(path);
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(Safetensors, AFileThatIsNotFinishedLeavesNothing) {
  const fs::path path = write("what was there");
  {
    checkpoint::SafetensorsWriter writer(path, {{"a", {2}}}, at::kFloat, {});
    writer.write(at::tensor({1.f, 2.f}));
  }
  EXPECT_EQ(fs::file_size(path), 14u);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
  EXPECT_THROW(checkpoint::SafetensorsWriter(folder_ / "absent/a", {}, at::kFloat, {}), common::SystemError);
}

// A file with any damage is either read or refused.
TEST_F(Safetensors, DamageAnywhere) {
  const std::string sound = file(R"({"v":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                                 R"("w":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]}})",
                                 std::string(14, '\1'));
  const auto reads_or_refuses = [&](const std::string& content) {
    try {
      const SafetensorsFile opened(write(content));
      for (const auto& [name, tensor] : opened.tensors())
        opened.read(name, 0,
                    (tensor.end - tensor.begin) / static_cast<int64_t>(c10::elementSize(tensor.type)));
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  EXPECT_TRUE(reads_or_refuses(sound));
  for (size_t length = 0; length < sound.size(); ++length)
    EXPECT_FALSE(reads_or_refuses(sound.substr(0, length))) << length;
  for (size_t i = 0; i < sound.size() - 14; ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = sound;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      reads_or_refuses(damaged);
    }
}

}  // namespace
}  // namespace sisa::tests
