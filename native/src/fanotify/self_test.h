#pragma once
#include <string>

namespace hullmark::fanotify {

struct SelfTestResult {
  bool ok = false;
  std::string reason;  // empty when ok
  std::string kernel;  // uname release
};

// Mounts a scratch overlay below `directory` in a mount namespace of the calling thread's own, changes files through it and looks
// whether a mark on the filesystem below tells of it. The calling thread must end afterwards: it stays in that namespace.
// Removes what it made. Never throws: what goes wrong is the reason.
SelfTestResult SelfTest(const std::string& directory);

}  // namespace hullmark::fanotify
