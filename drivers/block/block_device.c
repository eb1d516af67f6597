// SPDX-License-Identifier: BSD-2-Clause
// Waiting for a request's end.
#include "drivers/block/block_device.h"

#include <semaphore.h>

struct transfer {
    struct block_request request;
    sem_t over;
    int error;
};

static void done(struct block_request *request, int error) {
    struct transfer *transfer = (struct transfer *)request;

    transfer->error = error;
    sem_post(&transfer->over);
}

int block_transfer(struct block_device *device, enum block_operation operation, uint64_t offset,
                   void *data, size_t length) {
    struct iovec piece = {.iov_base = data, .iov_len = length};
    struct transfer transfer = {.request = {.operation = operation,
                                            .offset = offset,
                                            .length = length,
                                            .data = &piece,
                                            .count = length > 0,
                                            .done = done}};

    sem_init(&transfer.over, 0, 0);
    block_submit(device, &transfer.request);
    while (sem_wait(&transfer.over) < 0) {
    }
    sem_destroy(&transfer.over);
    return transfer.error;
}
