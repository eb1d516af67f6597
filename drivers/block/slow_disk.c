// SPDX-License-Identifier: BSD-2-Clause
// One thread wakes every millisecond while requests wait, and looks which are due.
#include "drivers/block/slow_disk.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "drivers/clock.h"

#define MILLISECOND 1000000ull

struct slow_disk {
    struct block_device device;
    struct block_device *disk;
    unsigned delay;
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct block_request *waiting;
};

static void submit(struct block_device *device, struct block_request *request) {
    struct slow_disk *slow = (struct slow_disk *)device;

    pthread_mutex_lock(&slow->lock);
    request->taken = clock_now() + MILLISECOND * ((unsigned)rand() % (slow->delay + 1));
    request->next = slow->waiting;
    slow->waiting = request;
    pthread_cond_signal(&slow->some);
    pthread_mutex_unlock(&slow->lock);
}

static struct block_request *take_due(struct slow_disk *slow) {
    struct block_request *due = NULL;
    uint64_t now = clock_now();

    pthread_mutex_lock(&slow->lock);
    while (!slow->waiting)
        pthread_cond_wait(&slow->some, &slow->lock);
    for (struct block_request **link = &slow->waiting; *link;) {
        struct block_request *request = *link;

        if (request->taken > now) {
            link = &request->next;
            continue;
        }
        *link = request->next;
        request->next = due;
        request->taken = 0;
        due = request;
    }
    pthread_mutex_unlock(&slow->lock);
    return due;
}

static void *work(void *argument) {
    struct slow_disk *slow = argument;

    for (;;) {
        struct block_request *due = take_due(slow);

        if (!due)
            usleep(1000);
        while (due) {
            struct block_request *request = due;

            due = request->next;
            block_submit(slow->disk, request);
        }
    }
    return NULL;
}

struct block_device *slow_disk_create(struct block_device *disk, unsigned delay) {
    struct slow_disk *slow = calloc(1, sizeof(*slow));
    pthread_t thread;

    if (!slow)
        return NULL;
    slow->disk = disk;
    slow->delay = delay;
    slow->device = (struct block_device){.sectors = disk->sectors,
                                         .logical_block = disk->logical_block,
                                         .physical_block = disk->physical_block,
                                         .read_only = disk->read_only,
                                         .discards = disk->discards,
                                         .submit = submit};
    memcpy(slow->device.id, disk->id, BLOCK_ID_SIZE);
    pthread_mutex_init(&slow->lock, NULL);
    pthread_cond_init(&slow->some, NULL);
    errno = pthread_create(&thread, NULL, work, slow);
    if (errno) {
        free(slow);
        return NULL;
    }
    pthread_detach(thread);
    return &slow->device;
}
