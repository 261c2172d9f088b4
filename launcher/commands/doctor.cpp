#include "launcher/commands/doctor.h"

#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/hdf5.h"
#include "common/file.h"
#include "common/quantity.h"
#include "common/text.h"
#include "common/threads.h"
#include "launcher/run/gpu_name.h"
#include "launcher/run/version.h"

namespace sisa::launcher {

namespace fs = std::filesystem;

namespace {

enum class Level : int64_t { ok, warning, problem };

struct Finding {
  Level level;
  std::string subject;
  std::string text;
  std::string advice = {};  // what to do unless the level is ok
};
using Findings = std::vector<Finding>;

// Each adds what it finds on this rank; what several ranks find alike is printed once.

void examine_program(Findings& findings, const LibraryVersions& versions) {
  findings.push_back({Level::ok, "program", code_version()});
  if (versions.libtorch == versions.libtorch_built)
    findings.push_back({Level::ok, "LibTorch", versions.libtorch});
  else
    findings.push_back({Level::problem, "LibTorch",
                        fmt::format("{} is loaded, but the program was built with {}", versions.libtorch,
                                    versions.libtorch_built),
                        "build again, or mend LD_LIBRARY_PATH"});
}

void examine_ranks(Findings& findings, const parallel::World& world, const LibraryVersions& versions,
                   size_t num_hosts) {
  findings.push_back({Level::ok, "MPI", versions.mpi});
  const std::string here = fmt::format("{} on {}", world.local_size(), world.host());
  findings.push_back(
      {Level::ok, "ranks",
       num_hosts == 1 ? here : fmt::format("{} on {} hosts, {}", world.size(), num_hosts, here)});
  if (std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr &&
      std::getenv("OMPI_MCA_odls_base_sigkill_timeout") == nullptr)
    findings.push_back(
        {Level::warning, "signals",
         "mpirun kills ranks 1 s after it passed on SIGTERM, perhaps before a save ends",
         "send mpirun SIGUSR1, which it only passes on, or export OMPI_MCA_odls_base_sigkill_timeout=5"});
}

void examine_cores(Findings& findings, const parallel::World& world) {
  const int online = common::online_cores(), allowed = common::available_cores();
  const std::string cores = fmt::format("{} on {}", online, world.host());
  if (world.local_size() > online)
    findings.push_back({Level::warning, "cores",
                        fmt::format("{}, fewer than the {} ranks there", cores, world.local_size()),
                        "start fewer ranks"});
  else
    findings.push_back({Level::ok, "cores", cores});
  // What a rank gets when the host's ranks share it evenly.
  if (const int fair = std::max(1, online / world.local_size()); allowed < fair)
    findings.push_back(
        {Level::warning, "binding",
         fmt::format("a rank may use {} of the {} cores that are its share", allowed, fair),
         "export OMPI_MCA_hwloc_base_binding_policy=none, or look at the limits of the batch system"});
  else
    findings.push_back({Level::ok, "binding", fmt::format("a rank may use {} cores", allowed)});
}

// MemAvailable in bytes, or 0 where /proc does not say.
double available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string label, unit; file >> label;) {
    double kibibytes = 0;
    if (label == "MemAvailable:" && file >> kibibytes) return kibibytes * 1024;
    std::getline(file, unit);
  }
  return 0;
}

void examine_memory(Findings& findings, const parallel::World& world) {
  const double available = available_memory();
  if (available == 0) return;
  const std::string text = fmt::format("{} available on {}", common::format_bytes(available), world.host());
  if (available < 0x1p30 * world.local_size())
    findings.push_back({Level::warning, "memory", text + ", less than 1 GiB a rank",
                        "start fewer ranks or stop other programs"});
  else
    findings.push_back({Level::ok, "memory", text});
}

void examine_gpus(Findings& findings, const parallel::World& world, const LibraryVersions& versions) {
  if (versions.cuda == "none") {
    findings.push_back({Level::ok, "GPUs", "this program was built without CUDA; it trains on CPUs"});
    return;
  }
  findings.push_back({Level::ok, "CUDA", fmt::format("{}, driver: {}", versions.cuda, versions.cuda_driver)});
  if (versions.nccl == versions.nccl_built)
    findings.push_back({Level::ok, "NCCL", versions.nccl});
  else
    findings.push_back(
        {Level::problem, "NCCL",
         fmt::format("{} is loaded, but the program was built with {}", versions.nccl, versions.nccl_built),
         "build again, or mend LD_LIBRARY_PATH"});

  const int count = c10::impl::hasDeviceGuardImpl(c10::kCUDA)
                        ? c10::impl::getDeviceGuardImpl(c10::kCUDA)->deviceCount()
                        : 0;
  if (count == 0) {
    if (versions.cuda_driver == "none")
      findings.push_back({Level::ok, "GPUs", "no NVIDIA driver on " + world.host() + "; it trains on CPUs"});
    else
      findings.push_back(
          {Level::problem, "GPUs", fmt::format("a driver, but no usable GPU on {}", world.host()),
           "check nvidia-smi, CUDA_VISIBLE_DEVICES, and that the driver is as new as CUDA above"});
    return;
  }
  std::map<std::string, int> names;
  for (int i = 0; i < count; ++i)
    ++names[gpu_name(c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(i)))];
  std::string text;
  for (const auto& [name, number] : names)
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", number, name);
  text += " on " + world.host();
  // A batch system may show each rank a GPU of its own, and then one is right.
  if (world.local_size() > count && count > 1)
    findings.push_back({Level::warning, "GPUs", fmt::format("{}, for {} ranks", text, world.local_size()),
                        "on GPUs start one rank for each of them"});
  else
    findings.push_back({Level::ok, "GPUs", text});
}

// Writes a small HDF5 file the way checkpoints are written and reads it back.
void examine_disk(Findings& findings, const parallel::World& world, const LibraryVersions& versions) {
  namespace hdf5 = checkpoint::hdf5;
  const fs::path folder = fmt::format("sisa-doctor-{}-{}", world.host(), getpid());
  const std::string greeting = "written by sisa doctor";
  try {
    common::create_directories(folder);
    hdf5::MemoryFile file(16 << 10);
    hdf5::write_text(file.id(), "greeting", greeting);
    file.close();
    std::string bytes(reinterpret_cast<const char*>(file.image().data()), file.image().size());
    bytes.resize(static_cast<size_t>(file.size()));
    common::write_file_atomically(folder / "greeting.h5", bytes);
    if (hdf5::read_text(hdf5::open_file(folder / "greeting.h5"), "greeting", greeting.size()) != greeting)
      throw SystemError("what was written to the disk did not come back");
    findings.push_back({Level::ok, "HDF5",
                        fmt::format("{}, writes and reads here; {} free", versions.hdf5,
                                    common::format_bytes(static_cast<double>(fs::space(folder).available)))});
  } catch (const std::exception& error) {
    findings.push_back({Level::problem, "HDF5",
                        fmt::format("{} cannot write here: {}", versions.hdf5, error.what()),
                        "go to a folder that you may write to, with space left"});
  }
  std::error_code code;  // nothing to remove if it could not be made
  fs::remove_all(folder, code);
}

void examine_limits(Findings& findings) {
  constexpr rlim_t enough_files = 1024;
  rlimit files{}, memory{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || getrlimit(RLIMIT_AS, &memory) != 0) return;
  if (files.rlim_cur < enough_files)
    findings.push_back(
        {Level::warning, "limits", fmt::format("only {} open files", files.rlim_cur), "ulimit -n 4096"});
  if (memory.rlim_cur != RLIM_INFINITY)
    findings.push_back(
        {Level::warning, "limits",
         fmt::format("address space is limited to {}; CUDA and mapped data need far more than they use",
                     common::format_bytes(static_cast<double>(memory.rlim_cur))),
         "ulimit -v unlimited"});
  if (files.rlim_cur >= enough_files && memory.rlim_cur == RLIM_INFINITY)
    findings.push_back({Level::ok, "limits", "open files and address space suffice"});
}

std::string line(const Finding& finding) {
  static constexpr std::array names = {"ok", "warning", "problem"};
  const std::string advice = finding.advice.empty() ? "" : fmt::format("\n{:20}-> {}", "", finding.advice);
  return fmt::format("{:8} {:10} {}{}", names[static_cast<size_t>(finding.level)], finding.subject,
                     finding.text, advice);
}

}  // namespace

void add_options(Options& options, DoctorArguments&) {
  options.describe("Check MPI, devices, libraries and disk, and say what is wrong");
}

int run(const DoctorArguments&, const parallel::World& world) {
  std::vector<std::string> hosts = world.all_gather(world.host());
  std::sort(hosts.begin(), hosts.end());
  const auto num_hosts = static_cast<size_t>(std::unique(hosts.begin(), hosts.end()) - hosts.begin());

  Findings findings;
  world.together([&] {
    const LibraryVersions versions = library_versions();
    examine_program(findings, versions);
    examine_ranks(findings, world, versions, num_hosts);
    examine_cores(findings, world);
    examine_memory(findings, world);
    examine_gpus(findings, world, versions);
    examine_disk(findings, world, versions);
    examine_limits(findings);
  });

  std::array<int64_t, 1> worst = {0};
  std::string own;
  for (const Finding& finding : findings) {
    worst[0] = std::max(worst[0], static_cast<int64_t>(finding.level));
    own += line(finding) + '\0';
  }
  world.all_reduce(worst, parallel::World::Reduction::max);
  std::vector<std::string> printed;
  for (const std::string& of_rank : world.all_gather(own))
    for (const std::string& text : common::split(of_rank, '\0'))
      if (!text.empty() && std::find(printed.begin(), printed.end(), text) == printed.end())
        printed.push_back(text);
  if (world.is_root()) {
    for (const std::string& text : printed) fmt::print("{}\n", text);
    const bool broken = worst[0] == static_cast<int64_t>(Level::problem);
    fmt::print("{}\n", broken ? "Something is wrong; see the problems above." : "Ready to train.");
  }
  return worst[0] == static_cast<int64_t>(Level::problem) ? common::failure : common::success;
}

}  // namespace sisa::launcher
