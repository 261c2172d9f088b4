// Damaged checkpoints and failing disks are detected, named and survived.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <span>
#include <vector>

#include "checkpoint/damage.h"
#include "checkpoint/folders.h"
#include "checkpoint/master_file.h"
#include "checkpoint/saver.h"
#include "checkpoint/store.h"
#include "common/file.h"
#include "common/hash.h"
#include "tests/checkpoint/run_folder.h"

namespace sisa::tests {
namespace {

namespace fs = std::filesystem;
using checkpoint::Disk;
using checkpoint::Entry;
using checkpoint::Saver;
using checkpoint::Store;
using checkpoint::StoredSlice;
using common::Precision;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class Damage : public RunFolder {
 protected:
  Damage() {
    save(1);
    save(2);
  }
  fs::path newest() const { return folder / "step-2"; }
  StoredSlice some_source(size_t i) const { return checkpoint::read_master(newest()).sources.at(i); }

  // Checks that verify() of the newest checkpoint finds `what` and that a run falls back to the one before
  // and says so.
  void expect_found(const testing::Matcher<std::string>& what) {
    const checkpoint::Verdict verdict = store.verify(store.find(2));
    EXPECT_THAT(verdict.damage, testing::Contains(what));
    EXPECT_THAT(verdict.unreadable, IsEmpty());
    const checkpoint::Search found = store.latest_sound();
    ASSERT_TRUE(found.sound.has_value());
    EXPECT_EQ(found.sound->step, 1);
    ASSERT_EQ(found.damaged.size(), 1u);
    EXPECT_THAT(found.damaged[0], AllOf(HasSubstr("step-2 is damaged: "), HasSubstr(newest().string())));
    ToyModel loaded = toy();
    store.load(*found.sound, loaded.space, *communicator);
    loaded.expect_filled(Precision::fp32);
  }

  Store store{folder, world()};
};

TEST_F(Damage, NoneIsFoundWhereThereIsNone) {
  EXPECT_TRUE(store.verify(store.find(2)).sound());
  const checkpoint::Search found = store.latest_sound();
  EXPECT_EQ(found.sound->step, 2);
  EXPECT_THAT(found.damaged, IsEmpty());
}

TEST_F(Damage, AFlippedBitIsFoundInEveryDatasetByName) {
  for (size_t i = 0; i < 3; ++i) {
    const auto contents = checkpoint::read_master(newest());
    const StoredSlice source = contents.sources[i * (contents.sources.size() - 1) / 2];
    const int64_t byte = source.offset + source.bytes() - 1;
    on_root([&] { flip_bit(newest() / source.file, byte); });
    expect_found(AllOf(HasSubstr(source.describe()), HasSubstr("checksum")));
    ToyModel loaded = toy();
    EXPECT_THAT(error_of([&] { store.load(store.find(2), loaded.space, *communicator); }),
                HasSubstr(source.name));
    on_root([&] { flip_bit(newest() / source.file, byte); });
  }
}

TEST_F(Damage, ATruncatedFileIsFound) {
  const StoredSlice last = checkpoint::read_master(newest()).sources.back();
  on_root(
      [&] { fs::resize_file(newest() / last.file, static_cast<uintmax_t>(last.offset + last.bytes() - 1)); });
  EXPECT_FALSE(store.find(2).complete());
  EXPECT_EQ(store.latest()->step, 1);
  expect_found(AllOf(HasSubstr(last.name), HasSubstr("1 bytes too early")));
}

TEST_F(Damage, AMissingFileIsFound) {
  const StoredSlice source = some_source(0);
  on_root([&] { fs::remove(newest() / source.file); });
  EXPECT_FALSE(store.find(2).complete());
  expect_found(AllOf(HasSubstr(source.file + " is missing"), HasSubstr(source.name)));
}

TEST_F(Damage, AMissingMasterMeansNoCheckpoint) {
  on_root([&] { fs::remove(newest() / "master.h5"); });
  EXPECT_EQ(store.latest()->step, 1);
  expect_found(HasSubstr("is not a whole checkpoint"));
}

TEST_F(Damage, AnyFlippedBitOfTheMasterIsFound) {
  const auto size = static_cast<int64_t>(fs::file_size(newest() / "master.h5"));
  for (const int64_t byte : {int64_t{3}, int64_t{75}, int64_t{512}, size / 4, size - 1}) {
    on_root([&] { flip_bit(newest() / "master.h5", byte); });
    expect_found(HasSubstr("master.h5 is damaged"));
    on_root([&] { flip_bit(newest() / "master.h5", byte); });
  }
  on_root([&] { fs::resize_file(newest() / "master.h5", 100); });
  expect_found(HasSubstr("master.h5 is damaged"));
}

// All bytes of the data exist, but HDF5 does not find them: a program that reads the master file would see
// NaN.
TEST_F(Damage, ADatasetThatTheMasterCannotReachIsFound) {
  const StoredSlice source = some_source(1);
  on_root([&] {
    const hid_t file = H5Fopen((newest() / source.file).c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    ASSERT_GE(file, 0);
    EXPECT_GE(H5Lmove(file, source.dataset().c_str(), file, "/elsewhere", H5P_DEFAULT, H5P_DEFAULT), 0);
    H5Fclose(file);
  });
  expect_found(AllOf(HasSubstr(source.describe()), HasSubstr("Cannot open the dataset " + source.dataset())));
}

// A sample of all bytes of a small checkpoint is damaged, one at a time. Damage that verify() does not find
// is harmless, and nothing crashes.
TEST_F(Damage, AFlippedBitAnywhereIsFoundOrHarmless) {
  std::vector<fs::path> files{newest() / "master.h5"};
  for (int rank = 0; rank < world().size(); ++rank)
    files.push_back(newest() / checkpoint::rank_file_name(rank));
  int64_t found = 0;
  constexpr int64_t flips = 40;  // a file
  for (const fs::path& file : files)
    for (int64_t i = 0; i < flips; ++i) {
      const auto size = static_cast<int64_t>(fs::file_size(file));
      // The first half of the samples is in HDF5's metadata at the start of the file.
      const int64_t byte = (i * 7919 + 13) % (i < flips / 2 ? std::min<int64_t>(size, 4096) : size);
      on_root([&] { flip_bit(file, byte); });
      if (store.verify(store.find(2)).sound()) {
        ToyModel loaded = toy();
        store.load(store.find(2), loaded.space, *communicator);
        loaded.expect_filled(Precision::fp32);
      } else {
        ++found;
      }
      world().barrier();
      on_root([&] { flip_bit(file, byte); });
    }
  EXPECT_GE(found, flips) << "the master's all";
  EXPECT_TRUE(store.verify(store.find(2)).sound());
}

TEST_F(Damage, WhatIsNoCheckpointIsNotTakenForOne) {
  on_root([&] {
    fs::create_directories(folder / "step-x");
    fs::create_directories(folder / "step-7");
    common::write_file_atomically(folder / "step-8", "a file");
    fs::create_directory_symlink("nowhere", folder / "step-9");
    fs::create_directory_symlink("step-10", folder / "step-10");
    fs::copy(newest(), folder / "step-11", fs::copy_options::recursive);
    fs::create_directory_symlink("step-1", folder / "step-12");
    common::write_file_atomically(newest() / "notes.txt", "a user's");
  });
  const checkpoint::Search found = store.latest_sound();
  EXPECT_EQ(found.sound->step, 2);
  EXPECT_THAT(found.damaged,
              testing::UnorderedElementsAre(
                  AllOf(HasSubstr("step-7 is damaged"), HasSubstr("is not a whole checkpoint")),
                  AllOf(HasSubstr("step-11 is damaged"), HasSubstr("holds step 2: it was renamed")),
                  AllOf(HasSubstr("step-12 is damaged"), HasSubstr("holds step 1: it was renamed"))));
  EXPECT_THAT(error_of([&] { store.find(10); }), HasSubstr("There is no checkpoint of step 10"));
  // A save replaces whatever has its name, and does not follow links.
  for (const int64_t step : {7, 8, 9, 10, 11, 12}) {
    save(step);
    EXPECT_EQ(store.latest_sound().sound->step, step);
    world().barrier();
  }
  EXPECT_TRUE(store.verify(store.find(1)).sound());
}

TEST_F(Damage, AFolderThatCannotBeReadIsNotTakenForAnEmptyOne) {
  on_root([&] { common::write_file_atomically(run / "file", "in the way"); });
  const Store blocked(run / "file", world());
  EXPECT_THAT(error_of([&] { blocked.list(); }), HasSubstr("Cannot look for checkpoints in"));
}

// Changes the master file by HDF5 and corrects its checksum.
void forge_master(const fs::path& path, const std::function<void(hid_t)>& change) {
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  ASSERT_GE(file, 0);
  change(file);
  H5Fclose(file);
  std::string bytes = common::read_file(path);
  const std::string hash = common::hash_hex(common::hash64(std::string_view(bytes).substr(512)));
  bytes.replace(bytes.find('\n') - hash.size(), hash.size(), hash);
  common::write_file_atomically(path, bytes);
}

TEST_F(Damage, AVirtualDatasetThatIsNotAsTheIndexSaysIsFound) {
  on_root([&] {
    forge_master(newest() / "master.h5", [](hid_t file) {
      EXPECT_GE(H5Lmove(file, "/parameters/layers.0.W_K.weight", file, "/parameters/layers.0.W_Q.weight.old",
                        H5P_DEFAULT, H5P_DEFAULT),
                0);
      EXPECT_GE(H5Lcreate_hard(file, "/moment1/layers.0.W_K.weight", file, "/parameters/layers.0.W_K.weight",
                               H5P_DEFAULT, H5P_DEFAULT),
                0);
    });
  });
  expect_found(AllOf(HasSubstr("/parameters/layers.0.W_K.weight"), HasSubstr("does not show the slices")));
}

TEST_F(Damage, AFormatOfTheFutureIsRefused) {
  on_root([&] {
    forge_master(newest() / "master.h5", [](hid_t file) {
      const hid_t attribute = H5Aopen(file, "format_version", H5P_DEFAULT);
      const int64_t version = checkpoint::format_version + 1;
      EXPECT_GE(H5Awrite(attribute, H5T_NATIVE_INT64, &version), 0);
      H5Aclose(attribute);
    });
  });
  ToyModel loaded = toy();
  EXPECT_THAT(
      error_of([&] { store.load(store.find(2), loaded.space, *communicator); }),
      HasSubstr(
          "has format 2, and this program reads formats up to 1. Use the version of sisa that wrote it"));
}

// Each was a double free: a member before the one that is missing was destroyed twice.
TEST_F(Damage, AMasterWithoutAnAttributeOrATextIsFound) {
  const fs::path master = newest() / "master.h5";
  const std::string sound = common::read_file(master);
  for (const char* const name :
       {"sequence", "precision", "written", "world_size", "step", "updates", "samples", "tokens",
        "code_version", "format_version", "recipe", "extra", "index"}) {
    on_root([&] {
      forge_master(master, [&](hid_t file) {
        EXPECT_GE(H5Aexists(file, name) > 0 ? H5Adelete(file, name) : H5Ldelete(file, name, H5P_DEFAULT), 0);
      });
    });
    expect_found(AllOf(HasSubstr("master.h5 is damaged"), HasSubstr(std::string(name) + " is nothing")));
    on_root([&] { common::write_file_atomically(master, sound); });
  }
}

TEST_F(Damage, ANumberThatCannotBeIsFound) {
  const fs::path master = newest() / "master.h5";
  const std::string sound = common::read_file(master);
  const int64_t largest = std::numeric_limits<int64_t>::max();
  const auto expect = [&](const std::string& name, int64_t value, const std::string& what) {
    on_root([&] {
      forge_master(master, [&](hid_t file) {
        const hid_t attribute = H5Aopen(file, name.c_str(), H5P_DEFAULT);
        EXPECT_GE(H5Awrite(attribute, H5T_NATIVE_INT64, &value), 0);
        H5Aclose(attribute);
      });
    });
    expect_found(AllOf(HasSubstr("step-2"), HasSubstr(what)));
    on_root([&] { common::write_file_atomically(master, sound); });
  };
  for (const char* const name : {"step", "updates", "samples", "tokens", "sequence", "world_size"})
    for (const int64_t value : {int64_t{-1}, largest})
      expect(name, value, fmt::format("{} is {}, where an integer", name, value));
  expect("format_version", 0, "format_version is 0");
  expect("world_size", 1'000'000'000, "is missing: 1000000000 ranks wrote the checkpoint");
}

// A list where a number is expected made HDF5 write beyond it.
TEST_F(Damage, AnAttributeOfAnotherShapeOrTypeIsFound) {
  const fs::path master = newest() / "master.h5";
  const std::string sound = common::read_file(master);
  const auto expect = [&](const std::string& name, hid_t type, hsize_t count, const std::string& what) {
    on_root([&] {
      forge_master(master, [&](hid_t file) {
        EXPECT_GE(H5Adelete(file, name.c_str()), 0);
        const hid_t space = H5Screate_simple(1, &count, nullptr);
        const hid_t attribute = H5Acreate2(file, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT);
        const std::vector<double> zeros(count);
        EXPECT_GE(H5Awrite(attribute, type, zeros.data()), 0);
        H5Aclose(attribute);
        H5Sclose(space);
      });
    });
    expect_found(HasSubstr(what));
    on_root([&] { common::write_file_atomically(master, sound); });
  };
  expect("step", H5T_NATIVE_INT64, 1000, "step: it is no single value");
  expect("written", H5T_NATIVE_DOUBLE, 1000, "written: it is no single value");
  expect("step", H5T_NATIVE_DOUBLE, 1, "step: it has another type");
  expect("precision", H5T_NATIVE_INT64, 1, "precision: it has another type");
}

TEST_F(Damage, APipeInTheMastersPlaceIsFound) {
  on_root([&] {
    fs::remove(newest() / "master.h5");
    ASSERT_EQ(::mkfifo((newest() / "master.h5").c_str(), 0600), 0);
  });
  expect_found(HasSubstr("is a pipe"));
}

// What cannot be read now may be sound.
TEST_F(Damage, AFileThatMayNotBeReadIsNotCalledDamaged) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read anything";
  on_root([&] { fs::permissions(newest() / "master.h5", fs::perms::none); });
  try {
    checkpoint::read_master(newest());
    ADD_FAILURE();
  } catch (const checkpoint::Damage&) {
    ADD_FAILURE();
  } catch (const SystemError& error) {
    EXPECT_THAT(error.what(), HasSubstr("Permission denied"));
  }
  world().barrier();
}

TEST_F(Damage, NoSoundCheckpointAtAllIsSaid) {
  on_root([&] {
    for (const int64_t step : {1, 2}) flip_bit(folder / fmt::format("step-{}", step) / "master.h5", 700);
  });
  const checkpoint::Search found = store.latest_sound();
  EXPECT_FALSE(found.sound.has_value());
  EXPECT_EQ(found.damaged.size(), 2u);
}

// Files that cannot be read, whoever asks, the superuser included: links that lead in a circle. Of other
// reasons tests/program/failing_disk_test.py makes use.
class Unreadable : public Damage {
 protected:
  void replace(const fs::path& file, const fs::path& link_to) {
    on_root([&] {
      fs::rename(file, file.string() + ".aside");
      fs::create_symlink(link_to, file);
    });
  }
  // Checks that the newest checkpoint is neither taken for sound nor for damaged.
  void expect_unreadable(const std::string& reason) {
    const checkpoint::Verdict verdict = store.verify(store.find(2));
    EXPECT_THAT(verdict.damage, IsEmpty());
    EXPECT_THAT(verdict.unreadable, testing::Contains(HasSubstr(reason)));
    EXPECT_FALSE(verdict.sound());
    const checkpoint::Search found = store.latest_sound();
    EXPECT_EQ(found.sound->step, 1);
    EXPECT_THAT(found.damaged, IsEmpty());
    EXPECT_THAT(found.unreadable,
                testing::ElementsAre(AllOf(HasSubstr("step-2 cannot be read: "), HasSubstr(reason))));
  }
};

TEST_F(Unreadable, AMasterIsNotDamaged) {
  replace(newest() / "master.h5", "master.h5");
  expect_unreadable("Too many levels of symbolic links");
  EXPECT_TRUE(store.find(2).unreadable);
}

TEST_F(Unreadable, ARanksFileIsNotDamaged) {
  const fs::path file = newest() / checkpoint::rank_file_name(world().size() - 1);
  replace(file, file.filename());
  expect_unreadable("Too many levels of symbolic links");
}

TEST_F(Unreadable, ANewerFormatIsNotDamaged) {
  on_root([&] {
    forge_master(newest() / "master.h5", [](hid_t master) {
      const hid_t attribute = H5Aopen(master, "format_version", H5P_DEFAULT);
      const int64_t version = checkpoint::format_version + 1;
      EXPECT_GE(H5Awrite(attribute, H5T_NATIVE_INT64, &version), 0);
      H5Aclose(attribute);
    });
  });
  expect_unreadable("this program reads formats up to 1");
}

TEST_F(Unreadable, NoSaveDeletesIt) {
  const fs::path file = newest() / "master.h5";
  replace(file, "master.h5");
  save(3, {.retention = {.keep_last = 1}});
  on_root([&] {
    EXPECT_FALSE(fs::exists(folder / "step-1"));
    fs::remove(file);
    fs::rename(file.string() + ".aside", file);
  });
  EXPECT_TRUE(store.verify(store.find(2)).sound());
}

// As a run does that trains in the folder and keeps few checkpoints.
TEST_F(Damage, WhatIsDeletedMeanwhileIsNotDamaged) {
  const Entry entry = store.find(2);
  on_root([&] { fs::rename(newest(), folder / "step-2.tmp-1-deleted"); });
  EXPECT_TRUE(store.verify(entry).gone);
  ToyModel loaded = toy();
  EXPECT_THAT(error_of([&] { store.load(entry, loaded.space, *communicator); }),
              HasSubstr("was deleted or replaced while it was read"));
}

class FailingDisk : public RunFolder {
 protected:
  FailingDisk() { save(1); }

  // Checks that a save on `disk` fails with `what` on every rank and leaves the folder unchanged.
  void expect_failed_save(const Disk& disk, const testing::Matcher<std::string>& what) {
    Store store(folder, world(), disk);
    ToyModel model = toy();
    model.fill();
    const std::string text =
        error_of([&] { Saver(store).save(state(2), model.space, {.retention = {.keep_last = 1}}); });
    EXPECT_THAT(text, AllOf(HasSubstr("The checkpoint of step 2 was not saved."), what,
                            HasSubstr("Earlier checkpoints in " + folder.string() + " are as they were.")));
    on_root([&] {
      EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 2) << "step-1 and latest";
      EXPECT_EQ(common::read_file(folder / "latest"), "step-1\n");
    });
    EXPECT_TRUE(store.verify(store.find(1)).sound());
  }

  // A disk that fails with `code` from the `calls`-th write of the last rank on.
  static Disk failing(int calls, int code) {
    Disk disk;
    if (world().rank() == world().size() - 1)
      disk.write = [calls, code](int file, const void* data, size_t size, off_t offset) mutable -> ssize_t {
        if (--calls > 0) return ::pwrite(file, data, size, offset);
        errno = code;
        return -1;
      };
    return disk;
  }
};

TEST_F(FailingDisk, AFullDiskOnOneRankEndsTheSaveOnAll) {
  for (const int call : {1, 2, 5})
    expect_failed_save(
        failing(call, ENOSPC),
        AllOf(HasSubstr("Cannot write"), HasSubstr(fmt::format("rank-{:05}.h5", world().size() - 1)),
              HasSubstr("No space left on device")));
}

TEST_F(FailingDisk, AnInputOutputErrorIsNamed) {
  expect_failed_save(failing(3, EIO), HasSubstr("Input/output error"));
}

TEST_F(FailingDisk, AFailingMasterLeavesNothing) {
  Disk disk;
  if (world().is_root())
    disk.write = [](int file, const void* data, size_t size, off_t offset) -> ssize_t {
      if (!fs::read_symlink(fmt::format("/proc/self/fd/{}", file)).string().ends_with("master.h5"))
        return ::pwrite(file, data, size, offset);
      errno = ENOSPC;
      return -1;
    };
  expect_failed_save(disk, AllOf(HasSubstr("master.h5"), HasSubstr("No space left on device")));
}

TEST_F(FailingDisk, AFailingSyncIsAFailedSave) {
  Disk disk;
  disk.sync = [](int) {
    errno = EIO;
    return -1;
  };
  expect_failed_save(disk, HasSubstr("Cannot force to the disk"));
}

TEST_F(FailingDisk, AWriteThatTakesNothingIsAnErrorAndNotALoop) {
  Disk disk;
  disk.write = [](int, const void*, size_t, off_t) -> ssize_t { return 0; };
  expect_failed_save(disk, HasSubstr("the file system takes no more"));
}

TEST_F(FailingDisk, ShortAndInterruptedWritesAreContinued) {
  Disk disk;
  disk.write = [interrupted = false](int file, const void* data, size_t size,
                                     off_t offset) mutable -> ssize_t {
    interrupted = !interrupted;
    if (!interrupted) return ::pwrite(file, data, std::min<size_t>(size, 1000), offset);
    errno = EINTR;
    return -1;
  };
  Store store(folder, world(), disk);
  Saver(store).save(state(2), toy().fill().space);
  EXPECT_TRUE(store.verify(store.find(2)).sound());
}

TEST_F(FailingDisk, TooLittleSpaceIsToldBeforeAnythingIsWritten) {
  Disk disk;
  disk.available = [](const fs::path&) { return uintmax_t{1000}; };
  disk.write = [](int, const void*, size_t, off_t) -> ssize_t {
    ADD_FAILURE() << "written";
    return -1;
  };
  expect_failed_save(disk, AllOf(HasSubstr("It needs "), HasSubstr(" has 1000 bytes left")));
}

TEST_F(FailingDisk, AFolderThatCannotBeMadeIsTold) {
  on_root([&] { common::write_file_atomically(run / "file", "in the way"); });
  Store store(run / "file" / "checkpoints", world());
  ToyModel model = toy();
  EXPECT_THAT(
      error_of([&] { Saver(store).save(state(2), model.space); }),
      AllOf(HasSubstr("The checkpoint of step 2 was not saved."), HasSubstr("Cannot create the folder")));
}

// In containers process numbers repeat from run to run.
TEST_F(FailingDisk, ALeftoverThatCannotBeDeletedIsToldWhereItIsInTheWay) {
  Disk disk;
  disk.remove = [](const fs::path& path) {
    throw fs::filesystem_error("cannot remove", path, std::make_error_code(std::errc::permission_denied));
  };
  on_root([&] { fs::create_directories(folder / checkpoint::temporary_name("step-2")); });
  expect_failed_save(disk, HasSubstr("it is there already and could not be deleted"));
}

// A file system of 200 kB that is really full; needs the right to mount one.
TEST_F(FailingDisk, ARealFullFileSystemEndsTheSaveOnAll) {
  const fs::path small = run / "small";
  int64_t mounted = 1;
  if (world().is_root()) {
    fs::create_directories(small);
    mounted = ::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=200k") == 0;
  }
  world().all_reduce({&mounted, 1}, parallel::World::Reduction::min);
  if (!mounted) GTEST_SKIP() << "needs the right to mount a file system";
  Disk disk;
  disk.available = [](const fs::path&) { return std::numeric_limits<uintmax_t>::max(); };
  Store store(small / "checkpoints", world(), disk);
  ToyModel model = toy({.d_model = 3000});
  EXPECT_THAT(error_of([&] { Saver(store).save(state(2), model.space); }),
              HasSubstr("No space left on device"));
  on_root([&] {
    EXPECT_TRUE(fs::is_empty(small / "checkpoints"));
    EXPECT_EQ(::umount2(small.c_str(), MNT_DETACH), 0);
  });
}

}  // namespace
}  // namespace sisa::tests
