// Listing one directory: what is new, what may have changed, what is gone.
#include <dirent.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "tree/walk.h"

namespace hullmark::tree {

namespace {
constexpr size_t kDentBytes = 32 * 1024;
// Entries handed to a worker at a time.
constexpr size_t kBatch = 16;
// A directory that changes while it is listed is listed again so often.
constexpr int kMaxListings = 3;
constexpr int kMaxAttempts = 4;

struct LinuxDirent64 {
  uint64_t d_ino;
  int64_t d_off;
  unsigned short d_reclen;
  unsigned char d_type;
  char d_name[];
};
}  // namespace

// All names of a directory but "." and "..". False when the walk is halted.
bool Walk::GatherNames(Worker& worker, int fd, const std::string& path, std::vector<Name>& names) {
  alignas(LinuxDirent64) char buffer[kDentBytes];
  names.clear();
  if (::lseek(fd, 0, SEEK_SET) < 0) throw Error::System("lseek");
  while (!Halted()) {
    const long got = ::syscall(SYS_getdents64, fd, buffer, sizeof buffer);
    if (got == 0) return true;
    if (got < 0) {
      if (errno == ENOENT) return true;  // removed while open: it is empty
      if (errno != EIO && errno != EUCLEAN && errno != EBADMSG) throw Error::System("getdents64");
      AddClaim(worker, path, ClaimReason::kIoError);
      return true;
    }
    for (long at = 0; at < got;) {
      const auto* dirent = reinterpret_cast<const LinuxDirent64*>(buffer + at);
      at += dirent->d_reclen;
      const std::string_view name(dirent->d_name);
      if (name == "." || name == "..") continue;
      if (names.size() >= settings_.budget.max_entries) {
        Exceed(Unmeasurable::kEntries);
        return false;
      }
      names.push_back({std::string(name), dirent->d_ino, dirent->d_type});
    }
  }
  return false;
}

void Walk::ListDirectory(Worker& worker, Item& item) {
  const bool is_root = !item.parent;
  const std::string path = is_root ? std::string() : item.parent->PathOf(item.name);
  if (path.size() > kMaxPathBytes) return AddClaim(worker, path.substr(0, 4096), ClaimReason::kPathTooLong);
  UniqueFd fd = item.parent && item.parent->fd ? opener_.Subdirectory(item.parent->fd->get(), item.name.c_str()) : opener_.Directory(path);
  Stat before;
  const int errnum = fd ? StatOf(fd.get(), "", &before) : errno;
  if (errnum != 0) {
    if (is_root) throw Error::System("openat2", errnum);
    if (errnum != ENOTDIR && errnum != ELOOP) return EntryFailed(worker, item.parent, item.name, item.existing, "openat2", errnum);
    // No directory any more: measured as whatever it is now.
    EntryJob job{.name = item.name, .existing = item.existing, .attempts = static_cast<uint8_t>(item.attempts + 1)};
    if (job.attempts > kMaxAttempts) return EntryFailed(worker, item.parent, item.name, item.existing, "openat2", EAGAIN);
    return AddEntries(item.parent, {std::move(job)});
  }
  const Store::Entry* known = item.existing != Store::kNone ? &store_.at(item.existing) : nullptr;
  const bool same = known && !is_root && IsUnchanged(*known, before, settings_.interpretation);
  auto directory = std::make_shared<Directory>(Directory{.path = path, .entry = item.existing});
  if (!is_root && !(same && trust_cache_)) {
    try {
      Metadata metadata = ReadMetadata(fd.get(), before, settings_.interpretation);
      const uint8_t flags = (IsExcluded(item.parent, item.name, metadata) ? kExcluded : 0) | (IsRacy(before) ? kRacy : 0);
      directory->found = &Emit(worker, item.parent, item.name, item.existing, std::move(metadata.record), before, flags);
    } catch (const Error& error) {
      if (error.errnum == 0) throw;
      return EntryFailed(worker, item.parent, item.name, item.existing, error.syscall.c_str(), error.errnum);
    }
  }
  std::vector<Name> names;
  Stat after = before;
  for (int listing = 0; listing < kMaxListings; listing++) {
    if (!GatherNames(worker, fd.get(), path, names)) return;
    const Stat start = after;
    if (StatOf(fd.get(), "", &after) == 0 && SameContentStamp(start, after)) break;
  }
  const int raw = fd.get();
  directory->fd = Share(fd);
  VisitNames(worker, directory, raw, names);
}

// Whether a known entry needs no further look. Sets `vanished` when it is gone.
bool Walk::Unchanged(Worker& worker, int fd, const Name& name, EntryJob& job, bool& vanished) {
  if (job.existing == Store::kNone || !trust_cache_) return false;
  Stat st;
  const int errnum = StatOf(fd, name.name.c_str(), &st);
  vanished = errnum == ENOENT;
  if (errnum != 0 || (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) || !IsUnchanged(store_.at(job.existing), st, settings_.interpretation)) return false;
  if (read_again_share_ <= 0 || store_.at(job.existing).type != 'f') return true;
  job.read_again = std::generate_canonical<double, 32>(worker.random) < read_again_share_;
  return !job.read_again;
}

void Walk::VisitNames(Worker& worker, const DirectoryRef& directory, int fd, std::vector<Name>& names) {
  const uint64_t count = entries_.fetch_add(names.size()) + names.size();
  if (count > settings_.budget.max_entries) return Exceed(Unmeasurable::kEntries);
  // In order of inode numbers, a cold disk is read more nearly in sequence.
  std::sort(names.begin(), names.end(), [](const Name& a, const Name& b) { return a.ino < b.ino; });
  std::vector<EntryJob> batch;
  for (const Name& name : names) {
    if (Halted()) return;
    EntryJob job{.name = name.name, .ino = name.ino};
    if (directory->entry != Store::kNone) job.existing = store_.Child(directory->entry, name.name);
    if (job.existing != Store::kNone) seen_[job.existing] = 1;
    if (directory->path.size() + 1 + name.name.size() > kMaxPathBytes) {
      AddClaim(worker, directory->PathOf(name.name).substr(0, 4096), ClaimReason::kPathTooLong);
      continue;
    }
    if (name.d_type == DT_DIR) {
      Push({.parent = directory, .name = name.name, .existing = job.existing});
      continue;
    }
    bool vanished = false;
    if (Unchanged(worker, fd, name, job, vanished)) continue;
    if (vanished) {
      Vanished(worker, job.existing);
      continue;
    }
    batch.push_back(std::move(job));
    if (batch.size() == kBatch) {
      AddEntries(directory, std::move(batch));
      batch.clear();
    }
  }
  if (!batch.empty()) AddEntries(directory, std::move(batch));
  if (directory->entry == Store::kNone) return;
  for (uint32_t child = store_.at(directory->entry).first_child; child != Store::kNone; child = store_.at(child).next) {
    if (!seen_[child]) worker.removed.push_back(child);
  }
}

}  // namespace hullmark::tree
