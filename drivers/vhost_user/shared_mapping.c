// SPDX-License-Identifier: BSD-2-Clause
// The signal's handler puts memory of our own over what is gone: it works on any thread, whatever
// that was about to do.
#define _GNU_SOURCE // MAP_ANONYMOUS
#include "drivers/vhost_user/shared_mapping.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MAPPINGS_MAX 1024

// Read by the handler at any moment: start is set last and cleared first.
static struct {
    uint8_t *start;
    size_t size;
    bool *lost;
} mappings[MAPPINGS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // of taking and leaving an entry

static void defuse(int signal_number, siginfo_t *info, void *context) {
    uint8_t *address = info->si_addr;

    (void)context;
    for (unsigned i = 0; i < MAPPINGS_MAX; i++) {
        uint8_t *start = __atomic_load_n(&mappings[i].start, __ATOMIC_ACQUIRE);

        if (start && address >= start && address < start + mappings[i].size &&
            mmap(start, mappings[i].size, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED) {
            __atomic_store_n(mappings[i].lost, true, __ATOMIC_RELAXED);
            return;
        }
    }
    signal(signal_number, SIG_DFL); // an error of our own: the instruction is repeated, and ends us
}

void shared_mapping_init(void) {
    struct sigaction action = {.sa_sigaction = defuse, .sa_flags = SA_SIGINFO};

    sigaction(SIGBUS, &action, NULL);
}

void *shared_mapping_create(int fd, size_t size, bool *lost) {
    struct stat file;
    void *mapping;

    if (fstat(fd, &file) < 0)
        return MAP_FAILED;
    if ((uint64_t)file.st_size < size) {
        errno = EFBIG;
        return MAP_FAILED;
    }
    pthread_mutex_lock(&lock);
    unsigned i = 0;
    while (i < MAPPINGS_MAX && mappings[i].start)
        i++;
    errno = ENOMEM;
    mapping = i == MAPPINGS_MAX
                  ? MAP_FAILED
                  : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (mapping != MAP_FAILED) {
        mappings[i].size = size;
        mappings[i].lost = lost;
        __atomic_store_n(&mappings[i].start, mapping, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&lock);
    return mapping;
}

void shared_mapping_destroy(void *mapping, size_t size) {
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < MAPPINGS_MAX; i++)
        if (mappings[i].start == mapping)
            __atomic_store_n(&mappings[i].start, NULL, __ATOMIC_RELEASE);
    munmap(mapping, size);
    pthread_mutex_unlock(&lock);
}
