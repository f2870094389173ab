// A process whose first thread ends, and another runs on, with a file of memory mapped executable: of it /proc/PID has neither mappings nor a program.
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void* run_on(void* unused) {
  sleep(600);
  return unused;
}

int main(void) {
  pthread_t thread;
  const int file = memfd_create("leaderless", 0);
  if (file < 0 || ftruncate(file, 4096) != 0 || mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0) == MAP_FAILED) return 1;
  if (pthread_create(&thread, NULL, run_on, NULL) != 0) return 1;
  syscall(SYS_exit, 0);
}
