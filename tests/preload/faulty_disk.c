/* A disk that fails: preloaded (LD_PRELOAD), it lets calls on chosen files fail, or take long.
 *
 * What fails is read from the file that FAULTY_DISK names, anew at every call, so a test can change it while
 * the program runs. A line is CALL ERRNO MILLISECONDS PART: calls of that name on files whose path contains PART
 * wait so long, and fail with that errno if it is not 0. Without the file nothing fails.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static int fault(const char *call, const char *path) {
    const char *plan = getenv("FAULTY_DISK");
    char text[4096], *rest = NULL;
    if (plan == NULL || path == NULL)
        return 0;
    int fd = syscall(SYS_openat, AT_FDCWD, plan, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t size = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (size <= 0)
        return 0;
    text[size] = 0;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char name[32], part[1024];
        int code, wait_ms;
        if (sscanf(line, "%31s %d %d %1023s", name, &code, &wait_ms, part) != 4)
            continue;
        if (strcmp(name, call) != 0 || strstr(path, part) == NULL)
            continue;
        struct timespec wait = {wait_ms / 1000, wait_ms % 1000 * 1000000L};
        nanosleep(&wait, NULL);
        return code;
    }
    return 0;
}

static int fault_of(const char *call, int fd) {
    char link[64], path[PATH_MAX];
    if (getenv("FAULTY_DISK") == NULL)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (size < 0 || path[0] != '/')
        return 0;
    path[size] = 0;
    return fault(call, path);
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FAIL_IF(code) do { int code_ = (code); if (code_) { errno = code_; return -1; } } while (0)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (fd > 2)
        FAIL_IF(fault_of("write", fd));
    return real(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(pwrite);
    FAIL_IF(fault_of("write", fd));
    return real(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    FAIL_IF(fault_of("write", fd));
    return real(fd, data, size, at);
}

int fsync(int fd) {
    REAL(fsync);
    FAIL_IF(fault_of("fsync", fd));
    return real(fd);
}

#define OPEN(name)                                                   \
    int name(const char *path, int flags, ...) {                     \
        REAL(name);                                                  \
        va_list more;                                                \
        va_start(more, flags);                                       \
        int mode = va_arg(more, int);                                \
        va_end(more);                                                \
        if (flags & (O_CREAT | O_WRONLY | O_RDWR))                   \
            FAIL_IF(fault("create", path));                          \
        return real(path, flags, mode);                              \
    }

OPEN(open)
OPEN(open64)

int utimensat(int at, const char *path, const struct timespec times[2], int flags) {
    REAL(utimensat);
    FAIL_IF(fault("utime", path));
    return real(at, path, times, flags);
}
