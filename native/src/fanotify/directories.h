#pragma once
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "fanotify/group.h"
#include "fanotify/roots.h"
#include "support/fd.h"

namespace hullmark::fanotify {

// Where a directory lies with respect to the watched roots.
struct Place {
  std::string path;  // absolute; empty unless it lies in a root
  std::vector<Roots::Match> matches;
};

// The key of an open file or directory, as fanotify reports it. Throws Error (EOPNOTSUPP: the filesystem has no handles).
std::string KeyOf(int fd);

// Finds directories by handle, and remembers. What is remembered is dropped whenever a directory is renamed or a root added or
// removed: a path is then found anew. Not thread-safe.
class Directories {
 public:
  explicit Directories(const Roots& roots) : roots_(roots) {}

  // Handles of a filesystem are opened through any directory on it. The descriptor is kept (and keeps the mount busy).
  void AddFilesystem(std::string_view fsid, UniqueFd directory);
  void RemoveFilesystem(std::string_view fsid);
  // -1: not known.
  int FilesystemFd(HandleKey key) const;

  // Null: gone meanwhile (its removal is an event in its parent); a filesystem that is not known counts as such. Throws Error when it
  // cannot be told (EMFILE, ENOMEM, EIO…).
  std::shared_ptr<const Place> Find(HandleKey key);
  // Absolute path of an open directory, however long (at most 64 KiB). nullopt: it has none any more. Throws Error.
  std::optional<std::string> PathOf(int fd);
  // Opens the inode itself; empty: see errno (ESTALE: gone).
  UniqueFd Open(HandleKey key, int flags) const;

  void Clear();
  size_t size() const { return young_.size() + old_.size(); }

 private:
  using Map = std::unordered_map<std::string, std::shared_ptr<const Place>, StringHash, std::equal_to<>>;
  std::shared_ptr<const Place> Remember(HandleKey key, std::shared_ptr<const Place> place);
  std::optional<std::string> Climb(int fd);

  const Roots& roots_;
  std::unordered_map<std::string, UniqueFd, StringHash, std::equal_to<>> filesystems_;
  // Two generations approximate least-recently-used: a find in the old one moves the entry to the young one.
  Map young_, old_;
};

}  // namespace hullmark::fanotify
