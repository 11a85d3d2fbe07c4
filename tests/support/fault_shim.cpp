// Preloaded into a program under test: makes writes to files fail, or keeps a journal of them, from
// which the files after a power loss can be made. KFLOW_FAULT_PATH: only files whose path contains
// this. KFLOW_FAULT_FAIL=errno:first:count lets the calls number first … first+count-1 fail.
// KFLOW_FAULT_JOURNAL: the journal; records are kind (1: 'W' write, 'D' write through O_DSYNC, 'S'
// sync), length of path (2), path, offset (8), length (4), bytes.
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

extern "C" {

static int watched(int fd, char* path, size_t size) {
  const char* wanted = getenv("KFLOW_FAULT_PATH");
  if (wanted == NULL) return 0;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t n = readlink(link, path, size - 1);
  if (n <= 0) return 0;
  path[n] = 0;
  return strstr(path, wanted) != NULL;
}

// Whether this call is to fail; sets errno.
static int fails(void) {
  static long calls = 0;
  const char* plan = getenv("KFLOW_FAULT_FAIL");
  if (plan == NULL) return 0;
  int code = 0;
  long first = 0;
  long count = 0;
  if (sscanf(plan, "%d:%ld:%ld", &code, &first, &count) != 3) return 0;
  const long call = __sync_add_and_fetch(&calls, 1);
  if (call < first || call >= first + count) return 0;
  errno = code;
  return 1;
}

static void record(char kind, const char* path, uint64_t offset, const void* data,
                   uint32_t length) {
  const char* journal = getenv("KFLOW_FAULT_JOURNAL");
  if (journal == NULL) return;
  const int fd =
      (int)syscall(SYS_openat, AT_FDCWD, journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return;
  const uint16_t path_length = (uint16_t)strlen(path);
  const size_t size = 1 + 2 + path_length + 8 + 4 + length;
  char* all = static_cast<char*>(malloc(size));
  char* at = all;
  *at++ = kind;
  memcpy(at, &path_length, 2), at += 2;
  memcpy(at, path, path_length), at += path_length;
  memcpy(at, &offset, 8), at += 8;
  memcpy(at, &length, 4), at += 4;
  if (length > 0) memcpy(at, data, length);
  syscall(SYS_write, fd, all, size);
  syscall(SYS_close, fd);
  free(all);
}

static char kind_of(int fd) { return (fcntl(fd, F_GETFL) & O_DSYNC) != 0 ? 'D' : 'W'; }

static ssize_t do_pwrite(int fd, const void* data, size_t size, off64_t offset) {
  char path[512];
  const int here = watched(fd, path, sizeof path);
  if (here && fails()) return -1;
  const ssize_t n = syscall(SYS_pwrite64, fd, data, size, offset);
  if (here && n > 0) record(kind_of(fd), path, (uint64_t)offset, data, (uint32_t)n);
  return n;
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  return do_pwrite(fd, data, size, offset);
}
ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  return do_pwrite(fd, data, size, offset);
}

static ssize_t do_writev(int fd, const struct iovec* parts, int count, off64_t offset,
                         int positioned) {
  char path[512];
  const int here = watched(fd, path, sizeof path);
  if (here && fails()) return -1;
  off64_t at = positioned ? offset : lseek64(fd, 0, SEEK_CUR);
  ssize_t all = 0;
  for (int i = 0; i < count; ++i) {
    const ssize_t n = syscall(SYS_pwrite64, fd, parts[i].iov_base, parts[i].iov_len, at);
    if (n < 0) return all > 0 ? all : -1;
    if (here && n > 0) record(kind_of(fd), path, (uint64_t)at, parts[i].iov_base, (uint32_t)n);
    at += n;
    all += n;
    if ((size_t)n < parts[i].iov_len) break;
  }
  if (!positioned) lseek64(fd, at, SEEK_SET);
  return all;
}
ssize_t pwritev(int fd, const struct iovec* parts, int count, off_t offset) {
  return do_writev(fd, parts, count, offset, 1);
}
ssize_t pwritev64(int fd, const struct iovec* parts, int count, off64_t offset) {
  return do_writev(fd, parts, count, offset, 1);
}
ssize_t writev(int fd, const struct iovec* parts, int count) {
  char path[512];
  if (watched(fd, path, sizeof path)) return do_writev(fd, parts, count, 0, 0);
  return syscall(SYS_writev, fd, parts, count);
}

ssize_t write(int fd, const void* data, size_t size) {
  char path[512];
  if (!watched(fd, path, sizeof path)) return syscall(SYS_write, fd, data, size);
  if (fails()) return -1;
  const off64_t offset = lseek64(fd, 0, (fcntl(fd, F_GETFL) & O_APPEND) != 0 ? SEEK_END : SEEK_CUR);
  const ssize_t n = syscall(SYS_write, fd, data, size);
  if (n > 0) record(kind_of(fd), path, (uint64_t)offset, data, (uint32_t)n);
  return n;
}

static int do_sync(int fd, long call) {
  char path[512];
  const int here = watched(fd, path, sizeof path);
  if (here && fails()) return -1;
  const int out = (int)syscall(call, fd);
  if (here && out == 0) record('S', path, 0, NULL, 0);
  return out;
}
int fsync(int fd) { return do_sync(fd, SYS_fsync); }
int fdatasync(int fd) { return do_sync(fd, SYS_fdatasync); }

}  // extern "C"
