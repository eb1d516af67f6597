// SPDX-License-Identifier: BSD-2-Clause
// What the drivers of disk controllers have in common: requests are made into commands, each in a
// slot of a hardware queue, with their data where the device reaches it; commands that fail or take
// too long are tried again after a reset.
#pragma once

#include <pthread.h>

#include "drivers/machine_disks.h"
#include "drivers/pci/pci_device.h"

#define DISK_SLOTS_MAX   32u
#define DISK_QUEUES_MAX  32u
#define DISK_PIECES_MAX  34u
#define DISK_COMMAND_MAX (128u << 10) // bytes of data of a command
#define DISK_SCRATCH     1024u        // bytes of a slot's memory for its driver

struct disk;
struct controller;

struct disk_piece {
    uint64_t address; // the device's
    uint32_t size;
};

struct disk_command {
    struct block_request *request; // NULL: the slot is free
    const struct disk *disk;
    enum block_operation operation;
    uint64_t offset, length; // bytes
    struct disk_piece pieces[DISK_PIECES_MAX];
    unsigned piece_count;
    void *scratch; // DISK_SCRATCH bytes, aligned to that
    uint64_t scratch_address;
    // Of controller.c.
    uint8_t *bounce;
    uint64_t position; // in the request's data
    bool bounced, started;
    unsigned attempts;
    uint64_t deadline; // CLOCK_MONOTONIC, ns
};

struct disk_queue {
    struct controller *controller;
    unsigned index, slots;
    pthread_mutex_t lock;
    struct disk_command commands[DISK_SLOTS_MAX];
    unsigned occupied, started; // slots
    bool exclusive;             // the command under way suffers no other
    struct block_request *waiting, **last;
    struct block_request *over; // to be told when the lock is free
};

struct controller_operations {
    // With the queue's lock held. Begins the command in a slot; `kick` follows one or several
    // (NULL: nothing to do).
    void (*start)(struct disk_queue *queue, unsigned slot);
    void (*kick)(struct disk_queue *queue);
    // Calls disk_command_over for what is over. False where only a reset helps.
    bool (*poll)(struct disk_queue *queue);
    // Before the queues are polled for an interrupt: ends it at the device. May be NULL.
    void (*acknowledge)(struct controller *controller);
    // With all locks held. No command is under way when it returns 0; else the controller is dead.
    int (*reset)(struct controller *controller);
    unsigned exclusive; // 1 << operation: those that suffer no other command beside them
};

// The driver fills in pci, operations, command_max, address_mask and gap_mask.
struct controller {
    struct pci_device *pci;
    const struct controller_operations *operations;
    unsigned queue_count, vectors;
    struct disk_queue *queues[DISK_QUEUES_MAX];
    uint32_t command_max;  // bytes of data, at most DISK_COMMAND_MAX
    uint64_t address_mask; // where data may lie
    uint32_t gap_mask;     // bits that are zero in addresses where one piece joins another
    bool dead;
    unsigned resets;
    int wake; // eventfd for controllers that do not interrupt
    struct disk *disks;
};

struct disk {
    struct block_device device; // first
    struct machine_disk listed;
    struct controller *controller;
    unsigned first_queue, queues;
    uint64_t clear_max; // bytes of a discard or write zeroes command
    bool clears;        // writes zeroes by a command of its own
    struct disk *next;
};

// A queue of `slots` commands, DISK_SLOTS_MAX at most. NULL where there is no memory.
struct disk_queue *controller_add_queue(struct controller *controller, unsigned slots);

// A disk behind the controller, on `queues` queues from first_queue on. The driver fills in the
// rest of *disk. NULL where there is no memory.
struct disk *controller_add_disk(struct controller *controller, unsigned unit, unsigned first_queue,
                                 unsigned queues);

// The end of the driver's opening. Begins to take interrupts; vectors: those that were enabled.
// Returns the controller. On an error, one of the driver's own or -errno for vectors, says so,
// frees the controller and returns NULL.
struct controller *controller_run(struct controller *controller, const char *kind, int vectors);

// A command is over, with the queue's lock held: 0, or -errno; -EAGAIN: try again.
void disk_command_over(struct disk_queue *queue, unsigned slot, int error);

// The command in a slot, NULL where none is under way there: devices may name any.
struct disk_command *disk_command_started(struct disk_queue *queue, unsigned slot);

// Waits until (*read & mask) == value, at most that long. False: in vain.
bool controller_wait(volatile uint32_t *read, uint32_t mask, uint32_t value, unsigned milliseconds);

// The drivers: each takes over a controller and finds its disks. NULL after a message.
struct controller *nvme_open(struct pci_device *pci);
struct controller *ahci_open(struct pci_device *pci);
struct controller *ide_open(struct pci_device *pci);
struct controller *virtio_blk_open(struct pci_device *pci);
