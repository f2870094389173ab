#pragma once
#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "support/fd.h"

namespace hullmark::process {

constexpr size_t kMaxCgroupBytes = 16384;  // of /proc/PID/cgroup: 14 lines of a path each

// What the kernel knows of a file without asking its file system, which may never answer (FUSE, a network's). `name` below `directory`,
// links followed; "" is `directory` itself. False: errno says why.
bool StatKnown(int directory, const char* name, struct stat* st);

// Its directory in /proc: the kernel gives each process an inode of its own there.
bool StatProcess(pid_t pid, struct stat* st);

// The program that a process runs, as /proc/PID/exe tells it.
struct Executable {
  // As seen in the process's own mount namespace; raw bytes, without the kernel's " (deleted)".
  std::string path;
  uint64_t dev = 0;  // as stat(2) tells it: an overlay's own device for a file of a container
  uint64_t ino = 0;
  bool deleted = false;  // its inode has no name any more (memfd: always)

  bool SameFile(const Executable& other) const { return dev == other.dev && ino == other.ino; }
};

// First line of interest of /proc/PID/stat.
struct Stat {
  std::string comm;  // at most 15 bytes, chosen by the process
  pid_t ppid = 0;
  pid_t session = 0;         // its leader's number; no other process gets that number while the session lasts
  uint64_t start_ticks = 0;  // since boot; with the pid it names one process for ever
  bool kernel_thread = false;
  bool exiting = false;  // then cgroups of version 1 read as "/"
  char state = '?';
};

struct Snapshot {
  Stat stat;
  std::shared_ptr<const Executable> exe;  // null: no executable can be read (kernel thread, ended, no permission)
  bool located = false;                   // false: it is ending, cgroup and container cannot be told
  std::string cgroup;                     // the path that names a container, else the last line's
  std::string container;                  // 64 hex digits or empty
  std::optional<uid_t> uid;               // effective, when the directory was opened
};

// Sole view of one process: the directory keeps naming the same process when its number is used again.
class ProcessDir {
 public:
  explicit ProcessDir(pid_t pid);
  explicit operator bool() const { return static_cast<bool>(fd_); }
  int fd() const { return fd_.get(); }
  // Whether its first thread has ended and others run on: of such a process its directory shows neither program, mappings nor namespaces, those of its threads do.
  bool Leaderless() const;

  // Content of a file below, at most `limit` bytes; nullopt: gone, or not permitted.
  std::optional<std::string> Read(const char* name, size_t limit) const;
  // Target of a symbolic link below.
  std::optional<std::string> Link(const char* name) const;

  std::optional<Stat> ReadStat() const;
  std::shared_ptr<const Executable> ReadExecutable() const;
  std::optional<uid_t> ReadUid() const;

 private:
  UniqueFd fd_;
};

// Everything at once; nullopt: no such process.
std::optional<Snapshot> ReadSnapshot(pid_t pid);

// The 64 hex digits that docker, containerd, CRI-O and podman put into the cgroup's name, by cgroupfs or systemd, on v1 and v2. The
// outermost one: a container inside a container belongs to that. `text` is /proc/PID/cgroup. Empty: none.
struct CgroupId {
  std::string path;
  std::string container;
};
CgroupId ParseCgroup(std::string_view text);

// /proc/PID/cgroup has paths as the cgroup namespace of whoever reads it shows them. A container that has one of its own, as all have on cgroup version 2,
// reads "/" for its own processes, which names no container. While this lives the calling thread reads as process 1 does, where it may (CAP_SYS_ADMIN,
// CAP_SYS_PTRACE, the node's pid namespace); else as before.
class NodeCgroups {
 public:
  NodeCgroups();
  ~NodeCgroups();
  NodeCgroups(const NodeCgroups&) = delete;
  NodeCgroups& operator=(const NodeCgroups&) = delete;

 private:
  UniqueFd own_;  // to go back to; none: where it was
};

// The container into which a low-level runtime brings a process, by its own command line (/proc/PID/cmdline), as engines and shims call it:
// `runc … exec --process FILE … ID`. Empty: it is another command, or it cannot be told which of its words is the container.
std::string ExecTarget(std::string_view cmdline);

// True for a whole cgroup path component such as `docker-<id>.scope`; `id` is then the container's.
bool ContainerComponent(std::string_view component, std::string_view& id);

}  // namespace hullmark::process
