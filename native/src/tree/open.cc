#include "tree/open.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "support/error.h"

namespace hullmark::tree {

namespace {
// PATH_MAX counts the NUL; pieces stay below it.
constexpr size_t kPieceBytes = 4000;

uint64_t MountOf(int fd) {
  struct statx st;
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) != 0) return 0;
  // Kernels before 5.8 have no mount id: the device number then stands for it.
  return st.stx_mask & STATX_MNT_ID ? st.stx_mnt_id : (uint64_t{st.stx_dev_major} << 32 | st.stx_dev_minor);
}

UniqueFd OpenAt2(int parent, const char* path, int flags) {
  struct open_how how = {};
  how.flags = static_cast<uint64_t>(flags);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS;
  long fd;
  // EAGAIN: a rename anywhere raced with the check that the walk stayed beneath. Bounded retries, then the caller sees EAGAIN.
  for (int attempt = 0; attempt < 64; attempt++) {
    fd = ::syscall(SYS_openat2, parent, path, &how, sizeof how);
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
  }
  return UniqueFd(static_cast<int>(fd));
}
}  // namespace

Opener::Opener(int root) : root_(root), proc_(::open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC)) {
  struct statfs fs;
  if (!proc_ || ::fstatfs(proc_.get(), &fs) != 0) throw Error::System("open /proc/self/fd");
  if (fs.f_type != PROC_SUPER_MAGIC) throw Error("NO_PROCFS", "/proc is not a procfs");
  // A seccomp filter without openat2 answers EPERM or ENOSYS.
  UniqueFd probe = OpenAt2(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  has_openat2_ = static_cast<bool>(probe) || (errno != ENOSYS && errno != EPERM);
  root_mount_ = MountOf(root);
}

// Without openat2 (Linux before 5.6): one component at a time, O_NOFOLLOW, and the same mount each time. A path has no "..".
UniqueFd Opener::StepByStep(int parent, const char* path, int flags) const {
  std::string_view rest(path);
  UniqueFd held;
  while (true) {
    const size_t slash = rest.find('/');
    const std::string name(rest.substr(0, slash));
    const bool last = slash == std::string_view::npos;
    UniqueFd next(::openat(held ? held.get() : parent, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC | (last ? 0 : O_DIRECTORY)));
    if (!next) return next;
    if (MountOf(next.get()) != root_mount_) {
      errno = EXDEV;
      return UniqueFd();
    }
    held = std::move(next);
    if (last) break;
    rest = rest.substr(slash + 1);
  }
  if (flags & O_PATH) return held;
  struct stat st;
  if (::fstat(held.get(), &st) != 0) return UniqueFd();
  if (!S_ISDIR(st.st_mode)) {
    errno = S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR;
    return UniqueFd();
  }
  return UniqueFd(::openat(held.get(), ".", flags));
}

UniqueFd Opener::Beneath(int parent, const char* path, int flags) const {
  return has_openat2_ ? OpenAt2(parent, path, flags) : StepByStep(parent, path, flags);
}

UniqueFd Opener::Subdirectory(int parent, const char* name) const {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  UniqueFd fd = Beneath(parent, name, kFlags | O_NOATIME);
  // O_NOATIME is for the owner or CAP_FOWNER.
  if (!fd && errno == EPERM) fd = Beneath(parent, name, kFlags);
  return fd;
}

UniqueFd Opener::Directory(std::string_view path) const {
  UniqueFd held;
  while (path.size() > kPieceBytes) {
    const size_t slash = path.rfind('/', kPieceBytes);
    const std::string piece(path.substr(0, slash));
    UniqueFd next = Beneath(held ? held.get() : root_, piece.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (!next) return next;
    held = std::move(next);
    path.remove_prefix(slash + 1);
  }
  return Subdirectory(held ? held.get() : root_, path.empty() ? "." : std::string(path).c_str());
}

UniqueFd Opener::Entry(int parent, const char* name) const { return Beneath(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC); }

UniqueFd Opener::Reopen(int path_fd, bool direct) const {
  char name[16];
  LinkName(path_fd, name);
  int flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOATIME | (direct ? O_DIRECT : 0);
  UniqueFd fd;
  for (int attempt = 0; attempt < 3; attempt++) {
    fd.reset(::openat(proc_.get(), name, flags));
    if (fd) return fd;
    if (errno == EPERM && (flags & O_NOATIME)) {
      flags &= ~O_NOATIME;
    } else if (errno == EINVAL && (flags & O_DIRECT)) {
      flags &= ~O_DIRECT;
    } else {
      break;
    }
  }
  return fd;
}

const char* Opener::LinkName(int fd, char* buffer) {
  std::snprintf(buffer, 16, "%d", fd);
  return buffer;
}

}  // namespace hullmark::tree
