#include "process/scan.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <string_view>

#include "process/procfs.h"
#include "support/error.h"

namespace hullmark::process {

namespace {

constexpr size_t kMaxMapsBytes = 1 << 20;
constexpr size_t kMaxFiles = 512;
constexpr std::string_view kDeleted = " (deleted)";

void Append(std::string& signature, uint64_t value) { signature.append(reinterpret_cast<const char*>(&value), sizeof value); }

void AppendStat(std::string& signature, const struct stat& st) {
  Append(signature, st.st_dev);
  Append(signature, st.st_ino);
  Append(signature, st.st_mode & S_IFMT);
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

// Inode number; 0: it cannot be read.
uint64_t MountNamespace(const ProcessDir& process) {
  struct stat st {};
  return process && ::fstatat(process.fd(), "ns/mnt", &st, 0) == 0 ? st.st_ino : 0;
}

}  // namespace

std::vector<Listed> ListProcesses() {
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
  const std::array<uint64_t, 2> own = {MountNamespace(ProcessDir(::getpid())), MountNamespace(ProcessDir(1))};
  std::vector<Listed> list;
  for (const pid_t pid : pids) {
    const ProcessDir dir(pid);
    if (!dir) continue;
    Listed listed{.pid = pid, .mount_namespace = MountNamespace(dir)};
    if (const auto text = dir.Read("cgroup", kMaxCgroupBytes)) listed.container = ParseCgroup(*text).container;
    const bool elsewhere = listed.mount_namespace != 0 && std::find(own.begin(), own.end(), listed.mount_namespace) == own.end();
    if (elsewhere || !listed.container.empty()) list.push_back(std::move(listed));
  }
  return list;
}

std::optional<std::string> RootOf(pid_t pid) {
  const ProcessDir dir(pid);
  if (!dir) return std::nullopt;
  struct stat st;
  if (StatKnown(dir.fd(), "root", &st)) return std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino);
  if (errno == ENOENT || errno == ESRCH) return std::nullopt;
  return "?";
}

std::optional<tree::Digest> CodeSignature(pid_t pid, pid_t view, const std::string& upper) {
  const ProcessDir dir(pid);
  const auto maps = dir ? dir.Read("maps", kMaxMapsBytes) : std::nullopt;
  const auto stat = dir ? dir.ReadStat() : std::nullopt;
  if (!maps || !stat || maps->size() >= kMaxMapsBytes) return std::nullopt;
  const ProcessDir viewer(view);
  const UniqueFd root(viewer ? ::openat(viewer.fd(), "root", O_PATH | O_DIRECTORY | O_CLOEXEC) : -1);
  std::string signature;
  Append(signature, stat->start_ticks);
  struct stat st {};
  if (!StatKnown(dir.fd(), "exe", &st)) st = {};
  AppendStat(signature, st);
  signature.append(dir.Link("exe").value_or(""));
  size_t files = 0;
  std::string_view last;
  for (std::string_view text = *maps; !text.empty();) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view file = FileOf(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (file.empty() || file == last) continue;
    last = file;
    if (++files > kMaxFiles) return std::nullopt;
    signature.append(file).push_back('\0');
    std::string path(file.substr(file.find('/')));
    if (path.ends_with(kDeleted)) continue;
    // Relative: the leading slash would leave the container's root.
    if (!StatCached(root.get(), path.c_str() + path.find_first_not_of('/'), &st)) return std::nullopt;
    AppendStat(signature, st);
    if (upper.empty()) continue;
    if (::fstatat(AT_FDCWD, (upper + path).c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) st = {};
    AppendStat(signature, st);
  }
  return tree::Sha256Of(signature.data(), signature.size());
}

}  // namespace hullmark::process
