#include "fanotify/self_test.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "fanotify/directories.h"
#include "fanotify/group.h"
#include "support/error.h"
#include "support/fd.h"

namespace hullmark::fanotify {

namespace {

constexpr mode_t kPrivate = 0700;
constexpr const char* kFile = "file";

struct Expected {
  uint64_t mask;
  const char* name;
};
constexpr std::array<Expected, 3> kExpected = {{{FAN_MODIFY, "MODIFY"}, {FAN_CLOSE_WRITE, "CLOSE_WRITE"}, {FAN_ATTRIB, "ATTRIB"}}};

void Require(bool ok, const char* syscall) {
  if (!ok) throw Error::System(syscall);
}

// Directories and mount of one test; gone with it.
class Scratch {
 public:
  explicit Scratch(const std::string& below) : base_(below + "/self-test-XXXXXX") {
    Require(::mkdtemp(base_.data()) != nullptr, "mkdtemp");
    for (const char* name : {"/lower", "/upper", "/work", "/merged"}) Require(::mkdir((base_ + name).c_str(), kPrivate) == 0, "mkdir");
  }
  ~Scratch() {
    if (mounted_) ::umount2((base_ + "/merged").c_str(), MNT_DETACH);
    std::error_code ignored;
    std::filesystem::remove_all(base_, ignored);
  }
  void Mount() {
    Require(::unshare(CLONE_FS | CLONE_NEWNS) == 0, "unshare");
    Require(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "mount");
    const std::string options = "lowerdir=" + At("lower") + ",upperdir=" + At("upper") + ",workdir=" + At("work");
    Require(::mount("overlay", At("merged").c_str(), "overlay", 0, options.c_str()) == 0, "mount");
    mounted_ = true;
  }
  std::string At(const char* name) const { return base_ + "/" + name; }

 private:
  std::string base_;
  bool mounted_ = false;
};

void WriteByte(const std::string& path, int flags) {
  const UniqueFd fd(::open(path.c_str(), flags | O_WRONLY | O_CLOEXEC, 0600));
  Require(static_cast<bool>(fd), "open");
  Require(::write(fd.get(), "x", 1) == 1, "write");
}

void Test(const std::string& below) {
  Scratch scratch(below);
  WriteByte(scratch.At("lower") + "/" + kFile, O_CREAT);
  scratch.Mount();
  const UniqueFd upper(::open(scratch.At("upper").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Require(static_cast<bool>(upper), "open");
  const std::string key = KeyOf(upper.get());
  Group group;
  group.Mark(upper.get(), kMask);
  const std::string file = scratch.At("merged") + "/" + kFile;
  WriteByte(file, O_APPEND);
  Require(::chmod(file.c_str(), 0644) == 0, "chmod");
  uint64_t seen = 0;
  const auto collect = [&](const RawEvent& event) {
    if (event.pid == ::getpid() && event.directory == key && event.name == kFile) seen |= event.mask;
  };
  while (group.Read(collect)) continue;
  for (const auto& [mask, name] : kExpected) {
    if (!(seen & mask)) throw Error("UNSEEN", std::string("a change through an overlay raises no ") + name + " on the filesystem below it");
  }
}

}  // namespace

SelfTestResult SelfTest(const std::string& directory) {
  SelfTestResult result;
  utsname kernel;
  if (::uname(&kernel) == 0) result.kernel = kernel.release;
  try {
    Test(directory);
    result.ok = true;
  } catch (const Error& error) {
    result.reason = error.what();
  } catch (const std::exception& error) {
    result.reason = error.what();
  }
  return result;
}

}  // namespace hullmark::fanotify
