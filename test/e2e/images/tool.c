/*
 * hullmark-tool: what the tests do inside containers that a shell cannot. Statically linked, part of the test image, so running
 * it is no drift by itself.
 *
 *   store FILE OFFSET TEXT          write through a shared mapping; stays alive without msync, munmap or close
 *   memfd FILE [ARGUMENT...]        run a copy of FILE from an anonymous file (memfd_create, fexecve)
 *   deep BASE COUNT NAME LEAF       make COUNT nested folders NAME below BASE, then the file LEAF: paths no tar can carry
 *   setcap FILE                     give FILE cap_net_raw (security.capability, permitted and effective)
 *   writes FILE COUNT INTERVAL_US   overwrite FILE's first 8 bytes COUNT times; prints "INDEX NANOSECONDS" (CLOCK_REALTIME) as
 *                                   each write returns
 *   wait                            sleep until a signal comes
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void fail(const char *what) {
  fprintf(stderr, "hullmark-tool: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void store(const char *path, long offset, const char *text) {
  int fd = open(path, O_RDWR | O_CLOEXEC);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) != 0) fail(path);
  if (offset < 0 || offset + (long)strlen(text) > st.st_size) {
    errno = ERANGE;
    fail("offset");
  }
  char *at = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) fail("mmap");
  memcpy(at + offset, text, strlen(text));
  puts("stored");
  fflush(stdout);
  for (;;) pause();
}

static void run_memfd(char **argv) {
  int from = open(argv[0], O_RDONLY | O_CLOEXEC), fd = memfd_create("hullmark", 0);
  struct stat st;
  if (from < 0 || fd < 0 || fstat(from, &st) != 0) fail(argv[0]);
  for (off_t left = st.st_size; left > 0;) {
    ssize_t n = sendfile(fd, from, NULL, left);
    if (n <= 0) fail("sendfile");
    left -= n;
  }
  fexecve(fd, argv, environ);
  fail("fexecve");
}

static void deep(const char *base, long count, const char *name, const char *leaf) {
  int at = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (at < 0) fail(base);
  for (long i = 0; i < count; i++) {
    if (mkdirat(at, name, 0755) != 0 && errno != EEXIST) fail("mkdirat");
    int below = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (below < 0) fail("openat");
    close(at);
    at = below;
  }
  int fd = openat(at, leaf, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0 || write(fd, "deep\n", 5) != 5) fail(leaf);
}

/* struct vfs_cap_data, version 2 (linux/capability.h): cap_net_raw is bit 13. */
static void give_capability(const char *path) {
  const uint32_t data[5] = {0x02000000u | 1u, 1u << 13, 0, 0, 0};
  if (setxattr(path, "security.capability", data, sizeof data, 0) != 0) fail(path);
}

static void writes(const char *path, long count, long interval_us) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) fail(path);
  for (long i = 0; i < count; i++) {
    char text[9];
    struct timespec now, gap = {interval_us / 1000000, interval_us % 1000000 * 1000};
    snprintf(text, sizeof text, "%08ld", i % 100000000);
    if (pwrite(fd, text, 8, 0) != 8) fail("pwrite");
    clock_gettime(CLOCK_REALTIME, &now);
    printf("%ld %" PRId64 "\n", i, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
    fflush(stdout);
    nanosleep(&gap, NULL);
  }
}

int main(int argc, char **argv) {
  const char *command = argc > 1 ? argv[1] : "";
  if (!strcmp(command, "store") && argc == 5) store(argv[2], atol(argv[3]), argv[4]);
  else if (!strcmp(command, "memfd") && argc >= 3) run_memfd(argv + 2);
  else if (!strcmp(command, "deep") && argc == 6) deep(argv[2], atol(argv[3]), argv[4], argv[5]);
  else if (!strcmp(command, "setcap") && argc == 3) give_capability(argv[2]);
  else if (!strcmp(command, "writes") && argc == 5) writes(argv[2], atol(argv[3]), atol(argv[4]));
  else if (!strcmp(command, "wait") && argc == 2) for (;;) pause();
  else {
    fputs("hullmark-tool: store|memfd|deep|setcap|writes|wait (see tool.c)\n", stderr);
    return 2;
  }
  return 0;
}
