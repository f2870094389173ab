#include "fanotify/program.h"

#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string_view>

namespace hullmark::fanotify {

namespace {

constexpr size_t kMaxHeaders = 64;  // the kernel allows 64 KiB of them; programs have about a dozen

template <typename Header, typename Segment>
bool HasInterpreter(int fd, std::string_view head) {
  Header header;
  if (head.size() < sizeof header) return false;
  std::memcpy(&header, head.data(), sizeof header);
  if (header.e_phentsize != sizeof(Segment)) return false;
  for (size_t i = 0; i < header.e_phnum && i < kMaxHeaders; i++) {
    Segment segment;
    const auto at = static_cast<off_t>(header.e_phoff + i * sizeof segment);
    if (::pread(fd, &segment, sizeof segment, at) != static_cast<ssize_t>(sizeof segment)) return false;
    if (segment.p_type == PT_INTERP) return true;
  }
  return false;
}

}  // namespace

Program ReadProgram(int fd) {
  Program program;
  struct stat st;
  if (::fstat(fd, &st) != 0) return program;
  program.ino = st.st_ino;
  char bytes[sizeof(Elf64_Ehdr)];
  const ssize_t size = ::pread(fd, bytes, sizeof bytes, 0);
  if (size < 2) return program;
  const std::string_view head(bytes, static_cast<size_t>(size));
  if (head.starts_with("#!")) {
    program.kind = ProgramKind::kScript;
  } else if (head.starts_with(std::string_view(ELFMAG, SELFMAG)) && head.size() > EI_CLASS) {
    const bool dynamic = head[EI_CLASS] == ELFCLASS64 ? HasInterpreter<Elf64_Ehdr, Elf64_Phdr>(fd, head) : HasInterpreter<Elf32_Ehdr, Elf32_Phdr>(fd, head);
    program.kind = dynamic ? ProgramKind::kDynamic : ProgramKind::kStatic;
  }
  return program;
}

}  // namespace hullmark::fanotify
