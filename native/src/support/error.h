#pragma once
#include <cerrno>
#include <stdexcept>
#include <string>
#include <utility>

namespace hullmark {

// A failure that crosses to JavaScript as an Error with {code, syscall, errno}. `code` is either the symbolic errno ("ENOENT") or a
// name of the throwing part ("ABORTED"). `errnum` is positive, 0 where no system call failed.
class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message, std::string syscall = "", int errnum = 0)
      : std::runtime_error(message), code(std::move(code)), syscall(std::move(syscall)), errnum(errnum) {}

  // The failure of a system call; reads errno when `errnum` is not given.
  static Error System(const char* syscall, int errnum = errno);

  std::string code;
  std::string syscall;
  int errnum;
};

// "ENOENT" for ENOENT; "E123" for a number without a name.
std::string ErrnoName(int errnum);

}  // namespace hullmark
