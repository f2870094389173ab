#include "process/scan.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "process/procfs.h"
#include "support/error.h"

namespace hullmark::process {

namespace {

// Inode number; 0: it cannot be read.
uint64_t MountNamespace(const ProcessDir& process) {
  struct stat st {};
  return process && ::fstatat(process.fd(), "ns/mnt", &st, 0) == 0 ? st.st_ino : 0;
}

}  // namespace

pid_t LivingThread(pid_t pid) {
  const ProcessDir process(pid);
  if (!process || !process.Leaderless()) return 0;
  DIR* tasks = ::fdopendir(::openat(process.fd(), "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!tasks) return 0;
  pid_t living = 0;
  while (const dirent* entry = living ? nullptr : ::readdir(tasks)) {
    pid_t thread = 0;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, thread).ptr == end && MountNamespace(ProcessDir(thread)) != 0) living = thread;
  }
  ::closedir(tasks);
  return living;
}

std::string ContainerOf(pid_t pid) {
  const NodeCgroups view;
  const ProcessDir dir(pid);
  return ParseCgroup((dir ? dir.Read("cgroup", kMaxCgroupBytes) : std::nullopt).value_or("")).container;
}

const std::vector<Listed>& Processes::List() {
  DIR* proc = ::opendir("/proc");
  if (!proc) throw Error::System("opendir");
  std::vector<pid_t> pids;
  while (const dirent* entry = ::readdir(proc)) {
    pid_t pid = 0;
    const char* end = entry->d_name + std::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, pid).ptr == end && pid > 0) pids.push_back(pid);
  }
  ::closedir(proc);
  std::sort(pids.begin(), pids.end());
  const NodeCgroups view;
  const std::array<uint64_t, 2> own = {MountNamespace(ProcessDir(::getpid())), MountNamespace(ProcessDir(1))};
  round_++;
  std::vector<Listed> list;
  for (const pid_t pid : pids) {
    struct stat st;
    if (!StatProcess(pid, &st)) continue;
    // Before anything else is read: who runs meanwhile is read again the next time.
    const int64_t ran_ns = clock_.Of(pid);
    Known& known = known_[pid];
    if (ran_ns < 0 || known.inode != st.st_ino || known.ran_ns != ran_ns) {
      known = {.inode = st.st_ino, .ran_ns = ran_ns};
      Read(pid, known);
    }
    known.round = round_;
    const Listed& listed = known.listed;
    const bool elsewhere = listed.mount_namespace != 0 && std::find(own.begin(), own.end(), listed.mount_namespace) == own.end();
    if (elsewhere || !listed.container.empty()) list.push_back(listed);
  }
  std::erase_if(known_, [this](const auto& each) { return each.second.round != round_; });
  same_ = list == list_;
  list_ = std::move(list);
  return list_;
}

void Processes::Read(pid_t pid, Known& known) const {
  known.listed = {.pid = pid};
  const ProcessDir first(pid);
  known.listed.mount_namespace = MountNamespace(first);
  const pid_t thread = known.listed.mount_namespace == 0 ? LivingThread(pid) : 0;
  const std::optional<ProcessDir> other = thread > 0 ? std::optional<ProcessDir>(thread) : std::nullopt;
  const ProcessDir& dir = other ? *other : first;
  if (other) known.listed.mount_namespace = MountNamespace(dir);
  const auto text = dir ? dir.Read("cgroup", kMaxCgroupBytes) : std::nullopt;
  // What could not be read this time may be the next.
  if (!text) known.ran_ns = -1;
  known.listed.container = ParseCgroup(text.value_or("")).container;
}

std::optional<std::string> RootOf(pid_t pid) {
  const ProcessDir dir(pid);
  if (!dir) return std::nullopt;
  struct stat st;
  if (StatKnown(dir.fd(), "root", &st)) return std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino);
  if (errno != ENOENT && errno != ESRCH) return "?";
  const pid_t thread = LivingThread(pid);
  return thread > 0 ? RootOf(thread) : std::nullopt;
}

}  // namespace hullmark::process
