#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include <sys/types.h>

#include "process/run_clock.h"

namespace hullmark::process {

struct Listed {
  pid_t pid = 0;
  std::string container;          // 64 hex digits; empty: outside of every container's cgroup
  uint64_t mount_namespace = 0;   // inode number; 0: cannot be read

  bool operator==(const Listed&) const = default;
};

// Whose container a process is in, by its cgroup; empty: none, or gone.
std::string ContainerOf(pid_t pid);

// The processes of this pid namespace, as they are when they last ran: one that was moved into another cgroup since is told where it was until it runs there. Belongs to one thread.
class Processes {
 public:
  // Those in a container's cgroup, and those outside with a mount namespace that is neither this process's nor that of process 1; ascending. Good until the next call.
  // About 2 µs for each process that there is, and 15 for one that ran since the last call. Throws Error.
  const std::vector<Listed>& List();
  // Whether the last call found the same as the one before it.
  bool same() const { return same_; }

 private:
  struct Known {
    uint64_t inode = 0;  // of its directory in /proc: the kernel gives each process another
    int64_t ran_ns = -1;
    uint64_t round = 0;
    Listed listed;
  };
  void Read(pid_t pid, Known& known) const;

  RunClock clock_;
  std::unordered_map<pid_t, Known> known_;
  uint64_t round_ = 0;
  std::vector<Listed> list_;
  bool same_ = false;
};

// One that has its namespaces yet, of a process whose first thread has ended while others run on; 0: it is no such process.
pid_t LivingThread(pid_t pid);

// Device and inode of the directory that is the root of a process, as the kernel knows them: it waits for no file system. "?": it is shown to
// nobody but its owner, as a FUSE file system's may be. Nothing: gone.
std::optional<std::string> RootOf(pid_t pid);

}  // namespace hullmark::process
