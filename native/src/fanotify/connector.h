#pragma once
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "support/fd.h"

namespace hullmark::fanotify {

// What happened to a process (never to a single thread), as the kernel's process connector tells it. `at_ns` is CLOCK_MONOTONIC.
struct ProcessEvent {
  enum class Kind : uint8_t { kFork, kExec, kUser, kExit };
  Kind kind;
  pid_t pid;
  pid_t parent;  // kFork
  uid_t uid;     // kUser: the effective one from now on
  int64_t at_ns;
};

// The kernel's process connector (CN_PROC): every fork, successful exec, change of user and exit of the machine, told before the new program or process
// runs its first instruction. Needs CAP_NET_ADMIN and the initial user, pid and network namespaces.
class Connector {
 public:
  // Throws Error: why the kernel would not tell.
  Connector();
  int fd() const { return fd_.get(); }

  // Reads what is queued, without waiting. False: events were lost since the last call.
  bool Drain(const std::function<void(const ProcessEvent&)>& each);

 private:
  UniqueFd fd_;
  std::vector<char> buffer_;
};

}  // namespace hullmark::fanotify
