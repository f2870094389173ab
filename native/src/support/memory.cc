#include "support/memory.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace hullmark {

namespace {

#ifdef __GLIBC__
constexpr int kMappedBytes = 64 * 1024;
constexpr int kTrimBytes = 256 * 1024;
constexpr int kArenas = 2;
#endif

Napi::Value Bound(const Napi::CallbackInfo& info) {
#ifdef __GLIBC__
  // Set by hand, the thresholds no longer grow with what is freed.
  mallopt(M_MMAP_THRESHOLD, kMappedBytes);
  mallopt(M_TRIM_THRESHOLD, kTrimBytes);
  mallopt(M_ARENA_MAX, kArenas);
#endif
  return info.Env().Undefined();
}

// A mapping of a file that cannot be written to and holds no page of its own: whatever of it is dropped is read from the file again.
struct Mapping {
  uintptr_t start = 0, end = 0;
  bool clean = false;
};

// proc_pid_smaps(5): a line with the range and access of each mapping, then its figures, of which `Anonymous` counts pages that are not the file's.
void DropFilePages() {
  std::ifstream smaps("/proc/self/smaps");
  Mapping mapping;
  for (std::string line; std::getline(smaps, line);) {
    char access[5] = {}, path = 0;
    unsigned long start = 0, end = 0, anonymous = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %4s %*s %*s %*s %c", &start, &end, access, &path) >= 3)
      mapping = {start, end, path == '/' && access[1] == '-' && access[3] == 'p'};
    else if (std::sscanf(line.c_str(), "Anonymous: %lu kB", &anonymous) == 1 && mapping.clean && anonymous == 0)
      madvise(reinterpret_cast<void*>(mapping.start), mapping.end - mapping.start, MADV_DONTNEED);
  }
}

Napi::Value Trim(const Napi::CallbackInfo& info) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  DropFilePages();
  return info.Env().Undefined();
}

}  // namespace

void InitMemory(Napi::Env env, Napi::Object exports) {
  exports.Set("boundMemory", Napi::Function::New(env, Bound, "boundMemory"));
  exports.Set("trimMemory", Napi::Function::New(env, Trim, "trimMemory"));
}

}  // namespace hullmark
