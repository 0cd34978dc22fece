/* Moves the time of day of the program it is loaded into, by the seconds that stand in the file named by FERRYD_TEST_CLOCK, and the clock
   that nobody sets with it where FERRYD_TEST_ALL_CLOCKS is set. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *at) {
    long got = syscall(SYS_clock_gettime, clock, at);
    const char *path = getenv("FERRYD_TEST_CLOCK");
    int moves = clock == CLOCK_REALTIME || (clock == CLOCK_MONOTONIC && getenv("FERRYD_TEST_ALL_CLOCKS"));
    if (got == 0 && moves && path) {
        char text[32] = {0};
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) at->tv_sec += strtoll(text, NULL, 10);
            close(file);
        }
    }
    return got;
}
