#include "process/signatures.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <type_traits>

namespace hullmark::process {

namespace {

constexpr size_t kMaxMapsBytes = 1 << 20;
constexpr size_t kMaxMountsBytes = 256 * 1024;
constexpr size_t kMaxFiles = 512;
constexpr size_t kMaxContainerFiles = 16384;
// The workload decides how many processes there are, and how long the paths of their files. Beyond it everything is forgotten, and read again.
constexpr size_t kMaxKnown = 16384;
constexpr size_t kMaxKnownBytes = 4 * 1024 * 1024;
constexpr std::string_view kDeleted = " (deleted)";

template <typename T>
void Append(tree::Sha256& to, T value) {
  static_assert(std::is_integral_v<T>);
  to.Update(&value, sizeof value);
}

void Append(tree::Sha256& to, std::string_view text) {
  Append(to, text.size());
  to.Update(text);
}

void Append(tree::Sha256& to, const struct stat& st) {
  Append(to, st.st_dev);
  Append(to, st.st_ino);
  Append(to, st.st_mode & S_IFMT);
}

// Beside which file it is what it holds: a file that is mapped can be written over.
void AppendContent(tree::Sha256& to, const struct stat& st) {
  Append(to, st);
  Append(to, st.st_size);
  for (const timespec& time : {st.st_mtim, st.st_ctim}) {
    Append(to, time.tv_sec);
    Append(to, time.tv_nsec);
  }
}

// What a path shows now, all zero where it shows nothing. False: only its file system could tell, and may never answer.
bool StatCached(int directory, const char* path, struct stat* st) {
  struct open_how how = {};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_CACHED;
  *st = {};
  const UniqueFd file(static_cast<int>(::syscall(SYS_openat2, directory, path, &how, sizeof how)));
  if (file) {
    if (!StatKnown(file.get(), "", st)) *st = {};
    return true;
  }
  if (errno == EAGAIN) return false;
  // Before Linux 5.12, or kept from it by a seccomp filter: nothing asks the cache alone.
  if ((errno == EINVAL || errno == ENOSYS || errno == EPERM) && ::fstatat(directory, path, st, 0) != 0) *st = {};
  return true;
}

// The part of a line of maps that names the file: `major:minor inode path`. Empty: not an executable mapping of a file.
std::string_view FileOf(std::string_view line) {
  const size_t space = line.find(' ');
  if (space == std::string_view::npos || line.size() < space + 6 || line[space + 3] != 'x') return {};
  const size_t offset = line.find(' ', space + 6);
  if (offset == std::string_view::npos) return {};
  const std::string_view file = line.substr(offset + 1);
  const size_t inode = file.find(' ');
  if (inode == std::string_view::npos || file.substr(inode + 1).starts_with("0 ")) return {};
  return file.find('/') == std::string_view::npos ? std::string_view() : file;
}

// Relative: the leading slash would leave the container's root.
std::string Relative(std::string_view path) { return std::string(path.substr(std::min(path.find_first_not_of('/'), path.size()))); }

}  // namespace

Signatures::Signatures() : buffer_(new char[kMaxMapsBytes]) {}

Upper::Upper(const std::string& path) : directory_(path.empty() ? -1 : ::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
  if (directory_) opener_.emplace(directory_.get());
}

struct stat Upper::At(const char* path) const {
  struct stat st = {};
  if (!opener_) return st;
  const UniqueFd file = opener_->Entry(directory_.get(), path);
  if (!file) st.st_mode = errno == ELOOP || errno == EXDEV || errno == EAGAIN ? S_IFLNK : 0;
  else if (::fstat(file.get(), &st) != 0) st = {};
  return st;
}

Signatures::View::View(pid_t pid, const std::string& upper_path) : upper(upper_path), has_upper(!upper_path.empty()) {
  const ProcessDir dir(pid);
  if (dir) root.reset(::openat(dir.fd(), "root", O_PATH | O_DIRECTORY | O_CLOEXEC));
}

std::optional<tree::Digest> Signatures::OfProcess(pid_t pid, pid_t view, const std::string& upper) {
  tree::Sha256 signature;
  if (!Append(signature, pid, View(view, upper))) return std::nullopt;
  return signature.Finish();
}

std::optional<tree::Digest> Signatures::OfContainer(const Subject& subject) {
  const ProcessDir main(subject.pid);
  const auto mounts = main ? Read(main.fd(), "mountinfo", kMaxMountsBytes) : std::nullopt;
  if (!mounts || mounts->empty()) return std::nullopt;
  tree::Sha256 signature;
  process::Append(signature, *mounts);
  for (const SmallFile& file : subject.files)
    if (!AppendFile(signature, file)) return std::nullopt;
  const View view(subject.pid, subject.upper);
  size_t files = 0;
  for (const pid_t pid : subject.pids) {
    process::Append(signature, pid);
    if (!Append(signature, pid, view)) return std::nullopt;
    files += known_.at(pid).paths.size();
    if (files > kMaxContainerFiles) return std::nullopt;
  }
  return signature.Finish();
}

bool Signatures::Append(tree::Sha256& to, pid_t pid, const View& view) {
  const Known* known = Current(pid);
  if (!known) return false;
  to.Update(known->own.data(), known->own.size());
  for (const std::string& path : known->paths) {
    struct stat st;
    if (!StatCached(view.root.get(), path.c_str(), &st)) return false;
    AppendContent(to, st);
    if (view.has_upper) process::Append(to, view.upper.At(path.c_str()));
  }
  return true;
}

const Signatures::Known* Signatures::Current(pid_t pid) {
  struct stat st;
  if (!StatProcess(pid, &st)) return nullptr;
  // Before anything else is read: who runs meanwhile is read again the next time.
  const int64_t ran_ns = clock_.Of(pid);
  const auto found = known_.find(pid);
  if (found != known_.end()) {
    if (ran_ns >= 0 && found->second.inode == st.st_ino && found->second.ran_ns == ran_ns) return &found->second;
    known_bytes_ -= found->second.bytes;
    known_.erase(found);
  }
  Known known{.inode = st.st_ino, .ran_ns = ran_ns};
  const ProcessDir dir(pid);
  if (!dir || ::fstat(dir.fd(), &st) != 0 || st.st_ino != known.inode || !ReadOwn(dir, known)) return nullptr;
  if (known_.size() >= kMaxKnown || known_bytes_ + known.bytes > kMaxKnownBytes) {
    known_.clear();
    known_bytes_ = 0;
  }
  known_bytes_ += known.bytes;
  return &known_.insert_or_assign(pid, std::move(known)).first->second;
}

bool Signatures::ReadOwn(const ProcessDir& dir, Known& known) {
  const auto stat = dir.ReadStat();
  if (!stat) return false;
  tree::Sha256 own;
  process::Append(own, stat->start_ticks);
  struct stat st {};
  if (!StatKnown(dir.fd(), "exe", &st)) st = {};
  process::Append(own, st);
  if (!AppendCapabilities(own, dir)) return false;
  const std::string program = dir.Link("exe").value_or("");
  process::Append(own, std::string_view(program));
  const auto add = [&known](std::string_view path) {
    if (path.empty() || path.ends_with(kDeleted)) return;
    known.paths.push_back(Relative(path));
    known.bytes += sizeof(std::string) + path.size();
  };
  const auto maps = Read(dir.fd(), "maps", kMaxMapsBytes);
  if (!maps || maps->size() >= kMaxMapsBytes) return false;
  if (maps->empty() && dir.Leaderless()) return false;
  size_t files = 0;
  std::string_view last;
  for (std::string_view text = *maps; !text.empty();) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view file = FileOf(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (file.empty() || file == last) continue;
    last = file;
    if (++files > kMaxFiles) return false;
    process::Append(own, file);
    add(file.substr(file.find('/')));
  }
  // A program that unmapped its own file is known by its name all the same, which others can take from it.
  if (program.starts_with('/') && std::find(known.paths.begin(), known.paths.end(), Relative(program)) == known.paths.end()) add(program);
  known.own = own.Finish();
  known.bytes += sizeof known;
  return true;
}

// Every set of them, and the user namespace that they are over.
bool Signatures::AppendCapabilities(tree::Sha256& to, const ProcessDir& dir) {
  struct stat st {};
  if (::fstatat(dir.fd(), "ns/user", &st, 0) != 0) st = {};
  process::Append(to, st);
  const auto status = Read(dir.fd(), "status", kMaxMapsBytes);
  if (!status) return false;
  const size_t begin = status->find("\nCapInh:");
  const size_t end = status->find("\nNoNewPrivs:");
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) return false;
  process::Append(to, status->substr(begin, end - begin));
  return true;
}

bool Signatures::AppendFile(tree::Sha256& to, const SmallFile& file) {
  const UniqueFd opened(::open(file.path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat st;
  if (!opened && errno == ENOENT) {
    process::Append(to, ~mode_t{0});
    return true;
  }
  // Whoever reads it finds out what is wrong with it.
  if (!opened || ::fstat(opened.get(), &st) != 0 || !S_ISREG(st.st_mode) || static_cast<uint64_t>(st.st_size) > file.max_bytes) return false;
  process::Append(to, st.st_mode);
  process::Append(to, st.st_size);
  // Of a regular file the system gives less than is asked for only where it ends.
  for (uint64_t left = static_cast<uint64_t>(st.st_size); left > 0;) {
    const size_t piece = std::min<uint64_t>(left, kMaxMapsBytes);
    const ssize_t got = ::read(opened.get(), buffer_.get(), piece);
    if (got != static_cast<ssize_t>(piece)) return false;
    to.Update(buffer_.get(), piece);
    left -= piece;
  }
  return true;
}

// Good until the next read.
std::optional<std::string_view> Signatures::Read(int directory, const char* name, size_t limit) {
  const UniqueFd file(::openat(directory, name, O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  for (size_t size = 0;;) {
    const ssize_t got = ::read(file.get(), buffer_.get() + size, limit - size);
    if (got < 0) return std::nullopt;
    if (got == 0) return std::string_view(buffer_.get(), size);
    size += static_cast<size_t>(got);
    if (size == limit) return std::nullopt;
  }
}

}  // namespace hullmark::process
