// SPDX-License-Identifier: BSD-2-Clause
// The border between those who serve disks to guests and those who hold the disks.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define BLOCK_SECTOR_SIZE  512u
#define BLOCK_LOGICAL_MAX  4096u
#define BLOCK_ID_SIZE      20u
#define BLOCK_TRANSFER_MAX (4u << 20) // bytes of a read or write

enum block_operation {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH, // what was written before it is on the medium when it is done
    BLOCK_DISCARD,
    BLOCK_WRITE_ZEROES,
};

#define BLOCK_OPERATIONS (BLOCK_WRITE_ZEROES + 1)

struct block_request {
    enum block_operation operation;
    bool may_unmap;          // of BLOCK_WRITE_ZEROES
    unsigned queue;          // the submitter's; a disk with several queues takes queue % theirs
    uint64_t offset, length; // bytes; within the disk and multiples of its logical_block
    struct iovec *data;      // any pieces, of any alignment; who carries it out may change them
    unsigned count;
    // The request is over: 0 or -errno. On any thread, perhaps before block_submit returns.
    void (*done)(struct block_request *request, int error);
    struct block_request *next; // for the lists of who carries the request out
    // Of the machine's controllers: bytes that commands were made for, commands under way, the
    // first that failed.
    void *disk;
    uint64_t taken;
    unsigned commands;
    int error;
};

// What was asked of a disk and is over, for each operation. Changed by any thread.
struct block_counters {
    uint64_t requests, errors, bytes;
    uint64_t nanoseconds; // from submission to end, added up
};

// A disk. Any thread calls its functions at any time; those that are NULL have nothing to do.
struct block_device {
    uint64_t sectors;        // of BLOCK_SECTOR_SIZE
    uint32_t logical_block;  // bytes that are read and written at least: 512 to BLOCK_LOGICAL_MAX
    uint32_t physical_block; // bytes the medium writes at once
    bool read_only, discards;
    char id[BLOCK_ID_SIZE]; // serial number, without a final NUL where it fills the field
    struct block_counters counters[BLOCK_OPERATIONS]; // kept by those who serve it
    // Begins a request; any number may be under way. Does not wait.
    void (*submit)(struct block_device *device, struct block_request *request);
    // Calls done for what is over in the queue now, so that who has work anyway need not sleep. The
    // disk has a thread of its own that does the same when it interrupts.
    void (*poll)(struct block_device *device, unsigned queue);
    // Memory in which requests' data will lie, granted until unmap: its pages are mapped for the
    // device's DMA once. Data that lies elsewhere is copied. 0 or -errno, as if not called then.
    int (*map)(struct block_device *device, void *address, size_t size);
    void (*unmap)(struct block_device *device, void *address, size_t size);
};

static inline bool block_size_is_valid(uint64_t bytes) {
    return bytes >= BLOCK_SECTOR_SIZE && bytes <= BLOCK_LOGICAL_MAX && !(bytes & (bytes - 1));
}

static inline void block_submit(struct block_device *device, struct block_request *request) {
    device->submit(device, request);
}

// Carries out one request and waits for its end. 0 or -errno.
int block_transfer(struct block_device *device, enum block_operation operation, uint64_t offset,
                   void *data, size_t length);
