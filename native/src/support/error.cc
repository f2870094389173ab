#include "support/error.h"

#include <cstring>

namespace hullmark {

std::string ErrnoName(int errnum) {
  const char* name = strerrorname_np(errnum);
  return name ? name : "E" + std::to_string(errnum);
}

Error Error::System(const char* syscall, int errnum) {
  char text[128];
  const char* description = strerror_r(errnum, text, sizeof text);
  return Error(ErrnoName(errnum), std::string(syscall) + ": " + description, syscall, errnum);
}

}  // namespace hullmark
