#pragma once
#include <cstdint>

namespace hullmark::fanotify {

// What the kernel does with a file that is executed, by its content.
enum class ProgramKind : uint8_t {
  kStatic,   // an ELF file that runs by itself
  kDynamic,  // an ELF file with an interpreter, which the kernel opens next
  kScript,   // `#!`: the kernel opens the interpreter next, which becomes the process's executable
  kOther,    // nothing that this can tell (execve fails, or binfmt_misc has its own idea)
};

struct Program {
  ProgramKind kind = ProgramKind::kOther;
  uint64_t ino = 0;
};

// `fd` is a regular file open for reading, whose content the workload controls.
Program ReadProgram(int fd);

}  // namespace hullmark::fanotify
