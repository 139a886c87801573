/* Makes writes to the files below FAULT_DIR fail, as a bad disk does. Loaded by LD_PRELOAD.
 *
 * While the file FAULT_SWITCH exists its one line says what happens: `eio|enospc|short|kill write|sync N`, from the Nth such
 * call since the file is there. Without it everything is as it is. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define FDS 4096
static atomic_char watched[FDS];
static atomic_long counted[2];
enum { WRITE, SYNC };

static void note(int fd, const char *path) {
    const char *dir = getenv("FAULT_DIR");
    if (fd >= 0 && fd < FDS) watched[fd] = dir && path && strncmp(path, dir, strlen(dir)) == 0;
}

static int raw_open(const char *path, int flags) {
    static int (*real)(const char *, int, ...);
    if (!real) real = dlsym(RTLD_NEXT, "open");
    return real(path, flags);
}

static ssize_t raw_read(int fd, void *to, size_t n) {
    static ssize_t (*real)(int, void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "read");
    return real(fd, to, n);
}

/* What is to happen to this call: 0, or the first letter of it: `e` for an error in errno, `s` for short. */
static char fault(int fd, int call) {
    if (fd < 0 || fd >= FDS || !watched[fd]) return 0;
    const char *path = getenv("FAULT_SWITCH");
    int at = path ? raw_open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (at < 0) {
        counted[WRITE] = counted[SYNC] = 0;
        return 0;
    }
    char line[64] = {0}, action[16] = {0}, name[16] = {0};
    long nth = 0;
    raw_read(at, line, sizeof line - 1);
    close(at);
    if (sscanf(line, "%15s %15s %ld", action, name, &nth) != 3) return 0;
    if ((strcmp(name, "sync") == 0) != (call == SYNC) || ++counted[call] < nth) return 0;
    if (strcmp(action, "kill") == 0) {
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    errno = strcmp(action, "enospc") == 0 ? ENOSPC : EIO;
    return action[0];
}

#define OPEN(NAME)                                                       \
    int NAME(const char *path, int flags, ...) {                         \
        static int (*real)(const char *, int, ...);                      \
        if (!real) real = dlsym(RTLD_NEXT, #NAME);                       \
        va_list list;                                                    \
        va_start(list, flags);                                           \
        int fd = real(path, flags, va_arg(list, mode_t));                \
        va_end(list);                                                    \
        note(fd, path);                                                  \
        return fd;                                                       \
    }
OPEN(open)
OPEN(open64)

#define PWRITE(NAME, OFFSET)                                             \
    ssize_t NAME(int fd, const void *from, size_t n, OFFSET at) {        \
        static ssize_t (*real)(int, const void *, size_t, OFFSET);       \
        if (!real) real = dlsym(RTLD_NEXT, #NAME);                       \
        char what = fault(fd, WRITE);                                    \
        if (what == 's' && n > 1) n /= 2;                                \
        return what == 'e' ? -1 : real(fd, from, n, at);                 \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int fd, const void *from, size_t n) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    char what = fault(fd, WRITE);
    if (what == 's' && n > 1) n /= 2;
    return what == 'e' ? -1 : real(fd, from, n);
}

#define SYNCS(NAME)                                                      \
    int NAME(int fd) {                                                   \
        static int (*real)(int);                                         \
        if (!real) real = dlsym(RTLD_NEXT, #NAME);                       \
        return fault(fd, SYNC) == 'e' ? -1 : real(fd);                   \
    }
SYNCS(fsync)
SYNCS(fdatasync)
