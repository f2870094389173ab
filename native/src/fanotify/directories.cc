#include "fanotify/directories.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstring>
#include <utility>

#include "support/error.h"

namespace hullmark::fanotify {

namespace {

constexpr size_t kGenerationEntries = 8192;
constexpr size_t kMaxPathBytes = 65536;
constexpr int kAttempts = 10;
constexpr useconds_t kRetryUs = 100;
constexpr std::string_view kDeleted = " (deleted)";

struct HandleBuffer {
  file_handle head;
  unsigned char bytes[MAX_HANDLE_SZ];
};

// nullopt with ENAMETOOLONG for a path beyond PATH_MAX, with ENOENT for a directory without a name.
std::optional<std::string> ReadPath(int fd) {
  char link[32];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  char target[PATH_MAX];
  const ssize_t size = ::readlink(link, target, sizeof target);
  if (size < 0) return std::nullopt;
  std::string path(target, static_cast<size_t>(size));
  struct stat st;
  // A name may end so by itself: the link count decides.
  if (path.ends_with(kDeleted) && ::fstat(fd, &st) == 0 && st.st_nlink == 0) {
    errno = ENOENT;
    return std::nullopt;
  }
  return path;
}

// The name under which `child` stands in `parent`.
std::optional<std::string> NameIn(int parent, int child) {
  struct stat wanted;
  if (::fstat(child, &wanted) != 0) return std::nullopt;
  const int fd = ::openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  DIR* entries = ::fdopendir(fd);
  if (!entries) {
    ::close(fd);
    return std::nullopt;
  }
  std::optional<std::string> name;
  while (const dirent* entry = ::readdir(entries)) {
    if (entry->d_ino != wanted.st_ino || std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0) continue;
    name = entry->d_name;
    break;
  }
  ::closedir(entries);
  return name;
}

}  // namespace

std::string KeyOf(int fd) {
  struct statfs fs;
  if (::fstatfs(fd, &fs) != 0) throw Error::System("fstatfs");
  HandleBuffer buffer;
  buffer.head.handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  if (::name_to_handle_at(fd, "", &buffer.head, &mount_id, AT_EMPTY_PATH) != 0) throw Error::System("name_to_handle_at");
  std::string key(reinterpret_cast<const char*>(&fs.f_fsid), kFsidBytes);
  key.append(reinterpret_cast<const char*>(&buffer), sizeof buffer.head + buffer.head.handle_bytes);
  return key;
}

void Directories::AddFilesystem(std::string_view fsid, UniqueFd directory) { filesystems_.insert_or_assign(std::string(fsid), std::move(directory)); }

void Directories::RemoveFilesystem(std::string_view fsid) {
  filesystems_.erase(std::string(fsid));
  Clear();
}

int Directories::FilesystemFd(HandleKey key) const {
  const auto found = filesystems_.find(key.substr(0, kFsidBytes));
  return found == filesystems_.end() ? -1 : found->second.get();
}

UniqueFd Directories::Open(HandleKey key, int flags) const {
  const int mount = FilesystemFd(key);
  if (mount < 0 || key.size() > kFsidBytes + sizeof(HandleBuffer)) return UniqueFd();
  HandleBuffer handle;
  std::memcpy(&handle, key.data() + kFsidBytes, key.size() - kFsidBytes);
  // ENOMEM is also what the kernel says while the number of a removed inode is being given to a new one.
  for (int attempt = 1;; attempt++) {
    UniqueFd fd(::open_by_handle_at(mount, &handle.head, flags | O_CLOEXEC));
    if (fd || errno != ENOMEM || attempt == kAttempts) return fd;
    ::usleep(kRetryUs);
  }
}

std::shared_ptr<const Place> Directories::Find(HandleKey key) {
  if (const auto found = young_.find(key); found != young_.end()) return found->second;
  if (const auto found = old_.find(key); found != old_.end()) {
    auto place = found->second;
    young_.emplace(std::string(key), place);
    return place;
  }
  if (FilesystemFd(key) < 0) return nullptr;
  const UniqueFd fd = Open(key, O_PATH | O_DIRECTORY);
  if (!fd) {
    if (errno == ESTALE || errno == ENOENT) return nullptr;
    throw Error::System("open_by_handle_at");
  }
  auto path = PathOf(fd.get());
  if (!path) return nullptr;
  auto matches = roots_.Find(*path);
  static const auto elsewhere = std::make_shared<const Place>();
  return Remember(key, matches.empty() ? elsewhere : std::make_shared<const Place>(Place{std::move(*path), std::move(matches)}));
}

std::shared_ptr<const Place> Directories::Remember(HandleKey key, std::shared_ptr<const Place> place) {
  if (young_.size() >= kGenerationEntries) {
    old_ = std::move(young_);
    young_ = {};
  }
  young_.insert_or_assign(std::string(key), place);
  return place;
}

std::optional<std::string> Directories::PathOf(int fd) {
  auto path = ReadPath(fd);
  if (path || errno == ENOENT) return path;
  if (errno == ENAMETOOLONG) return Climb(fd);
  throw Error::System("readlink");
}

// Collects names upwards until the kernel can tell the rest, or an ancestor is remembered.
std::optional<std::string> Directories::Climb(int fd) {
  std::string below;
  UniqueFd held;
  for (int child = fd; below.size() < kMaxPathBytes;) {
    UniqueFd parent(::openat(child, "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!parent) throw Error::System("openat");
    const auto name = NameIn(parent.get(), child);
    if (!name) return std::nullopt;  // removed or renamed this moment: another event tells of it
    below.insert(0, "/" + *name);
    held = std::move(parent);
    child = held.get();
    const std::string key = KeyOf(child);
    for (const Map* map : {&young_, &old_}) {
      if (const auto found = map->find(key); found != map->end() && !found->second->path.empty()) return found->second->path + below;
    }
    if (const auto path = ReadPath(child)) return (*path == "/" ? "" : *path) + below;
    if (errno == ENOENT) return std::nullopt;
    if (errno != ENAMETOOLONG) throw Error::System("readlink");
  }
  throw Error("ENAMETOOLONG", "a directory deeper than 64 KiB");
}

void Directories::Clear() {
  young_.clear();
  old_.clear();
}

}  // namespace hullmark::fanotify
