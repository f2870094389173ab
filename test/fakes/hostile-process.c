// A process with mounts and a root of its own, and with variables of so many bytes that cost it nothing. Arguments: the root, the bytes (0: its own). Prints `ready`.
#define _GNU_SOURCE
#include <linux/prctl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

// Fields 26 to 28 and 45 to 49 of proc_pid_stat(5).
static int long_environment(size_t size) {
  unsigned long field[53] = {0};
  char text[4096] = {0};
  FILE* stat = fopen("/proc/self/stat", "r");
  if (!stat || fread(text, 1, sizeof text - 1, stat) == 0) return -1;
  fclose(stat);
  int n = 3;
  for (char* each = strtok(strrchr(text, ')') + 1, " "); each && n < 53; each = strtok(NULL, " ")) field[n++] = strtoul(each, NULL, 10);
  char* start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return -1;
  struct prctl_mm_map map = {
      .start_code = field[26], .end_code = field[27], .start_stack = field[28], .start_data = field[45], .end_data = field[46], .start_brk = field[47],
      .brk = (unsigned long)sbrk(0), .arg_start = field[48], .arg_end = field[49], .env_start = (unsigned long)start, .env_end = (unsigned long)start + size,
      .exe_fd = (unsigned int)-1};
  return prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0);
}

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const size_t bytes = strtoull(arguments[2], NULL, 10);
  if ((bytes > 0 && long_environment(bytes) != 0) || unshare(CLONE_NEWNS) != 0 || chroot(arguments[1]) != 0) {
    perror("hostile-process");
    return 1;
  }
  puts("ready");
  fflush(stdout);
  for (;;) pause();
}
