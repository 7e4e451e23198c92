/* Counts the calls that change files below a directory, and lets the N-th one end badly.

   Preloaded into a process (LD_PRELOAD), and told by `arm` what to do. Reading is not counted, nor is what W&B and
   the user's function write (`wandb/`, `checkpoint/`): that is theirs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum how { COUNT, KILL, FAIL, FAIL_FROM_HERE, LOSE_THE_REPLY, TEAR, TERMINATE, RECORD };

static char root[PATH_MAX];
static enum how how;
static int failure;
static long at, seen;
static int report = -1;
static char only[32];
enum { NOT_OURS, READ, WRITTEN };
static char ours[4096]; /* by file descriptor */

#define REAL(result, name, ...)                                \
  static result (*real)(__VA_ARGS__);                          \
  if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

void arm(const char *directory, int what, int error, const char *call, long number, int report_to) {
  snprintf(root, sizeof root, "%s", directory);
  snprintf(only, sizeof only, "%s", call);
  how = what, failure = error, at = number, seen = 0, report = report_to;
}

static int below(int directory, const char *path, char *whole) {
  char start[PATH_MAX] = "";
  if (!root[0] || !path) return 0;
  if (path[0] != '/') {
    char link[64];
    snprintf(link, sizeof link, directory == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", directory);
    ssize_t size = readlink(link, start, sizeof start - 1);
    if (size < 0) return 0;
    start[size] = 0;
    strcat(start, "/");
  }
  if (snprintf(whole, PATH_MAX, "%s%s", start, path) >= PATH_MAX) return 0;
  size_t length = strlen(root);
  return !strncmp(whole, root, length) && !strstr(whole + length, "/wandb") && !strstr(whole + length, "/checkpoint/");
}

/* Whether this call is the one; a process that is to be killed here does not return. */
static int is_the_one(const char *call, const char *path, int can_lose, int can_tear) {
  if (only[0] && strncmp(call, only, strlen(only))) return 0;
  if (how == LOSE_THE_REPLY && !can_lose) return 0;
  if (how == TEAR && !can_tear) return 0;
  long number = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
  int one = number == at || (how == FAIL_FROM_HERE && number > at);
  if (report >= 0 && number == at) dprintf(report, "%s %s\n", call, path + strlen(root));
  if (one && how == KILL) {
    kill(getpid(), SIGKILL);
    pause();
  }
  if (one && how == TERMINATE) kill(getpid(), SIGTERM);
  return one && how != COUNT;
}

/* One line for each call that has changed something: its name, the path, and the new path or what was written. */
static void record(const char *call, const char *path, const char *other, const unsigned char *content, size_t size) {
  static const char digits[] = "0123456789abcdef";
  if (how != RECORD || report < 0) return;
  char *line = malloc(2 * PATH_MAX + 64 + 2 * size);
  int length = sprintf(line, "%s\t%s\t%s", call, path, other);
  for (size_t i = 0; i < size; i++) {
    line[length++] = digits[content[i] >> 4];
    line[length++] = digits[content[i] & 15];
  }
  line[length++] = '\n';
  static ssize_t (*put)(int, const void *, size_t);
  if (!put) put = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  for (int done = 0; done < length;) done += put(report, line + done, length - done);
  free(line);
}

#define FAILS(one) ((one) && (how == FAIL || how == FAIL_FROM_HERE))
#define LOSES(one, result) ((one) && how == LOSE_THE_REPLY && (result) >= 0)

static int opened(int descriptor, char kind) {
  if (descriptor >= 0 && descriptor < (int)sizeof ours) ours[descriptor] = kind;
  return descriptor;
}

static int open_here(int directory, const char *path, int flags, mode_t mode) {
  REAL(int, "openat64", int, const char *, int, ...);
  char whole[PATH_MAX];
  if (!below(directory, path, whole)) return opened(real(directory, path, flags, mode), NOT_OURS);
  if (!(flags & (O_CREAT | O_WRONLY | O_RDWR))) return opened(real(directory, path, flags, mode), READ);
  int one = is_the_one("open", whole, (flags & O_EXCL) != 0, 0);
  if (FAILS(one)) return errno = failure, -1;
  int descriptor = real(directory, path, flags, mode);
  if (LOSES(one, descriptor)) return close(descriptor), errno = EEXIST, -1;
  if (descriptor >= 0) record(flags & O_TRUNC ? "truncate" : "open", whole, "", NULL, 0);
  return opened(descriptor, WRITTEN);
}

#define OPEN(name, ...)                  \
  mode_t mode = 0;                       \
  if (flags & (O_CREAT | O_TMPFILE)) {   \
    va_list rest;                        \
    va_start(rest, flags);               \
    mode = va_arg(rest, mode_t);         \
    va_end(rest);                        \
  }                                      \
  return open_here(__VA_ARGS__, path, flags, mode)

int open(const char *path, int flags, ...) { OPEN("open", AT_FDCWD); }
int open64(const char *path, int flags, ...) { OPEN("open64", AT_FDCWD); }
int openat(int directory, const char *path, int flags, ...) { OPEN("openat", directory); }
int openat64(int directory, const char *path, int flags, ...) { OPEN("openat64", directory); }

static int is_ours(int descriptor, char *path) {
  if (descriptor < 0 || descriptor >= (int)sizeof ours || !ours[descriptor]) return 0;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t size = readlink(link, path, PATH_MAX - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return !strncmp(path, root, strlen(root)); /* else it was closed and opened again unseen */
}

ssize_t write(int descriptor, const void *content, size_t size) {
  REAL(ssize_t, "write", int, const void *, size_t);
  char path[PATH_MAX];
  if (descriptor == 1 || descriptor == 2) record("say", "", "", content, size);
  if (!is_ours(descriptor, path)) return real(descriptor, content, size);
  int one = is_the_one("write", path, 0, size > 1);
  if (FAILS(one)) return errno = failure, -1;
  if (one && how == TEAR) {
    real(descriptor, content, size / 2);
    kill(getpid(), SIGKILL);
    pause();
  }
  ssize_t written = real(descriptor, content, size);
  if (written > 0) record("write", path, "", content, written);
  return written;
}

int flock(int descriptor, int operation) {
  REAL(int, "flock", int, int);
  char path[PATH_MAX];
  if (is_ours(descriptor, path) && only[0] && FAILS(is_the_one("flock", path, 0, 0))) return errno = failure, -1;
  return real(descriptor, operation);
}

int fsync(int descriptor) {
  REAL(int, "fsync", int);
  char path[PATH_MAX];
  if (!is_ours(descriptor, path)) return real(descriptor);
  if (FAILS(is_the_one("fsync", path, 0, 0))) return errno = failure, -1;
  int result = real(descriptor);
  if (result == 0) record("fsync", path, "", NULL, 0);
  return result;
}

int close(int descriptor) {
  REAL(int, "close", int);
  char path[PATH_MAX];
  int one = is_ours(descriptor, path) && ours[descriptor] == WRITTEN && is_the_one("close", path, 0, 0);
  opened(descriptor, NOT_OURS);
  int result = real(descriptor);
  return FAILS(one) ? (errno = failure, -1) : result;
}

#define CHANGE(from, directory, path, can_lose, lost, call)        \
  char whole[PATH_MAX];                                            \
  int counted = below(directory, path, whole);                     \
  int one = counted && is_the_one(__func__, whole, can_lose, 0);   \
  if (FAILS(one)) return errno = failure, -1;                      \
  int result = call;                                               \
  if (counted && result == 0) record(__func__, from, whole, NULL, 0); \
  return LOSES(one, result) ? (errno = lost, -1) : result

int mkdir(const char *path, mode_t mode) {
  REAL(int, "mkdir", const char *, mode_t);
  CHANGE("", AT_FDCWD, path, 1, EEXIST, real(path, mode));
}

int rename(const char *from, const char *to) {
  REAL(int, "rename", const char *, const char *);
  CHANGE(from, AT_FDCWD, to, 1, ENOENT, real(from, to));
}

int link(const char *from, const char *to) {
  REAL(int, "link", const char *, const char *);
  CHANGE(from, AT_FDCWD, to, 1, EEXIST, real(from, to));
}

int linkat(int directory, const char *from, int other, const char *to, int flags) {
  REAL(int, "linkat", int, const char *, int, const char *, int);
  CHANGE(from, other, to, 1, EEXIST, real(directory, from, other, to, flags));
}

int unlink(const char *path) {
  REAL(int, "unlink", const char *);
  CHANGE("", AT_FDCWD, path, 1, ENOENT, real(path));
}

int unlinkat(int directory, const char *path, int flags) {
  REAL(int, "unlinkat", int, const char *, int);
  CHANGE("", directory, path, 1, ENOENT, real(directory, path, flags));
}

int rmdir(const char *path) {
  REAL(int, "rmdir", const char *);
  CHANGE("", AT_FDCWD, path, 1, ENOENT, real(path));
}
