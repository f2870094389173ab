#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace hullmark::process {

struct Listed {
  pid_t pid = 0;
  std::string container;          // 64 hex digits; empty: outside of every container's cgroup
  uint64_t mount_namespace = 0;   // inode number; 0: cannot be read
};

// Whose container a process is in, by its cgroup; empty: none, or gone.
std::string ContainerOf(pid_t pid);

// Of the processes of this pid namespace those in a container's cgroup, and those outside with a mount namespace that is neither this
// process's nor that of process 1; ascending. About 10 µs for each process that there is. Throws Error.
std::vector<Listed> ListProcesses();

// Device and inode of the directory that is the root of a process, as the kernel knows them: it waits for no file system. "?": it is shown to
// nobody but its owner, as a FUSE file system's may be. Nothing: gone.
std::optional<std::string> RootOf(pid_t pid);

}  // namespace hullmark::process
