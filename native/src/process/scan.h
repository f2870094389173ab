#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "tree/sha256.h"

namespace hullmark::process {

struct Listed {
  pid_t pid = 0;
  std::string container;          // 64 hex digits; empty: outside of every container's cgroup
  uint64_t mount_namespace = 0;   // inode number; 0: cannot be read
};

// Of the processes of this pid namespace those in a container's cgroup, and those outside with a mount namespace that is neither this
// process's nor that of process 1; ascending. About 5 µs for each process that there is. Throws Error.
std::vector<Listed> ListProcesses();

// SHA-256 of all that decides what a process runs, to compare with that of another time: its program, each file that it maps executable,
// and what the paths of those files show now, in the view of `view` and in the directory `upper` (empty: none). Nothing: gone, more than
// is looked at here (1 MiB of mappings, 512 files), or not to be told without asking a file system, so it must be read in full. The workload
// controls the mappings, the paths and what they lie on: it waits for none of their file systems.
std::optional<tree::Digest> CodeSignature(pid_t pid, pid_t view, const std::string& upper);

// Device and inode of the directory that is the root of a process, as the kernel knows them: it waits for no file system. "?": it is shown to
// nobody but its owner, as a FUSE file system's may be. Nothing: gone.
std::optional<std::string> RootOf(pid_t pid);

}  // namespace hullmark::process
