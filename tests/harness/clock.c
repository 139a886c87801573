/* Sets the wall clock of a process forward while it runs. Loaded by LD_PRELOAD.
 *
 * The file CLOCK_AHEAD has 8 bytes: a whole number of seconds, in the byte order of the machine. The clock is ahead by it
 * from the moment it is written. Clocks that nobody can set stay as they are. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const _Atomic long *ahead;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_AHEAD");
    int at = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (at < 0) return;
    void *seen = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, at, 0);
    close(at);
    if (seen != MAP_FAILED) ahead = seen;
}

int clock_gettime(clockid_t clock, struct timespec *to) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, to);
    if (!failed && ahead && clock == CLOCK_REALTIME) to->tv_sec += *ahead;
    return failed;
}
