#pragma once
#include <sys/types.h>

#include <cstdint>

namespace hullmark::process {

// For how long processes ran, all their threads together, in nanoseconds (clock_getcpuclockid(3)): no thread runs without it. Read before anything else is read of a
// process, it tells the next time whether the process can have changed that itself.
class RunClock {
 public:
  RunClock();
  // -1: not known, and the same number says nothing.
  int64_t Of(pid_t pid) const;

 private:
  bool works_;
};

}  // namespace hullmark::process
