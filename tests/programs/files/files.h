// SPDX-License-Identifier: BSD-2-Clause
// What the files of the program `files` share.
#pragma once
#include <pthread.h>
#include <signal.h>
#include <stdint.h>

#include "../tap.h"

#define FAILS(call, code)                                                                          \
    do {                                                                                           \
        errno = 0;                                                                                 \
        long result_ = (long)(call);                                                               \
        CHECK(result_ == -1 && errno == (code), "result %ld, wanted errno %d", result_, (code));   \
    } while (0)

uint64_t now_ms(void);

// Runs `body(argument)` in a thread after a delay, to act on a file another thread waits for.
struct later {
    pthread_t thread;
    void (*body)(int fd);
    int fd;
};

void later_start(struct later *later, void (*body)(int fd), int fd);
void later_join(struct later *later);
// Bodies for it.
void write_word(int fd);
void write_one(int fd); // a number of 8 bytes

extern volatile sig_atomic_t signals; // that came to count_signal
static inline void count_signal(int number) {
    (void)number;
    signals++;
}

// Of polling.c and sockets.c.
void polling(void);
void event_polling(void);
void socket_pairs(void);
void named_sockets(void);
