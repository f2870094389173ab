#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>

namespace hullmark::process {

struct Listed {
  pid_t pid = 0;
  uint64_t start_ticks = 0;
  std::string container;          // 64 hex digits; empty: outside of every container's cgroup
  uint64_t mount_namespace = 0;   // inode number; 0: cannot be read
};

// The processes of this pid namespace with a program of their own (no kernel threads), ascending. About 10 µs each. Throws Error.
std::vector<Listed> ListProcesses();

// All that decides what a process runs, as bytes to compare with those of another time: its program, each file that it maps executable,
// and what the paths of those files show now, in the view of `view` and in the directory `upper` (empty: none). Two answers are equal
// only if nothing of that differs. Empty: gone, or more than is looked at here (1 MiB of mappings, 512 files), so it must be read in full.
// The workload controls the mappings and paths.
std::string CodeSignature(pid_t pid, pid_t view, const std::string& upper);

}  // namespace hullmark::process
