#include "tree/inspect.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <string_view>

#include "support/error.h"
#include "tree/mix.h"

namespace hullmark::tree {

namespace {

// Measured xattrs; everything else (trusted.overlay.origin, security.selinux, user.*, ...) describes the host or is out of scope.
constexpr std::string_view kMeasured[] = {
    "security.capability",       "system.posix_acl_access",  "system.posix_acl_default",  "trusted.overlay.metacopy",
    "trusted.overlay.opaque",    "trusted.overlay.redirect", "trusted.overlay.whiteout",
};
constexpr std::string_view kOpaqueName = "trusted.overlay.opaque";
constexpr size_t kMaxXattrListBytes = 65536;
constexpr size_t kMaxXattrValueBytes = 65536;

uint32_t MapId(uint32_t host, const std::vector<IdRange>& ranges) {
  if (ranges.empty()) return host;
  for (const IdRange& range : ranges) {
    if (host >= range.host && host - range.host < range.count) return range.image + (host - range.host);
  }
  return kUnmappedId;
}

// An fd seen as a path below /proc/self/fd: the xattr calls take no O_PATH fd, and follow the magic link to the very inode.
class FdPath {
 public:
  explicit FdPath(int fd) { std::snprintf(path_, sizeof path_, "/proc/self/fd/%d", fd); }
  const char* c_str() const { return path_; }

 private:
  char path_[32];
};

// Calls `read(buffer, size)` with a growing buffer until the value fits. Returns false where the kernel knows no such value.
template <typename Read>
bool ReadGrowing(const char* syscall, size_t limit, std::string& value, Read read) {
  value.resize(256);
  while (true) {
    const ssize_t length = read(value.data(), value.size());
    if (length >= 0) {
      value.resize(static_cast<size_t>(length));
      return true;
    }
    if (errno == ENODATA || errno == EOPNOTSUPP) return false;
    if (errno != ERANGE || value.size() >= limit) throw Error::System(syscall);
    value.resize(std::min(limit, value.size() * 8));
  }
}

Xattrs ReadXattrs(int fd) {
  const FdPath path(fd);
  Xattrs found;
  std::string names;
  if (!ReadGrowing("listxattr", kMaxXattrListBytes, names, [&](char* at, size_t size) { return ::listxattr(path.c_str(), at, size); })) return found;
  std::string_view rest(names);
  while (!rest.empty()) {
    const std::string_view name = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
    if (!std::binary_search(std::begin(kMeasured), std::end(kMeasured), name)) continue;
    const std::string key(name);
    std::string value;
    if (ReadGrowing("getxattr", kMaxXattrValueBytes, value,
                    [&](char* at, size_t size) { return ::getxattr(path.c_str(), key.c_str(), at, size); })) {
      found.emplace_back(key, std::move(value));
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string ReadTarget(int fd) {
  std::string target(PATH_MAX, '\0');
  const ssize_t length = ::readlinkat(fd, "", target.data(), target.size());
  if (length < 0) throw Error::System("readlinkat");
  target.resize(static_cast<size_t>(length));
  return target;
}

}  // namespace

int StatOf(int fd, const char* name, Stat* st) {
  const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);
  return ::statx(fd, name, flags, STATX_BASIC_STATS | STATX_BTIME, st) == 0 ? 0 : errno;
}

char TypeOf(const Stat& st, bool overlay_layer) {
  switch (st.stx_mode & S_IFMT) {
    case S_IFREG: return 'f';
    case S_IFDIR: return 'd';
    case S_IFLNK: return 'l';
    case S_IFBLK: return 'b';
    case S_IFIFO: return 'p';
    case S_IFSOCK: return 's';
    default: return overlay_layer && st.stx_rdev_major == 0 && st.stx_rdev_minor == 0 ? 'w' : 'c';
  }
}

CacheKey CacheKeyOf(const Stat& st, const Interpretation& how) {
  uint64_t stamp = Mix(how.stamp_seed, uint64_t{st.stx_dev_major} << 32 | st.stx_dev_minor);
  stamp = Mix(stamp, static_cast<uint64_t>(st.stx_mtime.tv_sec) * 1'000'000'000 + st.stx_mtime.tv_nsec);
  if (st.stx_mask & STATX_BTIME) stamp = Mix(stamp, static_cast<uint64_t>(st.stx_btime.tv_sec) * 1'000'000'000 + st.stx_btime.tv_nsec);
  return {.ino = st.stx_ino, .ctime_ns = CtimeNs(st), .stamp = stamp};
}

bool SameContentStamp(const Stat& a, const Stat& b) {
  return a.stx_size == b.stx_size && CtimeNs(a) == CtimeNs(b) && a.stx_mtime.tv_sec == b.stx_mtime.tv_sec && a.stx_mtime.tv_nsec == b.stx_mtime.tv_nsec &&
         a.stx_mode == b.stx_mode && a.stx_uid == b.stx_uid && a.stx_gid == b.stx_gid;
}

bool IsUnchanged(const Store::Entry& entry, const Stat& st, const Interpretation& how) {
  if (entry.flags & kRacy) return false;
  const CacheKey key = CacheKeyOf(st, how);
  if (entry.cache.ino != key.ino || entry.cache.ctime_ns != key.ctime_ns || entry.cache.stamp != key.stamp) return false;
  const char type = TypeOf(st, how.overlay_layer);
  if (type != entry.type) return false;
  if (type == 'w') return true;  // its metadata are in no record
  if (type == 'f' && st.stx_size != entry.size) return false;
  const uint16_t mode = type == 'l' ? 0777 : st.stx_mode & 07777;
  return mode == entry.mode && MapId(st.stx_uid, how.uids) == entry.uid && MapId(st.stx_gid, how.gids) == entry.gid;
}

Metadata ReadMetadata(int fd, const Stat& st, const Interpretation& how) {
  Metadata metadata;
  Record& record = metadata.record;
  record.type = TypeOf(st, how.overlay_layer);
  if (record.type == 'w') return metadata;
  record.mode = record.type == 'l' ? 0777 : st.stx_mode & 07777;
  record.uid = MapId(st.stx_uid, how.uids);
  record.gid = MapId(st.stx_gid, how.gids);
  if (record.type == 'f') record.size = st.stx_size;
  Xattrs xattrs = ReadXattrs(fd);
  if (how.overlay_layer && record.type == 'd') {
    const auto opaque = std::find_if(xattrs.begin(), xattrs.end(), [](const auto& x) { return x.first == kOpaqueName && x.second == "y"; });
    if (opaque != xattrs.end()) {
      record.opaque = true;
      xattrs.erase(opaque);
    }
  }
  metadata.harmful_xattrs = std::any_of(xattrs.begin(), xattrs.end(), [](const auto& x) { return !x.first.starts_with("system."); });
  std::string body;
  if (record.type == 'l') {
    AppendBytes(body, ReadTarget(fd));
  } else if (record.type == 'c' || record.type == 'b') {
    AppendU32(body, st.stx_rdev_major);
    AppendU32(body, st.stx_rdev_minor);
  }
  record.tail = EncodeTail(body, xattrs);
  return metadata;
}

bool IsHarmless(const Metadata& metadata, bool executables) {
  if (metadata.harmful_xattrs) return false;
  switch (metadata.record.type) {
    case 'f': return (metadata.record.mode & (06000 | (executables ? 0 : 0111))) == 0;
    case 'c':
    case 'b': return false;
    // What they hide may be executable: who has the image's records judges that.
    case 'w': return executables;
    case 'd': return executables || !metadata.record.opaque;
    default: return true;
  }
}

}  // namespace hullmark::tree
