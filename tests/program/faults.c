/* Preloaded into the real program (LD_PRELOAD): kills it, or lets the disk fail, at a chosen call on the files of its checkpoints.
 *
 *   SISA_FAULT_LOG=FILE        a line for the kill: "VICTIM PHASE CALL PATH"
 *   SISA_FAULT_PIDS=FOLDER     where each rank leaves its process number, FOLDER/RANK, for the others
 *   SISA_FAULT_KILL=PHASE:N:VICTIM:BY   rank BY sends SIGKILL to rank VICTIM at its N-th event of PHASE, counted from 1:
 *     copy     a save's folder has appeared and BY's file in it has not: the state is being copied into host memory
 *     write    a pwrite, ftruncate or fsync of a file in such a folder; odd events strike halfway through a pwrite, or before
 *     rename   the exchange of a folder's name for that of a checkpoint, or the replacement of `latest`; odd ones before, even after
 *     amend    a write of the master file that is to take the place of a checkpoint's, or its renaming; likewise
 *     prune    the renaming of a checkpoint to be deleted, and each removal of a file or folder in it; odd ones before, even after
 *   SISA_FAULT_WRITES=KIND:FIRST:LAST   the calls FIRST to LAST, from 1, of pwrite, write and fsync on checkpoints and metrics.jsonl
 *     enospc, eio   fail
 *     short         write at most 1000 bytes (checkpoints alone)
 *     slow          take 5 ms longer (likewise)
 *     hang          never return (likewise), as where a file server is gone
 *   SISA_FAULT_USER=unknown   the user has no entry among the users, as in a container whose user is a bare number
 *   SISA_FAULT_READS=KIND:TEXT   opening a file whose path contains TEXT, to read it, fails: eacces, eio
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const char* kill_phase = "";
static int kill_at, victim, rank;
static char fault[16];
static int first_fault, last_fault;
static atomic_int events, calls, files_begun;

static void strike(const char* call, const char* path) {
  char name[512] = "", number[16] = "";
  snprintf(name, sizeof name, "%s/%d", getenv("SISA_FAULT_PIDS"), victim);
  const int file = NEXT(open)(name, O_RDONLY);
  if (file < 0 || read(file, number, sizeof number - 1) <= 0) return;
  close(file);
  char line[2048];
  const int length = snprintf(line, sizeof line, "%d %s %s %s\n", victim, kill_phase, call, path);
  const int log = NEXT(open)(getenv("SISA_FAULT_LOG"), O_WRONLY | O_APPEND);
  if (NEXT(write)(log, line, (size_t)length) != length) return;
  close(log);
  kill(atoi(number), SIGKILL);
  if (victim == rank) pause();
}

/* Counts an event of `phase`; whether it is the chosen one. */
static int due(const char* phase) {
  return strcmp(phase, kill_phase) == 0 && atomic_fetch_add(&events, 1) + 1 == kill_at;
}

static int in_amendment(const char* path) {
  return strstr(path, "/master.h5.tmp-") != NULL;
}

static int in_save(const char* path) {
  return strstr(path, "/checkpoints/step-") && strstr(path, ".tmp-") && !strstr(path, "-deleted") && !in_amendment(path);
}

static const char* path_of(int descriptor, char* path, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t n = readlink(link, path, size - 1);
  path[n < 0 ? 0 : n] = 0;
  return path;
}

/* The copy makes no system call, so a thread watches for the save's folder and strikes a moment later. */
static void* watch(void* folder) {
  char seen[256] = "";
  for (int begun = 0;;) {
    DIR* const directory = opendir(folder);
    char found[256] = "";
    for (struct dirent* entry; directory && (entry = readdir(directory));)
      if (strncmp(entry->d_name, "step-", 5) == 0 && strstr(entry->d_name, ".tmp-") && !strstr(entry->d_name, "-deleted"))
        snprintf(found, sizeof found, "%s", entry->d_name);
    if (directory) closedir(directory);
    if (!found[0]) begun = files_begun;
    if (found[0] && strcmp(found, seen) != 0) {
      strcpy(seen, found);
      nanosleep(&(struct timespec){0, 50000 * (kill_at - 1)}, NULL);
      if (files_begun == begun) strike("-", found);  /* else the copy was over: the next save's, then */
    }
    nanosleep(&(struct timespec){0, 20000}, NULL);
  }
  return NULL;
}

__attribute__((constructor)) static void start(void) {
  static char phase[16];
  const char* const own_rank = getenv("OMPI_COMM_WORLD_RANK");
  const char* const pids = getenv("SISA_FAULT_PIDS");
  const char* const plan = getenv("SISA_FAULT_KILL");
  const char* const writes = getenv("SISA_FAULT_WRITES");
  rank = own_rank ? atoi(own_rank) : 0;
  if (writes) sscanf(writes, "%15[^:]:%d:%d", fault, &first_fault, &last_fault);
  if (pids) {
    char name[512];
    snprintf(name, sizeof name, "%s/%d", pids, rank);
    FILE* const file = fopen(name, "w");
    if (file) fprintf(file, "%d", getpid()), fclose(file);
  }
  int by = 0;
  if (!plan || sscanf(plan, "%15[^:]:%d:%d:%d", phase, &kill_at, &victim, &by) != 4 || by != rank) return;
  kill_phase = phase;
  pthread_t thread;
  if (strcmp(phase, "copy") == 0) pthread_create(&thread, NULL, watch, getenv("SISA_FAULT_CHECKPOINTS"));
}

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  /* A copy too short to be struck by the watching thread: its end. */
  if (flags & O_CREAT && in_save(path) && strstr(path, "/rank-") && atomic_fetch_add(&files_begun, 1) == 2 &&
      strcmp(kill_phase, "copy") == 0)
    strike("open", path);
  const char* const unreadable = getenv("SISA_FAULT_READS");
  if (unreadable && (flags & O_ACCMODE) == O_RDONLY && strstr(path, strchr(unreadable, ':') + 1)) {
    errno = unreadable[1] == 'a' ? EACCES : EIO;
    return -1;
  }
  return NEXT(open)(path, flags, mode);
}

/* The errno with which this call fails, or 0. Slow and short writes are those of checkpoints alone. */
static int failing(const char* path, size_t* size) {
  const int of_checkpoints = strstr(path, "/checkpoints/") != NULL;
  if (!fault[0] || !(of_checkpoints || strstr(path, "/metrics.jsonl"))) return 0;
  const int call = atomic_fetch_add(&calls, 1) + 1;
  if (call < first_fault || call > last_fault) return 0;
  if (of_checkpoints && strcmp(fault, "slow") == 0) nanosleep(&(struct timespec){0, 5000000}, NULL);
  if (of_checkpoints && strcmp(fault, "short") == 0 && *size > 1000) *size = 1000;
  while (of_checkpoints && strcmp(fault, "hang") == 0) pause();
  return strcmp(fault, "enospc") == 0 ? ENOSPC : strcmp(fault, "eio") == 0 ? EIO : 0;
}

ssize_t pwrite(int file, const void* data, size_t size, off_t offset) {
  char path[1024];
  path_of(file, path, sizeof path);
  if ((in_save(path) && due("write")) || (in_amendment(path) && due("amend"))) {
    if (kill_at % 2 == 1) NEXT(pwrite)(file, data, size / 2, offset);
    strike("pwrite", path);
  }
  if ((errno = failing(path, &size)) != 0) return -1;
  return NEXT(pwrite)(file, data, size, offset);
}

ssize_t write(int file, const void* data, size_t size) {
  char path[1024];
  if (fault[0] && (errno = failing(path_of(file, path, sizeof path), &size)) != 0) return -1;
  return NEXT(write)(file, data, size);
}

int ftruncate(int file, off_t length) {
  char path[1024];
  if (in_save(path_of(file, path, sizeof path)) && due("write")) strike("ftruncate", path);
  return NEXT(ftruncate)(file, length);
}

int fsync(int file) {
  char path[1024];
  if (in_save(path_of(file, path, sizeof path)) && due("write")) strike("fsync", path);
  size_t none = 0;
  if ((errno = failing(path, &none)) != 0) return -1;
  return NEXT(fsync)(file);
}

/* Does `call`, an event before and one after it. */
#define AROUND(phase, name, path, call)                             \
  if (phase[0] && due(phase)) strike("before " name, path);         \
  const int result = call;                                          \
  const int error = errno;                                          \
  if (phase[0] && due(phase)) strike("after " name, path);          \
  errno = error;                                                    \
  return result

int rename(const char* from, const char* to) {
  const char* const phase = strstr(to, "-deleted")                                   ? "prune"
                            : in_amendment(from)                                  ? "amend"
                            : in_save(from) || strstr(to, "/checkpoints/latest") ? "rename"
                                                                                     : "";
  AROUND(phase, "rename", to, NEXT(rename)(from, to));
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) {
  const char* const phase = in_save(from) ? "rename" : "";
  AROUND(phase, "renameat2", to, NEXT(renameat2)(from_folder, from, to_folder, to, flags));
}

int unlinkat(int folder, const char* name, int flags) {
  char path[2048], parent[1024];
  if (folder == AT_FDCWD)
    snprintf(path, sizeof path, "%s", name);
  else
    snprintf(path, sizeof path, "%s/%s", path_of(folder, parent, sizeof parent), name);
  const char* const phase = strstr(path, "-deleted") ? "prune" : "";
  AROUND(phase, "unlinkat", path, NEXT(unlinkat)(folder, name, flags));
}

struct passwd* getpwuid(uid_t user) {
  return getenv("SISA_FAULT_USER") != NULL ? NULL : NEXT(getpwuid)(user);
}
