#pragma once
#include <sys/stat.h>

#include <string_view>

#include "support/fd.h"

namespace hullmark::tree {

// Opening things in a tree that a hostile process may be changing. No call follows a symlink, leaves the tree, or crosses a mount; none
// opens a device, FIFO or socket for anything but O_PATH. Each returns an empty fd with errno set, unless it says that it throws.
class Opener {
 public:
  // `root` is an O_PATH directory, borrowed. Throws Error when /proc is not a procfs: /proc/self/fd is how an O_PATH fd is reopened.
  explicit Opener(int root);

  int root() const { return root_; }
  // The directory at `path` below the root ("" is the root), for reading. Any length: long paths are walked in pieces.
  UniqueFd Directory(std::string_view path) const;
  // The directory `name` (one component) of `parent`, for reading.
  UniqueFd Subdirectory(int parent, const char* name) const;
  // Whatever `name` of `parent` is, a symlink itself included, as O_PATH.
  UniqueFd Entry(int parent, const char* name) const;
  // Reopens an O_PATH fd of a regular file for reading. `direct` bypasses the page cache where the filesystem can.
  UniqueFd Reopen(int path_fd, bool direct) const;
  // The magic link of an fd, relative to proc(): for calls that take no O_PATH fd. `buffer` of at least 16 bytes.
  static const char* LinkName(int fd, char* buffer);
  int proc() const { return proc_.get(); }

 private:
  UniqueFd Beneath(int parent, const char* path, int flags) const;
  UniqueFd StepByStep(int parent, const char* path, int flags) const;

  int root_;
  UniqueFd proc_;
  bool has_openat2_ = true;
  uint64_t root_mount_ = 0;
};

}  // namespace hullmark::tree
