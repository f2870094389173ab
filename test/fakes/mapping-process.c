// A process that maps files executable and lets them go, and gives up capabilities of its bounding set, as it is told on standard input: `map PATH`,
// `drop NUMBER`, and anything else. Says `done` after each, and `ready` first.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(void) {
  char line[4096];
  void* mapped = MAP_FAILED;
  setvbuf(stdout, NULL, _IOLBF, 0);
  puts("ready");
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = '\0';
    if (mapped != MAP_FAILED) munmap(mapped, 4096);
    mapped = MAP_FAILED;
    if (strncmp(line, "map ", 4) == 0) {
      const int file = open(line + 4, O_RDONLY);
      mapped = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
      close(file);
      if (mapped == MAP_FAILED) return 1;
    }
    if (strncmp(line, "drop ", 5) == 0 && prctl(PR_CAPBSET_DROP, atoi(line + 5), 0, 0, 0) != 0) return 1;
    puts("done");
  }
  return 0;
}
