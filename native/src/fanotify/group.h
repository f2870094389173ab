#pragma once
#include <sys/fanotify.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "support/fd.h"

namespace hullmark::fanotify {

// Key of an inode that outlives its names: fsid, handle length, handle type, handle, as the kernel writes them one after the other.
using HandleKey = std::string_view;
constexpr size_t kFsidBytes = 8;

// One event as read; the views are valid until the next read.
struct RawEvent {
  uint64_t mask = 0;
  pid_t pid = 0;           // 0: not visible in this pid namespace
  HandleKey directory;     // empty: the event names no directory
  std::string_view name;   // entry in `directory`; "." for the directory itself
  HandleKey file;          // the inode itself, where the kernel tells it
};

constexpr uint64_t kWriteMask = FAN_MODIFY | FAN_CLOSE_WRITE | FAN_ATTRIB | FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO;
constexpr uint64_t kMask = kWriteMask | FAN_OPEN_EXEC | FAN_ONDIR;

// A fanotify group that reports directory handles and names. Not thread-safe.
class Group {
 public:
  // Throws Error (EPERM without CAP_SYS_ADMIN, EINVAL where the kernel is older than 5.9).
  Group();
  int fd() const { return fd_.get(); }

  // Marks or unmarks the whole filesystem on which the open directory lies. Throws Error.
  void Mark(int directory_fd, uint64_t mask);
  void Unmark(int directory_fd, uint64_t mask);
  // Whether the kernel still holds what was marked; true where that cannot be told.
  bool Whole() const;

  // Reads one buffer of events without waiting. False: the queue was empty.
  bool Read(const std::function<void(const RawEvent&)>& each);

 private:
  // nullopt: cannot be told now.
  std::optional<size_t> CountMarks() const;

  UniqueFd fd_;
  size_t marks_ = 0;  // counted after the last change
  std::vector<char> buffer_;
};

}  // namespace hullmark::fanotify
