#pragma once
#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "process/procfs.h"
#include "process/run_clock.h"
#include "tree/open.h"
#include "tree/sha256.h"

namespace hullmark::process {

// A small file of the node's. Links are not followed; what is larger counts as one that cannot be read.
struct SmallFile {
  std::string path;
  uint64_t max_bytes = 0;
};

// All that a look at one container reads.
struct Subject {
  pid_t pid = 0;            // main process: its mounts, and its root as the view of the others
  std::vector<pid_t> pids;  // every process, itself among them
  std::string upper;        // directory in which mapped files are looked up as well; empty: none
  std::vector<SmallFile> files;
};

// An upper directory, in which the workload makes links, and renames what lies above a file: none is followed, and no mount is crossed.
class Upper {
 public:
  // Empty, or gone: nothing is in it.
  explicit Upper(const std::string& path);
  // `path` without leading slash. All zero: nothing; a link where one is on the way, which no file that was mapped by this path had.
  struct stat At(const char* path) const;

 private:
  UniqueFd directory_;
  std::optional<tree::Opener> opener_;
};

// What is seen of processes and containers now, as SHA-256 to be compared with that of another time. Equal: nothing of it has moved. Nothing: gone,
// more than is looked at here, or not to be told without asking a file system, so it must be read in full. The workload controls mappings, mounts, paths
// and what they lie on: no file system of its is waited for. Belongs to one thread.
//
// What the mappings, the program and the capabilities of a process are can change only where the process runs, and the kernel counts for how many nanoseconds it did:
// where that has not moved they are those of before. (One that shares its memory without being a thread of it may map for it; it runs what was mapped all the same.) All else (what is at the paths of the files, mounts, files of the node) others can change, and is read each time.
class Signatures {
 public:
  Signatures();

  // What one process runs: its program, each file that it maps executable, and what the paths of those files show in the view of `view` and in `upper`.
  std::optional<tree::Digest> OfProcess(pid_t pid, pid_t view, const std::string& upper);
  // That of every process, with the mounts of the first and the content and mode of the files. Nothing too where they map more than 16,384 files together.
  std::optional<tree::Digest> OfContainer(const Subject& subject);

 private:
  // Of one process: what only running changes.
  struct Known {
    uint64_t inode = 0;  // of its directory in /proc: the kernel gives each process another
    int64_t ran_ns = -1;
    tree::Digest own{};
    std::vector<std::string> paths;  // of its files, relative to a root
    size_t bytes = 0;
  };
  // Where the paths are looked up.
  struct View {
    View(pid_t pid, const std::string& upper);
    UniqueFd root;
    Upper upper;
    bool has_upper;
  };

  bool Append(tree::Sha256& to, pid_t pid, const View& view);
  const Known* Current(pid_t pid);
  bool ReadOwn(const ProcessDir& dir, Known& known);
  bool AppendCapabilities(tree::Sha256& to, const ProcessDir& dir);
  bool AppendFile(tree::Sha256& to, const SmallFile& file);
  std::optional<std::string_view> Read(int directory, const char* name, size_t limit);

  std::unique_ptr<char[]> buffer_;
  RunClock clock_;
  std::unordered_map<pid_t, Known> known_;
  size_t known_bytes_ = 0;
};

}  // namespace hullmark::process
