#include "process/run_clock.h"

#include <unistd.h>

#include <cstdlib>
#include <ctime>

namespace hullmark::process {

namespace {

constexpr int kReadings = 16;

int64_t Ran(pid_t pid) {
  timespec ran;
  if (::clock_gettime(static_cast<clockid_t>((~static_cast<unsigned>(pid) << 3) | 2), &ran) != 0) return -1;
  return int64_t{ran.tv_sec} * 1'000'000'000 + ran.tv_nsec;
}

// Whether the clocks tell of the shortest run, and are those of the processes that /proc shows: neither is so on every machine.
bool Works() {
  char self[32];
  const ssize_t size = ::readlink("/proc/self", self, sizeof self - 1);
  if (size <= 0) return false;
  self[size] = '\0';
  if (std::strtol(self, nullptr, 10) != ::getpid()) return false;
  int64_t before = Ran(::getpid());
  for (int i = 0; i < kReadings; i++) {
    const int64_t now = Ran(::getpid());
    if (before < 0 || now <= before) return false;
    before = now;
  }
  return true;
}

}  // namespace

RunClock::RunClock() : works_(Works()) {}

int64_t RunClock::Of(pid_t pid) const { return works_ ? Ran(pid) : -1; }

}  // namespace hullmark::process
