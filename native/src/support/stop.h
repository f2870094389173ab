#pragma once
#include <sys/eventfd.h>

#include <atomic>

#include "support/error.h"
#include "support/fd.h"

namespace hullmark {

// Asks threads to end. Computing threads poll `requested()`; threads that sleep in poll(2) or epoll_wait(2) also wait for `fd()` to
// become readable. It stays readable for ever: nobody drains it. Any thread may call any method.
class Stop {
 public:
  Stop() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!fd_) throw Error::System("eventfd");
  }

  void request() noexcept {
    requested_.store(true, std::memory_order_release);
    const uint64_t one = 1;
    [[maybe_unused]] ssize_t written = ::write(fd_.get(), &one, sizeof one);
  }
  bool requested() const noexcept { return requested_.load(std::memory_order_acquire); }
  int fd() const noexcept { return fd_.get(); }

 private:
  UniqueFd fd_;
  std::atomic<bool> requested_{false};
};

}  // namespace hullmark
