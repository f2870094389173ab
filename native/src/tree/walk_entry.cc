// Measuring one entry: what it is, and what a regular file holds.
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "tree/walk.h"

namespace hullmark::tree {

namespace {

// How often a file that changes while it is read is read again, and an entry that changes its type is looked at again.
constexpr int kMaxAttempts = 4;

// Writes dirty pages back, which also write-protects mappings: a later store through one then faults and moves ctime. Unlike fsync this
// forces no journal commit, and so costs the workload little.
void WriteBack(int fd) {
  if (::sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) != 0) ::fsync(fd);
}

}  // namespace

bool Walk::IsRacy(const Stat& st) const {
  struct timespec now;
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return CtimeNs(st) >= now.tv_sec * 1'000'000'000 + now.tv_nsec - racy_ns_;
}

bool Walk::IsExcluded(const DirectoryRef& parent, std::string_view name, const Metadata& metadata) const {
  if (settings_.excluded.empty() || !IsHarmless(metadata, true)) return false;
  const std::string path = parent->PathOf(name);
  for (const Exclusion& exclusion : settings_.excluded) {
    if (exclusion.glob.Matches(path) && IsHarmless(metadata, exclusion.executables)) return true;
  }
  return false;
}

void Walk::Vanished(Worker& worker, uint32_t existing) {
  if (existing != Store::kNone && existing != Store::kRoot) worker.removed.push_back(existing);
}

void Walk::EntryFailed(Worker& worker, const DirectoryRef& parent, const std::string& name, uint32_t existing, const char* syscall, int errnum) {
  const auto claim = [&](ClaimReason reason) {
    Vanished(worker, existing);
    AddClaim(worker, parent->PathOf(name), reason);
  };
  switch (errnum) {
    case ENOENT:
    case ESTALE: return Vanished(worker, existing);
    case EXDEV: return claim(ClaimReason::kMountPoint);
    case EACCES:
    case EPERM: return claim(ClaimReason::kPermission);
    case EAGAIN: return claim(ClaimReason::kUnstable);
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSYS:
    case EBADF:
    case EFAULT: throw Error::System(syscall, errnum);
    default: return claim(ClaimReason::kIoError);
  }
}

Found& Walk::Emit(Worker& worker, const DirectoryRef& parent, const std::string& name, uint32_t existing, Record record, const Stat& st, uint8_t flags) {
  CountMetadata(name.size() + record.tail.size());
  Found& found = worker.found.emplace_back();
  found.existing = existing;
  found.parent_entry = parent->entry;
  found.parent_found = parent->found;
  found.name = name;
  found.record = std::move(record);
  found.cache = CacheKeyOf(st, settings_.interpretation);
  found.flags = flags;
  if (st.stx_nlink > 1 && found.record.type != 'd') found.flags |= kHardLinked;
  found.device = makedev(st.stx_dev_major, st.stx_dev_minor);
  return found;
}

// The next file to hash for this worker, working off whatever else is queued on the way.
std::optional<Content> Walk::NextContent(Worker& worker) {
  while (!Halted()) {
    if (worker.next_file < worker.files.jobs.size()) {
      std::optional<Content> content = Inspect(worker, worker.files.parent, worker.files.jobs[worker.next_file++]);
      if (content) return content;
      continue;
    }
    worker.files_fd.reset();
    worker.files = {};
    Item item;
    if (!Pop(item)) break;
    if (item.jobs.empty()) {
      ListDirectory(worker, item);
    } else {
      worker.files = std::move(item);
      worker.next_file = 0;
    }
  }
  return std::nullopt;
}

std::optional<Content> Walk::Inspect(Worker& worker, const DirectoryRef& parent, EntryJob& job) {
  std::shared_ptr<UniqueFd> directory = parent->fd ? parent->fd : worker.files_fd;
  if (!directory) {
    UniqueFd opened = opener_.Directory(parent->path);
    if (!opened) {
      // The parent is gone or became something else; whoever lists its parent says so.
      if (errno == ENOTDIR || errno == ELOOP) errno = ENOENT;
      EntryFailed(worker, parent, job.name, job.existing, "openat2", errno);
      return std::nullopt;
    }
    directory = std::make_shared<UniqueFd>(std::move(opened));
    if (parent == worker.files.parent) worker.files_fd = directory;
  }
  UniqueFd fd = opener_.Entry(directory->get(), job.name.c_str());
  Stat st;
  const int errnum = fd ? StatOf(fd.get(), "", &st) : errno;
  if (errnum != 0) {
    EntryFailed(worker, parent, job.name, job.existing, "openat2", errnum);
    return std::nullopt;
  }
  if ((st.stx_mode & S_IFMT) == S_IFDIR) {
    if (job.attempts < kMaxAttempts) {
      Push({.parent = parent, .name = job.name, .existing = job.existing, .attempts = static_cast<uint8_t>(job.attempts + 1)});
    } else {
      EntryFailed(worker, parent, job.name, job.existing, "openat2", EAGAIN);
    }
    return std::nullopt;
  }
  try {
    const bool racy = IsRacy(st);
    Metadata metadata = ReadMetadata(fd.get(), st, settings_.interpretation);
    if (metadata.record.type == 'f') return PrepareFile(worker, parent, job, std::move(fd), st, std::move(metadata));
    const uint8_t excluded = IsExcluded(parent, job.name, metadata) ? kExcluded : 0;
    Emit(worker, parent, job.name, job.existing, std::move(metadata.record), st, (racy ? kRacy : 0) | excluded);
  } catch (const Error& error) {
    if (error.errnum == 0) throw;
    EntryFailed(worker, parent, job.name, job.existing, error.syscall.c_str(), error.errnum);
  }
  return std::nullopt;
}

// Decides whether a regular file's content is read. On the way: mutable files, files over the limit, unreadable files.
std::optional<Content> Walk::PrepareFile(Worker& worker, const DirectoryRef& parent, EntryJob& job, UniqueFd path_fd, const Stat& st, Metadata metadata) {
  const auto without_content = [&](uint8_t flags) { Emit(worker, parent, job.name, job.existing, std::move(metadata.record), st, flags); };
  if (IsExcluded(parent, job.name, metadata)) {
    without_content(kExcluded | (IsRacy(st) ? kRacy : 0));
    return std::nullopt;
  }
  // Entries with a claim are marked racy so that each rescan looks at them, and claims, again.
  if (st.stx_size > settings_.budget.max_file_bytes) {
    AddClaim(worker, parent->PathOf(job.name), ClaimReason::kFileTooLarge);
    without_content(kRacy);
    return std::nullopt;
  }
  UniqueFd fd = opener_.Reopen(path_fd.get(), job.read_again);
  if (!fd) {
    switch (errno) {
      case EMFILE:
      case ENFILE:
      case ENOMEM: throw Error::System("open");
      case EACCES:
      case EPERM: AddClaim(worker, parent->PathOf(job.name), ClaimReason::kPermission); break;
      case EAGAIN: AddClaim(worker, parent->PathOf(job.name), ClaimReason::kUnstable); break;  // someone holds a lease
      default: AddClaim(worker, parent->PathOf(job.name), ClaimReason::kIoError);
    }
    without_content(kRacy);
    return std::nullopt;
  }
  if (reserved_bytes_.fetch_add(st.stx_size) + st.stx_size > settings_.budget.max_bytes) {
    Exceed(Unmeasurable::kBytes);
    return std::nullopt;
  }
  Stat before = st;
  if (settings_.sync_before_hash) {
    WriteBack(fd.get());
    const int errnum = StatOf(fd.get(), "", &before);
    if (errnum != 0) throw Error::System("statx", errnum);
    metadata.record.size = before.stx_size;
  }
  auto pending = std::make_unique<Pending>(Pending{parent, std::move(job), std::move(metadata), std::move(fd), before, IsRacy(before)});
  Content content{.fd = pending->fd.get(), .size = before.stx_size, .uncached = pending->job.read_again, .tag = nullptr};
  content.tag = pending.get();
  worker.pending.push_back(std::move(pending));
  return content;
}

bool Walk::ContentDone(Worker& worker, Content& content, const Hashed& hashed) {
  Pending& pending = *static_cast<Pending*>(content.tag);
  Stat after;
  const int errnum = hashed.errnum != 0 ? hashed.errnum : StatOf(content.fd, "", &after);
  const bool stable = errnum == 0 && SameContentStamp(pending.before, after) && hashed.bytes == content.size;
  worker.hashed_bytes += hashed.bytes;
  if (errnum == 0 && !stable && ++pending.attempts < kMaxAttempts) {
    // Metadata may have changed with the content: all is read again, in the order statx, xattrs, content, statx.
    if (settings_.sync_before_hash) WriteBack(content.fd);
    if (StatOf(content.fd, "", &pending.before) == 0 && pending.before.stx_size <= settings_.budget.max_file_bytes) {
      pending.racy = true;
      pending.metadata = ReadMetadata(content.fd, pending.before, settings_.interpretation);
      content.size = pending.before.stx_size;
      if (reserved_bytes_.fetch_add(content.size) + content.size <= settings_.budget.max_bytes) return true;
      Exceed(Unmeasurable::kBytes);
    }
  }
  Record& record = pending.metadata.record;
  uint8_t flags = pending.racy ? kRacy : 0;
  if (errnum != 0) {
    AddClaim(worker, pending.parent->PathOf(pending.job.name), ClaimReason::kIoError);
    flags |= kRacy;
  } else {
    record.content = hashed.digest;
    record.size = hashed.bytes;
    if (!stable) {
      AddClaim(worker, pending.parent->PathOf(pending.job.name), ClaimReason::kUnstable);
      flags |= kRacy;
    }
  }
  worker.hashed_files++;
  Emit(worker, pending.parent, pending.job.name, pending.job.existing, std::move(record), pending.before, flags);
  std::erase_if(worker.pending, [&](const auto& held) { return held.get() == &pending; });
  return false;
}

}  // namespace hullmark::tree
