#include "parallel/world.h"

#include <c10/util/Exception.h>  // TORCH_INTERNAL_ASSERT
#include <mpi.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <optional>

#include "common/error.h"
#include "common/path_error.h"
#include "common/threads.h"
#include "parallel/mpi_check.h"

namespace sisa::parallel {
namespace {

std::string processor_name() {
  char name[MPI_MAX_PROCESSOR_NAME];
  int length = 0;
  if (MPI_Get_processor_name(name, &length) != MPI_SUCCESS) return "unknown host";
  return {name, static_cast<size_t>(length)};
}

MPI_Op operation(World::Reduction reduction) {
  switch (reduction) {
    case World::Reduction::sum:
      return MPI_SUM;
    case World::Reduction::max:
      return MPI_MAX;
    case World::Reduction::min:
      return MPI_MIN;
  }
  TORCH_INTERNAL_ASSERT(false, "unknown reduction");
}

// Open MPI asks for the user's home folder, and crashes where there is none, as in a container whose user is a
// bare number.
void give_home() {
  const char* const home = std::getenv("HOME");
  if ((home != nullptr && *home != '\0') || ::getpwuid(::geteuid()) != nullptr) return;
  std::error_code error;
  const std::filesystem::path temporary = std::filesystem::temp_directory_path(error);
  ::setenv("HOME", error ? "/" : temporary.c_str(), /*overwrite=*/1);
}

int share_of_cores(MPI_Comm local, int rank, int size) {
  constexpr int most = 1 << 14;  // cores of a host, one bit each
  using Mask = std::array<uint8_t, most / 8>;
  Mask mine = {};
  for (const int core : common::allowed_cores())
    if (core < most) mine[static_cast<size_t>(core) / 8] |= static_cast<uint8_t>(1u << (core % 8));
  std::vector<Mask> all(static_cast<size_t>(size));
  SISA_MPI_CHECK(MPI_Allgather(mine.data(), most / 8, MPI_BYTE, all.data(), most / 8, MPI_BYTE, local));
  std::vector<std::vector<int>> allowed(all.size());
  for (size_t r = 0; r < all.size(); ++r)
    for (int core = 0; core < most; ++core)
      if ((all[r][static_cast<size_t>(core) / 8] >> (core % 8) & 1u) != 0) allowed[r].push_back(core);
  const int fair = common::fair_cores(allowed, static_cast<size_t>(rank));
  const std::optional<double> quota = common::cpu_quota();  // which the ranks of a host share
  return quota ? std::clamp(static_cast<int>(*quota / size), 1, fair) : fair;
}

}  // namespace

void check_mpi(int code, const char* expression) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0, rank = -1;
  MPI_Error_string(code, text, &length);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  throw SystemError(fmt::format("The MPI call {} failed on rank {} ({}) with code {}: {}.", expression, rank,
                                processor_name(), code, text));
}

World::World() {
  int initialised = 0;
  SISA_MPI_CHECK(MPI_Initialized(&initialised));
  TORCH_INTERNAL_ASSERT(!initialised, "a process can have one World only");
  give_home();
  // A rank that waits lets others run. Open MPI does so by itself only where there are more ranks than cores,
  // and not where ranks have several threads or other programs compute.
  ::setenv("OMPI_MCA_mpi_yield_when_idle", "1", /*overwrite=*/0);
  int provided = MPI_THREAD_SINGLE;
  SISA_MPI_CHECK(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided));
  SISA_MPI_CHECK(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  if (provided < MPI_THREAD_FUNNELED)
    throw SystemError(
        "This MPI library offers no thread support, but a program with threads needs MPI_THREAD_FUNNELED of "
        "it; use an MPI that was built with threads.");

  SISA_MPI_CHECK(MPI_Comm_rank(MPI_COMM_WORLD, &rank_));
  SISA_MPI_CHECK(MPI_Comm_size(MPI_COMM_WORLD, &size_));
  MPI_Comm local = MPI_COMM_NULL;
  SISA_MPI_CHECK(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &local));
  SISA_MPI_CHECK(MPI_Comm_rank(local, &local_rank_));
  SISA_MPI_CHECK(MPI_Comm_size(local, &local_size_));
  core_share_ = share_of_cores(local, local_rank_, local_size_);
  SISA_MPI_CHECK(MPI_Comm_free(&local));
  host_ = processor_name();
}

World::~World() {
  const CollectiveStatus::Scope scope(collective_status_, "finalize");
  // A destructor cannot report an error; MPI itself prints what goes wrong here.
  MPI_Barrier(MPI_COMM_WORLD);
  MPI_Finalize();
}

void World::barrier() const {
  const CollectiveStatus::Scope scope(collective_status_, "barrier");
  SISA_MPI_CHECK(MPI_Barrier(MPI_COMM_WORLD));
}

void World::all_reduce(std::span<int64_t> values, Reduction reduction) const {
  const CollectiveStatus::Scope scope(collective_status_, "all_reduce");
  SISA_MPI_CHECK(MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), MPI_INT64_T,
                               operation(reduction), MPI_COMM_WORLD));
}

void World::all_reduce(std::span<double> values, Reduction reduction) const {
  const CollectiveStatus::Scope scope(collective_status_, "all_reduce");
  SISA_MPI_CHECK(MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), MPI_DOUBLE,
                               operation(reduction), MPI_COMM_WORLD));
}

void World::broadcast(std::string& text, int root) const {
  const CollectiveStatus::Scope scope(collective_status_, "broadcast");
  uint64_t size = text.size();
  SISA_MPI_CHECK(MPI_Bcast(&size, 1, MPI_UINT64_T, root, MPI_COMM_WORLD));
  text.resize(size);
  for (uint64_t begin = 0; begin < size; begin += INT_MAX) {
    const int count = static_cast<int>(std::min<uint64_t>(size - begin, INT_MAX));
    SISA_MPI_CHECK(MPI_Bcast(text.data() + begin, count, MPI_CHAR, root, MPI_COMM_WORLD));
  }
}

void World::broadcast(std::vector<int64_t>& numbers, int root) const {
  std::string bytes(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(int64_t));
  broadcast(bytes, root);
  numbers.resize(bytes.size() / sizeof(int64_t));
  std::memcpy(numbers.data(), bytes.data(), bytes.size());
}

std::vector<std::string> World::all_gather(const std::string& text, int max_bytes) const {
  TORCH_INTERNAL_ASSERT(max_bytes >= size_);
  const CollectiveStatus::Scope scope(collective_status_, "all_gather");
  const auto num_ranks = static_cast<size_t>(size_);
  const uint64_t own_size = text.size();
  std::vector<uint64_t> sizes(num_ranks);
  SISA_MPI_CHECK(MPI_Allgather(&own_size, 1, MPI_UINT64_T, sizes.data(), 1, MPI_UINT64_T, MPI_COMM_WORLD));

  std::vector<std::string> texts(num_ranks);
  std::vector<int> counts(num_ranks), offsets(num_ranks);
  std::string received;
  // MPI counts bytes in an int: each call moves the bytes [begin, begin + part) of every text that has them.
  const uint64_t longest = *std::max_element(sizes.begin(), sizes.end());
  const auto part = static_cast<uint64_t>(max_bytes / size_);
  for (uint64_t begin = 0; begin < longest; begin += part) {
    int total = 0;
    for (size_t r = 0; r < num_ranks; ++r) {
      counts[r] = static_cast<int>(std::min(part, sizes[r] - std::min(begin, sizes[r])));
      offsets[r] = total;
      total += counts[r];
    }
    received.resize(static_cast<size_t>(total));
    SISA_MPI_CHECK(MPI_Allgatherv(text.data() + std::min(begin, own_size), counts[static_cast<size_t>(rank_)],
                                  MPI_CHAR, received.data(), counts.data(), offsets.data(), MPI_CHAR,
                                  MPI_COMM_WORLD));
    for (size_t r = 0; r < num_ranks; ++r)
      texts[r].append(received, static_cast<size_t>(offsets[r]), static_cast<size_t>(counts[r]));
  }
  return texts;
}

void World::together(const std::function<void()>& work) const {
  std::string own_text;
  int64_t own_status = common::success;
  try {
    work();
  } catch (const Error& error) {
    own_text = error.what();
    own_status = error.status();
  } catch (const std::filesystem::filesystem_error& error) {
    const Error shown = common::path_error(error);
    own_text = shown.what();
    own_status = shown.status();
  } catch (const std::exception& error) {
    own_text = error.what();
    own_status = common::failure;
  }

  int64_t first = own_status == common::success ? size_ : rank_;  // the lowest rank that failed
  all_reduce({&first, 1}, Reduction::min);
  if (first == size_) return;

  std::string text = own_text, name = fmt::format("Rank {} ({})", rank_, host_);
  broadcast(text, static_cast<int>(first));
  broadcast(name, static_cast<int>(first));
  int64_t verdict[] = {own_text != text, rank_ == first ? own_status : 0};
  all_reduce(verdict, Reduction::max);
  const auto [differs, status] = verdict;
  throw SharedError(differs ? name + ": " + text : text, static_cast<common::ExitStatus>(status));
}

void World::abort(int status) const {
  MPI_Abort(MPI_COMM_WORLD, status);
  std::_Exit(status);
}

}  // namespace sisa::parallel
