/* Every fsync and fdatasync takes FERRYD_BENCH_SYNC_US microseconds more, and is counted in the file FERRYD_BENCH_SYNC_COUNT.
 * To be preloaded. Build: cc -O2 -shared -fPIC -o slow_sync.so slow_sync.c
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static unsigned long *count;
static struct timespec longer;

__attribute__((constructor)) static void begin(void) {
    const char *micros = getenv("FERRYD_BENCH_SYNC_US"), *path = getenv("FERRYD_BENCH_SYNC_COUNT");
    long us = micros ? atol(micros) : 0;
    longer.tv_sec = us / 1000000;
    longer.tv_nsec = us % 1000000 * 1000;
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *there = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (there != MAP_FAILED) count = there;
    close(file);
}

static int slow(long call, int file) {
    if (count) __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
    nanosleep(&longer, NULL);
    return (int)syscall(call, file);
}

int fsync(int file) { return slow(SYS_fsync, file); }
int fdatasync(int file) { return slow(SYS_fdatasync, file); }
