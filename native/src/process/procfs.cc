#include "process/procfs.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <cstdio>
#include <vector>

namespace hullmark::process {

namespace {

constexpr std::string_view kDeleted = " (deleted)";
constexpr uint64_t kKernelThread = 0x00200000;  // PF_KTHREAD
constexpr uint64_t kExiting = 0x4;             // PF_EXITING
constexpr size_t kIdDigits = 64;
constexpr std::array<std::string_view, 6> kPrefixes = {"docker-", "cri-containerd-", "crio-", "libpod-", "containerd-", "nerdctl-"};
constexpr std::string_view kScope = ".scope";
// Of runc and crun, before the command, with a value of their own.
constexpr std::array<std::string_view, 6> kRuntimeOptions = {"--root", "--log", "--log-format", "--criu", "--rootless", "--cgroup-manager"};

constexpr unsigned kKnown = STATX_TYPE | STATX_INO | STATX_SIZE | STATX_MTIME | STATX_CTIME;

// The n-th field (from 0) of space-separated text.
template <typename T>
bool Field(std::string_view text, size_t n, T& value) {
  size_t at = 0;
  for (; n > 0; n--) {
    at = text.find(' ', at);
    if (at == std::string_view::npos) return false;
    at++;
  }
  return std::from_chars(text.data() + at, text.data() + text.size(), value).ec == std::errc();
}

bool IsId(std::string_view text) {
  return text.size() == kIdDigits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

bool StatKnown(int directory, const char* name, struct stat* st) {
  struct statx known;
  if (::statx(directory, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT | AT_EMPTY_PATH, kKnown, &known) != 0) return false;
  *st = {};
  st->st_dev = makedev(known.stx_dev_major, known.stx_dev_minor);
  st->st_ino = known.stx_ino;
  st->st_mode = known.stx_mode;
  st->st_size = static_cast<off_t>(known.stx_size);
  st->st_mtim = {.tv_sec = known.stx_mtime.tv_sec, .tv_nsec = known.stx_mtime.tv_nsec};
  st->st_ctim = {.tv_sec = known.stx_ctime.tv_sec, .tv_nsec = known.stx_ctime.tv_nsec};
  return true;
}

namespace {

struct ProcessPath {
  explicit ProcessPath(pid_t pid) { std::snprintf(text, sizeof text, "/proc/%d", pid); }
  char text[32];
};

}  // namespace

bool StatProcess(pid_t pid, struct stat* st) { return ::stat(ProcessPath(pid).text, st) == 0; }

ProcessDir::ProcessDir(pid_t pid) {
  fd_.reset(::open(ProcessPath(pid).text, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

std::optional<std::string> ProcessDir::Read(const char* name, size_t limit) const {
  UniqueFd file(::openat(fd_.get(), name, O_RDONLY | O_CLOEXEC));
  if (!file) return std::nullopt;
  std::string text;
  size_t chunk = 2048;
  while (text.size() < limit) {
    const size_t size = text.size();
    text.resize(size + std::min(chunk, limit - size));
    const ssize_t got = ::read(file.get(), text.data() + size, text.size() - size);
    if (got < 0) return std::nullopt;
    const bool end = got == 0;
    text.resize(size + static_cast<size_t>(got));
    if (end) break;
    chunk = 65536;
  }
  return text;
}

bool ProcessDir::Leaderless() const {
  struct stat st;
  const auto own = ReadStat();
  // Two links of the directory's own, and one a thread, the ended first one among them.
  return own && own->state == 'Z' && ::fstatat(fd_.get(), "task", &st, 0) == 0 && st.st_nlink > 3;
}

std::optional<std::string> ProcessDir::Link(const char* name) const {
  char target[PATH_MAX];
  const ssize_t size = ::readlinkat(fd_.get(), name, target, sizeof target);
  if (size < 0) return std::nullopt;
  return std::string(target, static_cast<size_t>(size));
}

std::optional<Stat> ProcessDir::ReadStat() const {
  const auto text = Read("stat", 1024);
  if (!text) return std::nullopt;
  // comm may hold anything, parentheses too: it ends at the last one.
  const size_t open = text->find('(');
  const size_t close = text->rfind(')');
  if (open == std::string::npos || close == std::string::npos || close < open || close + 2 >= text->size()) return std::nullopt;
  Stat stat;
  stat.comm = text->substr(open + 1, close - open - 1);
  const std::string_view rest = std::string_view(*text).substr(close + 2);
  stat.state = rest[0];
  uint64_t flags = 0;
  if (!Field(rest, 1, stat.ppid) || !Field(rest, 3, stat.session) || !Field(rest, 6, flags) || !Field(rest, 19, stat.start_ticks)) return std::nullopt;
  stat.kernel_thread = (flags & kKernelThread) != 0;
  stat.exiting = (flags & kExiting) != 0;
  return stat;
}

std::shared_ptr<const Executable> ProcessDir::ReadExecutable() const {
  auto path = Link("exe");
  struct stat st;
  if (!path || !StatKnown(fd_.get(), "exe", &st)) return nullptr;
  auto exe = std::make_shared<Executable>();
  // A name may end so by itself: the link count decides.
  if (path->ends_with(kDeleted)) {
    path->resize(path->size() - kDeleted.size());
    exe->deleted = true;
  }
  exe->path = std::move(*path);
  exe->dev = st.st_dev;
  exe->ino = st.st_ino;
  return exe;
}

std::optional<uid_t> ProcessDir::ReadUid() const {
  struct stat st;
  // The directory itself always belongs to the effective user, even where the process is not dumpable.
  if (::fstat(fd_.get(), &st) != 0) return std::nullopt;
  return st.st_uid;
}

std::optional<Snapshot> ReadSnapshot(pid_t pid) {
  const ProcessDir dir(pid);
  if (!dir) return std::nullopt;
  Snapshot snapshot;
  snapshot.exe = dir.ReadExecutable();  // first: it is what a process that is about to end loses first
  const auto text = dir.Read("cgroup", kMaxCgroupBytes);
  // After the cgroup: one that is not ending now was not when that was read.
  auto stat = dir.ReadStat();
  if (!stat) return std::nullopt;
  if (text && !stat->exiting) {
    auto [path, container] = ParseCgroup(*text);
    snapshot.cgroup = std::move(path);
    snapshot.container = std::move(container);
    snapshot.located = true;
  }
  snapshot.stat = std::move(*stat);
  snapshot.uid = dir.ReadUid();
  return snapshot;
}

NodeCgroups::NodeCgroups() {
  UniqueFd nodes(::open("/proc/1/ns/cgroup", O_RDONLY | O_CLOEXEC));
  // A process 1 with more rights may not be looked at; a kernel thread may, and is where process 1 was born.
  if (!nodes) nodes.reset(::open("/proc/2/ns/cgroup", O_RDONLY | O_CLOEXEC));
  UniqueFd own(::open("/proc/thread-self/ns/cgroup", O_RDONLY | O_CLOEXEC));
  struct stat there, here;
  if (!nodes || !own || ::fstat(nodes.get(), &there) != 0 || ::fstat(own.get(), &here) != 0 || there.st_ino == here.st_ino) return;
  if (::setns(nodes.get(), CLONE_NEWCGROUP) == 0) own_ = std::move(own);
}

NodeCgroups::~NodeCgroups() {
  if (own_) ::setns(own_.get(), CLONE_NEWCGROUP);
}

std::string ExecTarget(std::string_view cmdline) {
  std::vector<std::string_view> words;
  while (!cmdline.empty()) {
    const size_t end = std::min(cmdline.find('\0'), cmdline.size());
    words.push_back(cmdline.substr(0, end));
    cmdline.remove_prefix(std::min(end + 1, cmdline.size()));
  }
  size_t at = 1;
  // A value may be called as a command is.
  while (at < words.size() && words[at].starts_with('-')) at += std::ranges::find(kRuntimeOptions, words[at]) == kRuntimeOptions.end() ? 1 : 2;
  if (at >= words.size() || words[at] != "exec") return {};
  const auto begin = words.begin() + static_cast<ptrdiff_t>(at);
  // With a file for what is run there are no words of that, which anybody may choose.
  if (std::find(begin, words.end(), "--process") == words.end()) return {};
  return std::count_if(begin, words.end(), IsId) == 1 && IsId(words.back()) ? std::string(words.back()) : std::string();
}

bool ContainerComponent(std::string_view component, std::string_view& id) {
  if (component.ends_with(kScope)) component.remove_suffix(kScope.size());
  for (const std::string_view prefix : kPrefixes) {
    if (component.starts_with(prefix)) {
      component.remove_prefix(prefix.size());
      break;
    }
  }
  // containerd with the systemd driver writes `slice:prefix:id` where nobody set a cgroup path.
  if (const size_t colon = component.rfind(':'); colon != std::string_view::npos) component.remove_prefix(colon + 1);
  if (!IsId(component)) return false;
  id = component;
  return true;
}

CgroupId ParseCgroup(std::string_view text) {
  CgroupId found;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view path = line.substr(second + 1);
    for (size_t at = 0; at < path.size();) {
      const size_t slash = std::min(path.find('/', at), path.size());
      std::string_view id;
      if (ContainerComponent(path.substr(at, slash - at), id)) return {std::string(path), std::string(id)};
      at = slash + 1;
    }
    found.path = path;
  }
  return found;
}

}  // namespace hullmark::process
