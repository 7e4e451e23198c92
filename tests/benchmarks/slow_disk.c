/* Makes every file operation below a directory wait, as a network file system does.

   Preloaded into a process (LD_PRELOAD); SLOW_DISK is the directory, SLOW_DISK_MS how long. Reading and writing of
   what is open do not wait, nor does fstat; a file that was open for writing waits at its close. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int below(const char *path) {
  const char *root = getenv("SLOW_DISK");
  char start[PATH_MAX] = "";
  if (!root || !path) return 0;
  if (path[0] == '/') return !strncmp(path, root, strlen(root));
  return getcwd(start, sizeof start) && !strncmp(start, root, strlen(root));
}

static int is_below(int descriptor) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return path[0] == '/' && below(path);
}

static void wait_if(int slow) {
  if (!slow) return;
  const char *given = getenv("SLOW_DISK_MS");
  double ms = given ? atof(given) : 1;
  struct timespec time = {(time_t)(ms / 1000), (long)(ms * 1e6) % 1000000000};
  nanosleep(&time, NULL);
}

#define REAL(result, ...)                       \
  static result (*real)(__VA_ARGS__);           \
  if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, __func__)

#define MODE                            \
  mode_t mode = 0;                      \
  if (flags & (O_CREAT | O_TMPFILE)) {  \
    va_list rest;                       \
    va_start(rest, flags);              \
    mode = va_arg(rest, mode_t);        \
    va_end(rest);                       \
  }                                     \
  wait_if(below(path))

#define OPEN(name)                                  \
  int name(const char *path, int flags, ...) {      \
    REAL(int, const char *, int, ...);              \
    MODE;                                           \
    return real(path, flags, mode);                 \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                           \
  int name(int directory, const char *path, int flags, ...) {  \
    REAL(int, int, const char *, int, ...);                    \
    MODE;                                                      \
    return real(directory, path, flags, mode);                 \
  }
OPENAT(openat)
OPENAT(openat64)

#define ON_PATH(result, name, parameters, types, path, ...) \
  result name parameters {                                  \
    REAL(result, types);                                    \
    wait_if(below(path));                                   \
    return real(__VA_ARGS__);                               \
  }
#define TYPES(...) __VA_ARGS__
ON_PATH(int, stat, (const char *path, struct stat *about), TYPES(const char *, struct stat *), path, path, about)
ON_PATH(int, stat64, (const char *path, struct stat64 *about), TYPES(const char *, struct stat64 *), path, path, about)
ON_PATH(int, lstat, (const char *path, struct stat *about), TYPES(const char *, struct stat *), path, path, about)
ON_PATH(int, lstat64, (const char *path, struct stat64 *about), TYPES(const char *, struct stat64 *), path, path, about)
ON_PATH(int, fstatat, (int at, const char *path, struct stat *about, int flags),
        TYPES(int, const char *, struct stat *, int), path, at, path, about, flags)
ON_PATH(int, fstatat64, (int at, const char *path, struct stat64 *about, int flags),
        TYPES(int, const char *, struct stat64 *, int), path, at, path, about, flags)
ON_PATH(int, access, (const char *path, int mode), TYPES(const char *, int), path, path, mode)
ON_PATH(DIR *, opendir, (const char *path), TYPES(const char *), path, path)
ON_PATH(ssize_t, readlink, (const char *path, char *to, size_t size), TYPES(const char *, char *, size_t),
        path[0] == '/' && strncmp(path, "/proc/", 6) ? path : NULL, path, to, size)
ON_PATH(int, mkdir, (const char *path, mode_t mode), TYPES(const char *, mode_t), path, path, mode)
ON_PATH(int, rmdir, (const char *path), TYPES(const char *), path, path)
ON_PATH(int, unlink, (const char *path), TYPES(const char *), path, path)
ON_PATH(int, unlinkat, (int at, const char *path, int flags), TYPES(int, const char *, int), path, at, path, flags)
ON_PATH(int, rename, (const char *from, const char *to), TYPES(const char *, const char *), to, from, to)
ON_PATH(int, renameat, (int at, const char *from, int other, const char *to),
        TYPES(int, const char *, int, const char *), to, at, from, other, to)
ON_PATH(int, link, (const char *from, const char *to), TYPES(const char *, const char *), to, from, to)
ON_PATH(int, linkat, (int at, const char *from, int other, const char *to, int flags),
        TYPES(int, const char *, int, const char *, int), to, at, from, other, to, flags)
ON_PATH(int, symlink, (const char *from, const char *to), TYPES(const char *, const char *), to, from, to)
ON_PATH(int, chmod, (const char *path, mode_t mode), TYPES(const char *, mode_t), path, path, mode)

#define ON_FILE(name, parameters, types, ...)  \
  int name parameters {                        \
    REAL(int, types);                          \
    wait_if(is_below(descriptor));             \
    return real(__VA_ARGS__);                  \
  }
ON_FILE(fsync, (int descriptor), TYPES(int), descriptor)
ON_FILE(fdatasync, (int descriptor), TYPES(int), descriptor)
ON_FILE(flock, (int descriptor, int operation), TYPES(int, int), descriptor, operation)

int close(int descriptor) {
  REAL(int, int);
  int flags = fcntl(descriptor, F_GETFL);
  wait_if(flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && is_below(descriptor));
  return real(descriptor);
}
