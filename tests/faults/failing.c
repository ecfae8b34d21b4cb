/* Preloaded into the program, it has calls on files fail. The file that the variable FAULTS names says which: a line
 * "CALL SUFFIX ERRNO" for each, where CALL is open (for writing), read, write, sync or truncate, and SUFFIX is how the
 * name of the file ends; below zero, ERRNO is how many milliseconds a call takes that does not fail. It is read anew at each call, so faults come and go while the program runs. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int ends_with(const char *text, const char *suffix)
{
    size_t length = strlen(text), tail = strlen(suffix);
    return length >= tail && strcmp(text + length - tail, suffix) == 0;
}

static int path_fails(const char *call, const char *path)
{
    char rules[1024];
    const char *control = getenv("FAULTS");
    if (control == NULL)
        return 0;
    int before = errno;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        errno = before;
        return 0;
    }
    ssize_t length = syscall(SYS_read, fd, rules, sizeof rules - 1);
    syscall(SYS_close, fd);
    errno = before;
    if (length <= 0)
        return 0;
    rules[length] = 0;
    char *rest = NULL;
    for (char *rule = strtok_r(rules, "\n", &rest); rule; rule = strtok_r(NULL, "\n", &rest)) {
        char name[16], suffix[64];
        int error;
        if (sscanf(rule, "%15s %63s %d", name, suffix, &error) == 3 && strcmp(name, call) == 0 &&
            ends_with(path, suffix)) {
            if (error < 0) {
                usleep((useconds_t)-error * 1000);
                errno = before;
                return 0;
            }
            errno = error;
            return 1;
        }
    }
    return 0;
}

static int fails(const char *call, int fd)
{
    char link[64], path[4096];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length <= 0)
        return 0;
    path[length] = 0;
    return path_fails(call, path);
}

static int open_file(int folder, const char *path, int flags, mode_t mode)
{
    /* What is there cannot be made, and the kernel says that first. */
    int is_there = (flags & O_CREAT) && (flags & O_EXCL) && access(path, F_OK) == 0;
    if ((flags & O_ACCMODE) != O_RDONLY && !is_there && path_fails("open", path))
        return -1;
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

#define MODE_OF(flags)                                                                                             \
    mode_t mode = 0;                                                                                               \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                         \
        va_list rest;                                                                                              \
        va_start(rest, flags);                                                                                     \
        mode = va_arg(rest, mode_t);                                                                               \
        va_end(rest);                                                                                              \
    }

int open(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_file(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open_file(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

ssize_t pread(int fd, void *bytes, size_t count, off_t at)
{
    return fails("read", fd) ? -1 : syscall(SYS_pread64, fd, bytes, count, at);
}

ssize_t pread64(int fd, void *bytes, size_t count, off64_t at)
{
    return fails("read", fd) ? -1 : syscall(SYS_pread64, fd, bytes, count, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at)
{
    return fails("write", fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at)
{
    return fails("write", fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, count, at);
}

int fsync(int fd)
{
    return fails("sync", fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return fails("sync", fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int ftruncate(int fd, off_t length)
{
    return fails("truncate", fd) ? -1 : (int)syscall(SYS_ftruncate, fd, length);
}

int ftruncate64(int fd, off64_t length)
{
    return fails("truncate", fd) ? -1 : (int)syscall(SYS_ftruncate, fd, length);
}
