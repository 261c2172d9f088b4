#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

#include "data/loader.h"
#include "data/tokens/dataset.h"
#include "data/tokens/formats/foreign.h"
#include "data/tokens/inspect.h"
#include "tests/data/data_folder.h"
#include "tests/data/foreign_files.h"

namespace sisa::data {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;

class FormatsTest : public DataFolder {
 protected:
  TokenDataset open(const std::string& name, Split split = Split::train, double validation = 0,
                    int64_t vocab_size = any_vocabulary) const {
    return TokenDataset::open(folder / name, split, {vocab_size, validation});
  }
  static std::vector<int64_t> ids(const TokenDataset& dataset) {
    std::vector<int64_t> all(static_cast<size_t>(dataset.tokens()));
    dataset.read(0, all);
    return all;
  }
  std::string opening(const std::string& name) const {
    return refusal([&] { open(name); });
  }
  void write_megatron(const std::string& prefix, const std::string& bin, const std::string& idx) const {
    write(prefix + ".bin", bin);
    write(prefix + ".idx", idx);
  }
  fs::path in_folder(const std::string& name) const {
    fs::create_directories(folder / name);
    return folder / name;
  }
};

constexpr uint32_t eot = 50256;

TEST_F(FormatsTest, LlmcOfGpt2) {
  write("tokens.bin", llmc_file({eot, 1, 2, eot, 65535, 3}));
  const TokenDataset dataset = open("tokens.bin");
  EXPECT_THAT(ids(dataset), ElementsAre(eot, 1, 2, eot, 65535, 3));
  EXPECT_EQ(dataset.kind(), "llm.c, GPT-2 (uint16)");
  EXPECT_EQ(dataset.documents(), 0);
  EXPECT_EQ(dataset.delimiter(), eot);
  EXPECT_EQ(dataset.count(eot), 2);
  EXPECT_EQ(dataset.text_bytes(), 0);
  EXPECT_EQ(dataset.largest_id(0, 4), eot);
  EXPECT_EQ(dataset.largest_id(3, 3), 65535);
  EXPECT_EQ(dataset.largest_id(6, 0), -1);
}

TEST_F(FormatsTest, LlmcOfLlama3) {
  write("tokens.bin", llmc_file<uint32_t>({128000, 1, 4'000'000'000}));
  const TokenDataset dataset = open("tokens.bin");
  EXPECT_THAT(ids(dataset), ElementsAre(128000, 1, 4'000'000'000));
  EXPECT_EQ(dataset.kind(), "llm.c, Llama-3 (uint32)");
  EXPECT_EQ(dataset.delimiter(), 128000);
}

TEST_F(FormatsTest, RawShardsOfThePublishedCode) {
  in_folder("shards");
  write("shards/shard_0001.bin", raw_ids<uint16_t>({0, 4}));
  write("shards/shard_0000.bin", raw_ids<uint16_t>({1, 50276, 3}));
  write("shards/meta.txt", meta_txt(5, 2));
  const TokenDataset dataset = open("shards");
  EXPECT_THAT(ids(dataset),
              ElementsAre(1, 50276, 3, 0, 4));  // beyond what meta.txt calls the vocabulary, as published
  EXPECT_EQ(dataset.num_files(), 2);
  EXPECT_EQ(dataset.delimiter(), 0);
  EXPECT_EQ(dataset.remark(), "dataset some/text, tokenizer some/neox, vocab_size 50254");
  write("shards/meta.txt", "dtype=uint16\r\ntotal_tokens=5\r\n\r\nnum_shards=2");
  EXPECT_EQ(open("shards").delimiter(), std::nullopt);
}

TEST_F(FormatsTest, MegatronOfEveryType) {
  const std::vector<uint32_t> tokens = {1, 2, 3, 4, 5, 127};
  const std::vector<std::vector<int32_t>> documents = {{2, 1}, {}, {3}};
  const std::vector<std::pair<uint8_t, std::string>> kinds = {{1, raw_ids<uint8_t>(tokens)},
                                                              {3, raw_ids<int16_t>(tokens)},
                                                              {4, raw_ids<int32_t>(tokens)},
                                                              {5, raw_ids<int64_t>(tokens)},
                                                              {8, raw_ids<uint16_t>(tokens)}};
  for (const auto& [code, bin] : kinds) {
    write_megatron("text_document", bin, megatron_idx(documents, code));
    for (const char* name : {"text_document", "text_document.bin", "text_document.idx", ""}) {
      const TokenDataset dataset = open(name);
      EXPECT_THAT(ids(dataset), ElementsAreArray(tokens));
      EXPECT_EQ(dataset.documents(), 3);
      EXPECT_EQ(dataset.delimiter(), std::nullopt);
    }
  }
  EXPECT_EQ(open("text_document").kind(), "Megatron-LM (uint16)");
}

TEST_F(FormatsTest, ReadsAcrossFiles) {
  in_folder("a");
  write("a/part_2.bin", llmc_file({4, 5, 6, 7}));
  write("a/part_1.bin", llmc_file({1, 2, 3}));
  write("a/part_3.bin", llmc_file({}));
  write("a/README.md", "not of it");
  const TokenDataset dataset = open("a");
  std::vector<int64_t> part(4);
  dataset.read(1, part);
  EXPECT_THAT(part, ElementsAre(2, 3, 4, 5));
  EXPECT_EQ(dataset.largest_id(0, 3), 3);
  EXPECT_EQ(dataset.largest_id(2, 2), 4);
}

TEST_F(FormatsTest, NamesSayWhatIsHeldOut) {
  in_folder("a");
  for (const char* name : {"fineweb_train_000001", "fineweb_train_000002", "latest", "valve"})
    write(fmt::format("a/{}.bin", name), llmc_file({1, 2}));
  for (const char* name : {"fineweb_val_000000", "TinyStories-Valid", "x.test", "validation"})
    write(fmt::format("a/{}.bin", name), llmc_file({3}));
  EXPECT_THAT(ids(open("a", Split::train, 0.5)), ElementsAre(1, 2, 1, 2, 1, 2, 1, 2));
  EXPECT_THAT(ids(open("a", Split::validation, 0.5)), ElementsAre(3, 3, 3, 3));
  // A file that is named by itself is used, whatever its name says.
  EXPECT_THAT(ids(open("a/validation.bin")), ElementsAre(3));
}

class HeldOutShareTest : public FormatsTest {
 protected:
  // The ids of the two splits, which together must be all ids.
  std::pair<std::vector<int64_t>, std::vector<int64_t>> splits(const std::string& name, double share) const {
    auto train = ids(open(name, Split::train, share)), held_out = ids(open(name, Split::validation, share));
    std::vector<int64_t> all = train;
    all.insert(all.end(), held_out.begin(), held_out.end());
    EXPECT_EQ(all, ids(open(name)));
    return {train, held_out};
  }
};

TEST_F(HeldOutShareTest, IsTheLastOfTheTokens) {
  in_folder("a");
  write("a/1.bin", llmc_file({1, 2, 3, 4, 5, 6}));
  write("a/2.bin", llmc_file({7, 8, 9, 10}));
  EXPECT_THAT(splits("a", 0.2).second, ElementsAre(9, 10));
  EXPECT_THAT(splits("a", 0.4).second, ElementsAre(7, 8, 9, 10));
  EXPECT_THAT(splits("a", 0.5).second, ElementsAre(6, 7, 8, 9, 10));
  EXPECT_THAT(splits("a", 0).second, ElementsAre());
  EXPECT_EQ(open("a", Split::validation, 0.2).num_files(), 1);
}

TEST_F(HeldOutShareTest, StartsWithADocument) {
  write("a.bin", llmc_file({eot, 1, 2, 3, eot, 5, 6, eot, 8, 9}));
  EXPECT_THAT(splits("a.bin", 0.6).second, ElementsAre(eot, 5, 6, eot, 8, 9));
  EXPECT_THAT(splits("a.bin", 0.5).second, ElementsAre(eot, 8, 9));
  EXPECT_THAT(splits("a.bin", 0.2).second, ElementsAre(8, 9));  // no document begins in the last two tokens

  in_folder("shards");
  write("shards/shard_0000.bin", raw_ids<uint16_t>({1, 2, 3, 0, 5, 6, 0, 8, 9, 0}));  // 0 ends a document
  write("shards/meta.txt", meta_txt(10, 1));
  EXPECT_THAT(splits("shards", 0.6).second, ElementsAre(5, 6, 0, 8, 9, 0));
  EXPECT_THAT(splits("shards", 0.5).second, ElementsAre(8, 9, 0));
  EXPECT_THAT(splits("shards", 0.2).second, ElementsAre(9, 0));

  write_megatron("m", raw_ids<uint16_t>({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}),
                 megatron_idx({{3}, {}, {2, 2}, {3}}));
  EXPECT_THAT(splits("m", 0.7).second, ElementsAre(4, 5, 6, 7, 8, 9, 10));
  EXPECT_THAT(splits("m", 0.6).second, ElementsAre(8, 9, 10));
  EXPECT_THAT(splits("m", 0.1).second, ElementsAre(10));
  EXPECT_EQ(open("m", Split::train, 0.6).documents(), 3);
  EXPECT_EQ(open("m", Split::validation, 0.6).documents(), 1);
  EXPECT_EQ(open("m", Split::validation, 0.1).documents(), 0);  // that of its only token began before
}

TEST_F(FormatsTest, EveryIdIsChecked) {
  std::vector<uint32_t> tokens = count_up(0, 100'000);
  for (uint32_t& id : tokens) id %= 300;
  tokens[77'777] = 300;
  in_folder("a");
  write("a/1.bin", llmc_file({1, 2, 3}));
  write("a/2.bin", llmc_file(tokens));
  EXPECT_EQ(open("a", Split::train, 0, 301).largest_id(0, 100'003), 300);
  const TokenDataset dataset = open("a", Split::train, 0, 300);
  EXPECT_EQ(dataset.largest_id(0, 77'780), 299);
  EXPECT_EQ(dataset.largest_id(77'781, 20'000), 299);
  std::vector<int64_t> window(10);
  for (const std::string& text :
       {refusal([&] { dataset.largest_id(0, 100'003); }), refusal([&] { dataset.largest_id(77'780, 1); }),
        refusal([&] { dataset.read(77'775, window); })})
    EXPECT_THAT(text, AllOf(HasSubstr("2.bin holds the token 300 at offset 156578,"),  // 1024 + 2 x 77,777
                            HasSubstr("outside the vocabulary of 300")));
  // The offset counts from the start of the file even if a split begins within it.
  EXPECT_THAT(refusal([&] {
                const auto held_out = open("a/2.bin", Split::validation, 0.5, 300);
                held_out.largest_id(0, held_out.tokens());
              }),
              HasSubstr("offset 156578"));
}

TEST_F(FormatsTest, NegativeIdsAreInNoVocabulary) {
  const auto minus_two = static_cast<uint32_t>(-2);
  for (const auto& [code, bin] : {std::pair(uint8_t{4}, raw_ids<int32_t>({1, minus_two})),
                                  std::pair(uint8_t{3}, raw_ids<int16_t>({1, minus_two}))}) {
    write_megatron("m", bin, megatron_idx({{2}}, code));
    EXPECT_THAT(refusal([&] { open("m").largest_id(0, 2); }),
                code == 4 ? HasSubstr("token -2 at offset 4") : HasSubstr("token -2 at offset 2"));
    EXPECT_THAT(refusal([&] { ids(open("m", Split::train, 0, 100)); }), HasSubstr("token -2"));
  }
}

TEST_F(FormatsTest, PathsThatAreNoTokens) {
  for (const char* name : {"absent", "absent.bin", "absent.idx"})
    EXPECT_THAT(opening(name), AllOf(HasSubstr(name), HasSubstr("no such folder or file")));
  in_folder("empty");
  EXPECT_THAT(opening("empty"), AllOf(HasSubstr("manifest.json"), HasSubstr("meta.txt"), HasSubstr(".idx"),
                                      HasSubstr("llm.c")));
  write("text.txt", "text");
  EXPECT_THAT(opening("text.txt"), AllOf(HasSubstr("text.txt is no file of tokens"), HasSubstr("prepare")));
  write_dataset(folder / "ours", 300, {count_up(0, 100)});
  EXPECT_THAT(opening("ours/train0.bin"), HasSubstr("Name its folder, " + (folder / "ours").string()));
  fs::remove(folder / "ours" / "manifest.json");
  EXPECT_THAT(opening("ours"), AllOf(HasSubstr("no manifest.json"), HasSubstr("did not end")));

  for (const char* name : {"ours", "x.bin", "x.idx"}) EXPECT_TRUE(names_tokens(folder / name)) << name;
  for (const char* name : {"text.txt", "absent"}) EXPECT_FALSE(names_tokens(folder / name)) << name;
  write("text.txt.idx", "");
  EXPECT_FALSE(names_tokens(folder / "text.txt"));
  write("prefix.idx", "");
  EXPECT_TRUE(names_tokens(folder / "prefix"));
}

TEST_F(FormatsTest, DamagedLlmcFiles) {
  const auto damaged = [&](const std::function<void(std::string&)>& damage) {
    std::string bytes = llmc_file({1, 2, 3});
    damage(bytes);
    write("t.bin", bytes);
    return opening("t.bin");
  };
  EXPECT_THAT(damaged([](auto& s) { s.resize(1023); }),
              AllOf(HasSubstr("t.bin has 1023 bytes"), HasSubstr("1024")));
  EXPECT_THAT(damaged([](auto& s) { s.clear(); }), HasSubstr("t.bin has 0 bytes"));
  EXPECT_THAT(damaged([](auto& s) { s[0] = 0; }), AllOf(HasSubstr("t.bin is no token file of llm.c"),
                                                        HasSubstr("offset 0"), HasSubstr("20240520")));
  EXPECT_THAT(damaged([](auto& s) { s[4] = 7; }),
              AllOf(HasSubstr("version 7 (offset 4)"), HasSubstr("version 1")));
  EXPECT_THAT(damaged([](auto& s) { s.pop_back(); }),
              AllOf(HasSubstr("1,029 bytes"), HasSubstr("3 tokens (offset 8)"), HasSubstr("1,030 in all")));
  EXPECT_THAT(damaged([](auto& s) { s += "xy"; }), HasSubstr("1,032 bytes"));
  EXPECT_THAT(damaged([](auto& s) { s[11] = '\x80'; }), HasSubstr("-2,147,483,645 tokens"));
  in_folder("mixed");
  write("mixed/a.bin", llmc_file({1}));
  write("mixed/b.bin", llmc_file<uint32_t>({1}));
  EXPECT_THAT(opening("mixed"),
              AllOf(HasSubstr("a.bin is for the tokenizer of GPT-2"), HasSubstr("Llama-3")));
}

TEST_F(FormatsTest, DamagedRawShards) {
  in_folder("s");
  const auto damaged = [&](const std::string& meta, const std::string& bin) {
    write("s/shard_0000.bin", bin);
    write("s/meta.txt", meta);
    return opening("s");
  };
  const std::string bin = raw_ids<uint16_t>({1, 2, 3});
  EXPECT_EQ(damaged(meta_txt(3, 1), bin), "");
  EXPECT_THAT(damaged(meta_txt(3, 1), bin + "x"),
              AllOf(HasSubstr("shard_0000.bin has 7 bytes"), HasSubstr("offset 6 only 1 of 2")));
  EXPECT_THAT(damaged(meta_txt(4, 1), bin),
              AllOf(HasSubstr("meta.txt, line 1: total_tokens is 4"), HasSubstr("are 3")));
  EXPECT_THAT(damaged(meta_txt(3, 2), bin),
              AllOf(HasSubstr("meta.txt, line 2: num_shards is 2"), HasSubstr("are 1")));
  EXPECT_THAT(damaged("total_tokens=3\nnum_shards=1\ndtype=uint32\n", bin),
              HasSubstr("line 3: dtype is 'uint32'"));
  EXPECT_THAT(damaged("total_tokens=3\nnum_shards=1\n", bin), HasSubstr("meta.txt has no line dtype="));
  EXPECT_THAT(damaged("total_tokens=x\nnum_shards=1\ndtype=uint16", bin),
              HasSubstr("line 1: total_tokens is 'x', no whole number"));
  EXPECT_THAT(damaged("total_tokens=-3\nnum_shards=1\ndtype=uint16", bin),
              HasSubstr("'-3', no whole number"));
  EXPECT_THAT(damaged("dtype=uint16\n\nnonsense\n", bin), HasSubstr("meta.txt, line 3: 'nonsense'"));
}

TEST_F(FormatsTest, DamagedMegatronIndices) {
  const std::string bin = raw_ids<uint16_t>({1, 2, 3, 4, 5, 6});
  const std::vector<std::vector<int32_t>> documents = {{2, 1},
                                                       {3}};  // lengths at 34, pointers at 46, marks at 70
  const auto damaged = [&](const std::function<void(std::string&)>& damage) {
    std::string idx = megatron_idx(documents);
    damage(idx);
    write_megatron("m", bin, idx);
    return opening("m");
  };
  const auto with = [&](size_t offset, auto value) {
    return damaged([&](std::string& s) { std::memcpy(s.data() + offset, &value, sizeof value); });
  };
  EXPECT_EQ(damaged([](auto&) {}), "");
  EXPECT_THAT(damaged([](auto& s) { s.resize(33); }),
              AllOf(HasSubstr("m.idx has 33 bytes"), HasSubstr("34")));
  EXPECT_THAT(with(0, 'X'), AllOf(HasSubstr("m.idx is no Megatron-LM index"), HasSubstr("offset 0")));
  EXPECT_THAT(with(9, uint64_t{2}), HasSubstr("version 2 (offset 9)"));
  for (const char code : {0, 2, 6, 7, 9})
    EXPECT_THAT(with(17, code),
                AllOf(HasSubstr(fmt::format("code {} (offset 17)", int{code})), HasSubstr("uint16")));
  EXPECT_THAT(with(18, uint64_t{4}), AllOf(HasSubstr("12 x 4 sequences (offset 18)"), HasSubstr("cut off")));
  EXPECT_THAT(with(18, ~uint64_t{0}), HasSubstr("sequences (offset 18)"));
  EXPECT_THAT(with(26, ~uint64_t{0} / 8), HasSubstr("document marks (offset 26)"));
  EXPECT_THAT(damaged([](auto& s) { s.pop_back(); }), HasSubstr("93 bytes"));
  EXPECT_THAT(damaged([](auto& s) { s += std::string(3, '\0'); }), HasSubstr("multimodal"));
  EXPECT_THAT(with(38, int32_t{-1}), HasSubstr("sequence 1 has -1 uint16 ids (offset 38)"));
  EXPECT_THAT(with(42, int32_t{4}),
              AllOf(HasSubstr("sequence 2 has 4 uint16 ids (offset 42)"), HasSubstr("12 bytes")));
  EXPECT_THAT(with(42, int32_t{2}), AllOf(HasSubstr("10 bytes in all"), HasSubstr("has 12")));
  EXPECT_THAT(with(54, int64_t{1000}),
              AllOf(HasSubstr("begins at byte 1000 of the .bin (offset 54)"), HasSubstr("byte 4")));
  EXPECT_THAT(with(46, int64_t{-2}), HasSubstr("byte -2 of the .bin (offset 46)"));
  EXPECT_THAT(with(70, int64_t{1}), HasSubstr("document 0 begins with sequence 1 (offset 70)"));
  EXPECT_THAT(with(78, int64_t{-1}), HasSubstr("document 1 begins with sequence -1 (offset 78)"));
  EXPECT_THAT(with(78, int64_t{4}), HasSubstr("sequence 4 (offset 78)"));
  EXPECT_THAT(with(86, int64_t{2}), HasSubstr("document 2 begins with sequence 2 (offset 86)"));
  EXPECT_THAT(damaged([](auto& s) { s = megatron_idx({}).substr(0, 26) + std::string(8, '\0'); }),
              HasSubstr("no document marks (offset 26)"));
  write_megatron("m", bin + "x", megatron_idx(documents));
  EXPECT_THAT(opening("m"), HasSubstr("has 13"));
  write_megatron("m", bin.substr(0, 10), megatron_idx(documents));
  EXPECT_THAT(opening("m"), HasSubstr("has 10 bytes"));
}

TEST_F(FormatsTest, MegatronIsTwoFiles) {
  const std::string bin = raw_ids<uint16_t>({1}), idx = megatron_idx({{1}});
  in_folder("a");
  write("a/x.idx", idx);
  for (const char* name : {"a", "a/x", "a/x.idx", "a/x.bin"})
    EXPECT_THAT(opening(name), AllOf(HasSubstr("x.bin is missing beside"), HasSubstr("x.idx"))) << name;
  write_megatron("a/y", bin, idx);
  EXPECT_EQ(opening("a/y"), "");
  write("a/x.bin", bin);
  EXPECT_EQ(opening("a"), "");
  fs::remove(folder / "a" / "x.idx");
  for (const char* name : {"a", "a/x"})
    EXPECT_THAT(opening(name), AllOf(HasSubstr("x.idx is missing beside"), HasSubstr("x.bin"))) << name;
  EXPECT_THAT(opening("a/x.bin"), HasSubstr("its .idx beside it"));  // taken for one of llm.c
}

// A file with any bytes is either refused with a sentence or read to its end.
TEST_F(FormatsTest, HostileFilesDoNoHarm) {
  std::mt19937 draw(1);
  const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(draw); };
  const std::string bin = raw_ids<uint16_t>(count_up(1, 60));
  const std::vector<std::pair<std::string, std::string>> sound = {
      {"t.bin", llmc_file(count_up(1, 60))},
      {"m.idx", megatron_idx({{5, 5}, {}, {20}, {29, 1}})},
      {"s/meta.txt", meta_txt(60, 1)}};
  in_folder("s");
  write("s/shard_0000.bin", bin);
  write("m.bin", bin);
  int opened = 0, refused = 0;
  for (int round = 0; round < 3000; ++round) {
    const auto& [name, content] = sound[static_cast<size_t>(round) % sound.size()];
    std::string bytes = content;
    const size_t damages = 1 + below(3);
    for (size_t i = 0; i < damages; ++i)
      bytes[below(std::min<size_t>(bytes.size(), 200))] ^= static_cast<char>(1 << below(8));
    if (below(4) == 0) bytes.resize(below(bytes.size()));
    write(name, bytes);
    const fs::path path = name == "s/meta.txt" ? folder / "s" : folder / name;
    try {
      for (const Split split : {Split::train, Split::validation}) {
        const TokenDataset dataset = TokenDataset::open(path, split, {.validation = 0.3});
        ids(dataset);
        dataset.largest_id(0, dataset.tokens());
        dataset.fingerprint();
      }
      ++opened;
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(opened, 100);
  EXPECT_GT(refused, 1000);
}

TEST_F(FormatsTest, FingerprintsTellFilesApart) {
  std::vector<uint32_t> tokens = count_up(0, 60'000);
  tokens.insert(tokens.end(), 400'000, 7);  // more than is read whole
  in_folder("a");
  in_folder("b");
  write("a/1.bin", llmc_file(tokens));
  const std::string original = open("a").fingerprint();
  write("b/other_name.bin", llmc_file(tokens));
  EXPECT_EQ(open("b").fingerprint(), original);
  EXPECT_NE(open("a", Split::train, 0.1).fingerprint(), original);
  EXPECT_NE(open("a", Split::train, 0.1).fingerprint(), open("a", Split::train, 0.2).fingerprint());
  for (const size_t index : {size_t{0}, tokens.size() - 1}) {
    std::vector<uint32_t> changed = tokens;
    changed[index] += 1;
    write("b/other_name.bin", llmc_file(changed));
    EXPECT_NE(open("b").fingerprint(), original) << index;
  }
  tokens.pop_back();
  write("b/other_name.bin", llmc_file(tokens));
  EXPECT_NE(open("b").fingerprint(), original);
}

TEST_F(FormatsTest, StandBesideOurOwn) {
  write_dataset(folder / "ours", 10, {{1, 2, 3}}, {{1, 2, 3}});
  write("theirs.bin", llmc_file({15, 2, 3}));
  const auto both = [&](Split split) {
    std::vector<TokenDataset> datasets;
    datasets.push_back(open("ours", split));
    datasets.push_back(open("theirs.bin", split, split == Split::train ? 0 : 1, 16));
    return datasets;
  };
  EXPECT_EQ(both(Split::train)[0].vocab_size(), 10);
  const HeldOut held_out(both(Split::validation), 2);
  EXPECT_EQ(held_out.size(), 2);
  EXPECT_EQ(held_out.tokens_per_byte(), 0);  // of how much text theirs is, is not known
}

TEST_F(FormatsTest, ShowsAndCountsIds) {
  write("t.bin", llmc_file({5, 3, 5, 9, 5, 3, 1}));
  const TokenDataset dataset = open("t.bin");
  EXPECT_EQ(preview_ids(dataset, 1, 3), "3 5 9");
  EXPECT_EQ(preview_ids(dataset, 5, 30), "3 1");
  EXPECT_EQ(preview_ids(dataset, 7, 30), "");
  const TokenCounts counts = count_tokens(dataset, 3);
  ASSERT_EQ(counts.most_frequent.size(), 3u);
  const std::vector<std::pair<int64_t, int64_t>> expected = {
      {5, 3}, {3, 2}, {1, 1}};  // of 1 and 9, the smaller
  for (size_t i = 0; i < 3; ++i)
    EXPECT_EQ(std::pair(counts.most_frequent[i].id, counts.most_frequent[i].times), expected[i]);
  EXPECT_EQ(counts.vocabulary, 10);
  EXPECT_EQ(counts.unused, 6);
  EXPECT_EQ(count_tokens(open("t.bin", Split::train, 0, 100), 12).unused, 96);
  EXPECT_EQ(count_tokens(open("t.bin", Split::train, 0, 100), 12).most_frequent.size(), 4u);
  EXPECT_THAT(refusal([&] { count_tokens(open("t.bin", Split::train, 0, 9), 3); }), HasSubstr("token 9"));
  write("t.bin", llmc_file<uint32_t>({1 << 24}));
  EXPECT_THAT(refusal([&] { count_tokens(open("t.bin"), 3); }), HasSubstr("vocabulary of 16777217"));
}

}  // namespace
}  // namespace sisa::data
