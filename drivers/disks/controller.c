// SPDX-License-Identifier: BSD-2-Clause
// Locks: a queue's own; a reset takes those of all queues in their order. Requests are told of
// their end without any.
#define _GNU_SOURCE // pthread_setname_np
#include "drivers/disks/controller.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "drivers/clock.h"

#define SECOND         1000000000ull
#define COMMAND_TIME   (30 * SECOND) // until a command counts as lost
#define ATTEMPTS_MAX   3
#define SPINS          50    // polls of a busy queue without success before its thread sleeps
#define WATCH_INTERVAL 1000  // ms between looks for lost commands
#define POLL_INTERVAL  1     // ms between looks at a busy controller that does not interrupt
#define WAIT_SPINS     10000 // reads of a register before the waiter sleeps between them

bool controller_wait(volatile uint32_t *read, uint32_t mask, uint32_t value,
                     unsigned milliseconds) {
    const struct timespec millisecond = {.tv_nsec = 1000000};
    uint64_t deadline = clock_now() + milliseconds * (SECOND / 1000);

    for (unsigned i = 0; (*read & mask) != value; i++) {
        if (i < WAIT_SPINS)
            continue;
        if (clock_now() > deadline)
            return false;
        nanosleep(&millisecond, NULL);
    }
    return true;
}

// --- the data of a command

// Calls visit for the pieces of a request's data from `position` on, `length` bytes. False where
// visit returned false.
static bool for_each_piece(const struct block_request *request, uint64_t position, uint64_t length,
                           bool (*visit)(void *context, void *data, size_t size), void *context) {
    for (unsigned i = 0; i < request->count && length; i++) {
        size_t size = request->data[i].iov_len;

        if (position >= size) {
            position -= size;
            continue;
        }
        size -= position;
        if (size > length)
            size = length;
        if (!visit(context, (uint8_t *)request->data[i].iov_base + position, size))
            return false;
        length -= size;
        position = 0;
    }
    return true;
}

static bool copy_in(void *context, void *data, size_t size) {
    uint8_t **at = context;

    memcpy(*at, data, size);
    *at += size;
    return true;
}

static bool copy_out(void *context, void *data, size_t size) {
    uint8_t **at = context;

    memcpy(data, *at, size);
    *at += size;
    return true;
}

// Device addresses of memory are added to a command as far as its controller can use them.
static bool add_pieces(void *context, void *data, size_t size) {
    struct disk_command *command = context;
    const struct controller *controller = command->disk->controller;

    while (size) {
        struct disk_piece *last =
            command->piece_count ? &command->pieces[command->piece_count - 1] : NULL;
        size_t length = size;
        uint64_t address = dma_address(controller->pci->dma, data, &length);

        if (address == DMA_NONE || (address | length) & 3 ||
            (address + length - 1) & ~controller->address_mask)
            return false;
        if (last && last->address + last->size == address) {
            last->size += (uint32_t)length;
        } else {
            if (command->piece_count == DISK_PIECES_MAX ||
                (last && (address | (last->address + last->size)) & controller->gap_mask))
                return false;
            command->pieces[command->piece_count++] =
                (struct disk_piece){.address = address, .size = (uint32_t)length};
        }
        data = (uint8_t *)data + length;
        size -= length;
    }
    return true;
}

// Zeros are written from the bounce buffer where the disk has no command for them.
static void map_data(struct disk_command *command) {
    const struct block_request *request = command->request;
    uint8_t *bounce = command->bounce;

    command->piece_count = 0;
    command->bounced = true;
    if (request->operation == BLOCK_WRITE_ZEROES) {
        memset(bounce, 0, command->length);
    } else if (for_each_piece(request, command->position, command->length, add_pieces, command)) {
        command->bounced = false;
        return;
    } else if (command->operation == BLOCK_WRITE) {
        for_each_piece(request, command->position, command->length, copy_in, &bounce);
    }
    command->piece_count = 0;
    add_pieces(command, command->bounce, command->length);
}

// --- commands

static enum block_operation operation_of(const struct disk *disk,
                                         const struct block_request *request) {
    return request->operation == BLOCK_WRITE_ZEROES && !disk->clears ? BLOCK_WRITE
                                                                     : request->operation;
}

static bool moves_data(enum block_operation operation) {
    return operation == BLOCK_READ || operation == BLOCK_WRITE;
}

static void start(struct disk_queue *queue, unsigned slot) {
    struct disk_command *command = &queue->commands[slot];

    command->started = true;
    command->deadline = clock_now() + COMMAND_TIME;
    queue->started++;
    queue->exclusive =
        queue->controller->operations->exclusive & (1u << (unsigned)command->operation);
    queue->controller->operations->start(queue, slot);
}

static void make_command(struct disk_queue *queue, unsigned slot, struct block_request *request) {
    struct disk_command *command = &queue->commands[slot];
    uint64_t left = request->length - request->taken;

    command->request = request;
    command->operation = operation_of(command->disk, request);
    uint64_t most =
        moves_data(command->operation) ? queue->controller->command_max : command->disk->clear_max;
    command->length = left < most ? left : most;
    command->position = request->taken;
    command->offset = request->offset + request->taken;
    command->attempts = 0;
    if (moves_data(command->operation))
        map_data(command);
    request->taken += command->length;
    request->commands++;
    queue->occupied++;
}

static unsigned find_slot(const struct disk_queue *queue, bool occupied) {
    unsigned slot = 0;

    while (slot < queue->slots && (queue->commands[slot].request != NULL) != occupied)
        slot++;
    return slot;
}

static void next_request(struct disk_queue *queue) {
    queue->waiting = queue->waiting->next;
    if (!queue->waiting)
        queue->last = &queue->waiting;
}

// Starts what can be. After a reset the commands that were under way go one by one, so that one
// which the device cannot carry out fails alone.
static void pump(struct disk_queue *queue) {
    const struct controller_operations *operations = queue->controller->operations;
    struct block_request *request;
    unsigned before = queue->started;

    if (queue->occupied > queue->started) {
        if (!queue->started)
            start(queue, find_slot(queue, true));
    } else {
        while ((request = queue->waiting) && queue->occupied < queue->slots && !queue->exclusive) {
            struct disk *disk = request->disk;

            if (queue->started &&
                operations->exclusive & (1u << (unsigned)operation_of(disk, request)))
                break;
            unsigned slot = find_slot(queue, false);
            queue->commands[slot].disk = disk;
            make_command(queue, slot, request);
            if (request->taken == request->length)
                next_request(queue);
            start(queue, slot);
        }
    }
    if (queue->started != before && operations->kick)
        operations->kick(queue);
}

static void end_command(struct disk_queue *queue, struct disk_command *command, int error) {
    struct block_request *request = command->request;
    uint8_t *bounce = command->bounce;

    if (!error && command->operation == BLOCK_READ && command->bounced)
        for_each_piece(request, command->position, command->length, copy_out, &bounce);
    command->request = NULL;
    queue->occupied--;
    request->commands--;
    if (error && !request->error) {
        request->error = error;
        if (request->taken != request->length)
            next_request(queue); // it waits at the head for further commands
        request->taken = request->length;
    }
    if (!request->commands && request->taken == request->length) {
        if (request->operation == BLOCK_FLUSH)
            request->length = 0; // as it came
        request->next = queue->over;
        queue->over = request;
    }
}

struct disk_command *disk_command_started(struct disk_queue *queue, unsigned slot) {
    return slot < queue->slots && queue->commands[slot].started ? &queue->commands[slot] : NULL;
}

void disk_command_over(struct disk_queue *queue, unsigned slot, int error) {
    struct disk_command *command = &queue->commands[slot];

    command->started = false;
    queue->started--;
    queue->exclusive = false;
    if (error == -EAGAIN && ++command->attempts < ATTEMPTS_MAX)
        return; // it is started again by pump
    end_command(queue, command, error == -EAGAIN ? -EIO : error);
}

static void fail_all(struct disk_queue *queue) {
    for (unsigned i = 0; i < queue->slots; i++)
        if (queue->commands[i].request)
            end_command(queue, &queue->commands[i], -EIO);
    while (queue->waiting) {
        struct block_request *request = queue->waiting;

        next_request(queue);
        request->error = -EIO;
        request->next = queue->over;
        queue->over = request;
    }
}

// --- serving

static struct block_request *take_over(struct disk_queue *queue) {
    struct block_request *over = queue->over;

    queue->over = NULL;
    return over;
}

static bool tell(struct block_request *over) {
    bool any = over != NULL;

    while (over) {
        struct block_request *request = over;

        over = request->next;
        request->done(request, request->error);
    }
    return any;
}

static void stop_commands(struct disk_queue *queue, bool guilty) {
    // Only one that was alone is known to be what the device cannot do.
    bool alone = queue->started == 1;

    for (unsigned i = 0; i < queue->slots; i++) {
        struct disk_command *command = &queue->commands[i];

        if (!command->started)
            continue;
        command->started = false;
        queue->started--;
        if (guilty && alone && ++command->attempts == ATTEMPTS_MAX - 1)
            end_command(queue, command, -EIO);
    }
    queue->exclusive = false;
}

static void recover(struct disk_queue *guilty, unsigned resets) {
    struct controller *controller = guilty->controller;

    for (unsigned i = 0; i < controller->queue_count; i++)
        pthread_mutex_lock(&controller->queues[i]->lock);
    if (controller->resets == resets && !controller->dead) {
        controller->resets++;
        fprintf(stderr, "drivers: %s: reset after a failure\n", controller->pci->identity.address);
        controller->dead = controller->operations->reset(controller) != 0;
        if (controller->dead) {
            pci_stop_dma(controller->pci); // who is told that a request failed uses its memory
            fprintf(stderr, "drivers: %s: does not come back from reset; its disks fail\n",
                    controller->pci->identity.address);
        }
        for (unsigned i = 0; i < controller->queue_count; i++) {
            struct disk_queue *queue = controller->queues[i];

            stop_commands(queue, queue == guilty);
            if (controller->dead)
                fail_all(queue);
            else
                pump(queue);
        }
    }
    for (unsigned i = controller->queue_count; i--;)
        pthread_mutex_unlock(&controller->queues[i]->lock);
}

static bool is_overdue(const struct disk_queue *queue) {
    uint64_t time = clock_now();

    for (unsigned i = 0; i < queue->slots; i++)
        if (queue->commands[i].started && time > queue->commands[i].deadline)
            return true;
    return false;
}

// Takes in what is over. Returns whether anything was.
static bool serve(struct disk_queue *queue, bool watch) {
    struct controller *controller = queue->controller;
    bool fine = true;

    pthread_mutex_lock(&queue->lock);
    unsigned resets = controller->resets;
    // Where nothing is under way, too, now and then: an error would interrupt for ever.
    if (queue->started || watch)
        fine = controller->operations->poll(queue) && !(watch && is_overdue(queue));
    if (fine)
        pump(queue);
    struct block_request *over = take_over(queue);
    pthread_mutex_unlock(&queue->lock);
    if (!fine) {
        recover(queue, resets);
        pthread_mutex_lock(&queue->lock);
        struct block_request *failed = take_over(queue);
        pthread_mutex_unlock(&queue->lock);
        tell(failed);
    }
    return tell(over);
}

struct watcher {
    struct controller *controller;
    unsigned vector;
};

// Serves the queues of a vector. Returns whether any is busy.
static bool serve_vector(const struct watcher *watcher, bool watch) {
    struct controller *controller = watcher->controller;
    unsigned step = controller->vectors ? controller->vectors : 1;
    bool polls = controller->vectors && !controller->pci->intx;
    bool busy = false;

    for (unsigned spins = 0; spins < SPINS; spins++) {
        busy = false;
        for (unsigned i = watcher->vector; i < controller->queue_count; i += step) {
            if (serve(controller->queues[i], watch))
                spins = 0;
            busy |= __atomic_load_n(&controller->queues[i]->started, __ATOMIC_RELAXED) > 0;
        }
        if (!busy || !polls)
            break;
        __builtin_ia32_pause();
    }
    return busy;
}

static void *watch_vector(void *argument) {
    struct watcher watcher = *(struct watcher *)argument;
    struct controller *controller = watcher.controller;
    int idle = controller->vectors ? WATCH_INTERVAL : -1;
    uint64_t watched = clock_now();
    bool busy = false;
    struct pollfd fd = {.fd = controller->vectors ? controller->pci->interrupts[watcher.vector]
                                                  : controller->wake,
                        .events = POLLIN};

    free(argument);
    for (;;) {
        bool woken = poll(&fd, 1, busy && !controller->vectors ? POLL_INTERVAL : idle) > 0;
        uint64_t count;

        if (woken && read(fd.fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
            return NULL;
        if (controller->operations->acknowledge)
            controller->operations->acknowledge(controller);
        bool watch = clock_now() - watched > SECOND;
        if (watch)
            watched = clock_now();
        busy = serve_vector(&watcher, watch);
        if (woken)
            pci_interrupt_served(controller->pci);
    }
}

// --- disks

static void submit(struct block_device *device, struct block_request *request) {
    struct disk *disk = (struct disk *)device;
    struct controller *controller = disk->controller;
    struct disk_queue *queue =
        controller->queues[disk->first_queue + request->queue % disk->queues];
    const uint64_t one = 1;

    if (request->operation == BLOCK_FLUSH)
        request->length = 1; // one command
    request->disk = disk;
    request->taken = 0;
    request->commands = 0;
    request->error = 0;
    request->next = NULL;
    if (!request->length || (request->operation == BLOCK_DISCARD && !device->discards)) {
        request->done(request, request->length ? -EOPNOTSUPP : 0);
        return;
    }
    pthread_mutex_lock(&queue->lock);
    *queue->last = request;
    queue->last = &request->next;
    if (controller->dead)
        fail_all(queue);
    else
        pump(queue);
    struct block_request *over = take_over(queue);
    pthread_mutex_unlock(&queue->lock);
    // It can only fail by being signalled already.
    if (!controller->vectors && write(controller->wake, &one, sizeof(one)) < 0)
        return;
    tell(over);
}

static void poll_device(struct block_device *device, unsigned queue) {
    struct disk *disk = (struct disk *)device;

    serve(disk->controller->queues[disk->first_queue + queue % disk->queues], false);
}

static int map(struct block_device *device, void *address, size_t size) {
    const struct controller *controller = ((struct disk *)device)->controller;

    // Memory of others lies above 4 GiB.
    return controller->address_mask <= UINT32_MAX ? -EOPNOTSUPP
                                                  : dma_map(controller->pci->dma, address, size);
}

static void unmap(struct block_device *device, void *address, size_t size) {
    (void)size;
    dma_unmap(((struct disk *)device)->controller->pci->dma, address);
}

struct disk_queue *controller_add_queue(struct controller *controller, unsigned slots) {
    struct disk_queue *queue = calloc(1, sizeof(*queue));
    struct dma_space *dma = controller->pci->dma;

    if (slots > DISK_SLOTS_MAX)
        slots = DISK_SLOTS_MAX;
    uint8_t *scratch = dma_allocate(dma, (size_t)slots * DISK_SCRATCH);
    uint8_t *bounce = dma_allocate(dma, (size_t)slots * DISK_COMMAND_MAX);
    if (!queue || !scratch || !bounce || controller->queue_count == DISK_QUEUES_MAX) {
        free(queue);
        return NULL;
    }
    queue->controller = controller;
    queue->index = controller->queue_count;
    queue->slots = slots;
    queue->last = &queue->waiting;
    pthread_mutex_init(&queue->lock, NULL);
    for (unsigned i = 0; i < slots; i++) {
        struct disk_command *command = &queue->commands[i];
        size_t size = DISK_SCRATCH;

        command->scratch = scratch + (size_t)i * DISK_SCRATCH;
        command->scratch_address = dma_address(dma, command->scratch, &size);
        command->bounce = bounce + (size_t)i * DISK_COMMAND_MAX;
    }
    // What add_pieces then need not check.
    for (size_t at = 0; at < (size_t)slots * DISK_COMMAND_MAX; at += DMA_PAGE) {
        size_t size = DMA_PAGE;

        if (dma_address(dma, bounce + at, &size) & ~controller->address_mask) {
            free(queue);
            return NULL;
        }
    }
    controller->queues[controller->queue_count++] = queue;
    return queue;
}

struct disk *controller_add_disk(struct controller *controller, unsigned unit, unsigned first_queue,
                                 unsigned queues) {
    struct disk *disk = calloc(1, sizeof(*disk));

    if (!disk)
        return NULL;
    disk->device = (struct block_device){.logical_block = BLOCK_SECTOR_SIZE,
                                         .physical_block = BLOCK_SECTOR_SIZE,
                                         .submit = submit,
                                         .poll = poll_device,
                                         .map = map,
                                         .unmap = unmap};
    memcpy(disk->listed.address, controller->pci->identity.address, PCI_ADDRESS_SIZE);
    disk->listed.unit = unit;
    disk->listed.device = &disk->device;
    disk->controller = controller;
    disk->first_queue = first_queue;
    disk->queues = queues;
    disk->clear_max = 1;
    struct disk **last = &controller->disks;
    while (*last)
        last = &(*last)->next;
    *last = disk;
    return disk;
}

struct controller *controller_run(struct controller *controller, const char *kind, int vectors) {
    if (vectors < 0) {
        fprintf(stderr, "drivers: %s: %s: %s\n", controller->pci->identity.address, kind,
                strerror(-vectors));
        free(controller);
        return NULL;
    }
    controller->vectors = (unsigned)vectors;
    controller->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    for (unsigned i = 0; i < (vectors ? controller->vectors : 1); i++) {
        struct watcher *watcher = malloc(sizeof(*watcher));
        pthread_t thread;

        if (watcher)
            *watcher = (struct watcher){.controller = controller, .vector = i};
        if (controller->wake < 0 || !watcher ||
            pthread_create(&thread, NULL, watch_vector, watcher)) {
            fprintf(stderr, "drivers: no memory for threads\n");
            exit(1); // who started this program may try again
        }
        pthread_detach(thread);
    }
    return controller;
}
