// Breaks a part of another program from outside, as the kernel or a disk may.
//   fault-tool unmark PID   drops every mark of the process's fanotify groups
//   fault-tool hold TID     holds one thread, says "held", and lets it go when standard input ends
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int fail(const char* what) {
  perror(what);
  return 1;
}

static int unmark(int pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  DIR* fds = opendir(path);
  const int process = (int)syscall(SYS_pidfd_open, pid, 0);
  if (!fds || process < 0) return fail(path);
  int groups = 0;
  for (struct dirent* entry; (entry = readdir(fds));) {
    char target[64] = "";
    if (readlinkat(dirfd(fds), entry->d_name, target, sizeof target - 1) < 0 || strcmp(target, "anon_inode:[fanotify]") != 0) continue;
    const int group = (int)syscall(SYS_pidfd_getfd, process, atoi(entry->d_name), 0);
    if (group < 0 || fanotify_mark(group, FAN_MARK_FLUSH | FAN_MARK_FILESYSTEM, 0, AT_FDCWD, "/") != 0) return fail("fanotify_mark");
    close(group);
    groups++;
  }
  printf("%d\n", groups);
  return groups == 0;
}

static int hold(int tid) {
  if (ptrace(PTRACE_SEIZE, tid, 0, 0) != 0 || ptrace(PTRACE_INTERRUPT, tid, 0, 0) != 0) return fail("ptrace");
  if (waitpid(tid, NULL, __WALL) < 0) return fail("waitpid");
  puts("held");
  fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0) continue;
  return 0;  // the kernel lets it go with this process
}

int main(int argc, char** argv) {
  if (argc == 3 && strcmp(argv[1], "unmark") == 0) return unmark(atoi(argv[2]));
  if (argc == 3 && strcmp(argv[1], "hold") == 0) return hold(atoi(argv[2]));
  return 2;
}
