// SPDX-License-Identifier: BSD-2-Clause
// NVM Express 1.4 over PCI: an admin queue that is polled, and pairs of I/O queues.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "drivers/disks/controller.h"
#include "drivers/nvme/identify.h"

enum {
    REGISTER_CAPABILITIES = 0x00,
    REGISTER_CONFIGURATION = 0x14,
    REGISTER_STATUS = 0x1c,
    REGISTER_ADMIN_SIZES = 0x24,
    REGISTER_ADMIN_SUBMISSIONS = 0x28,
    REGISTER_ADMIN_COMPLETIONS = 0x30,
    DOORBELLS = 0x1000,
};

#define CONFIGURATION_ENABLE  1u
#define CONFIGURATION_ENTRIES (6u << 16 | 4u << 20) // 2^6 bytes a submission, 2^4 a completion
#define STATUS_READY          1u

enum {
    ADMIN_CREATE_SUBMISSIONS = 0x01,
    ADMIN_CREATE_COMPLETIONS = 0x05,
    ADMIN_IDENTIFY = 0x06,
    ADMIN_SET_FEATURES = 0x09,

    IO_FLUSH = 0x00,
    IO_WRITE = 0x01,
    IO_READ = 0x02,
    IO_WRITE_ZEROES = 0x08,
    IO_DATASET_MANAGEMENT = 0x09,
};

#define FEATURE_QUEUES       7u
#define IDENTIFY_NAMESPACE   0u
#define IDENTIFY_CONTROLLER  1u
#define IDENTIFY_LIST        2u
#define QUEUE_CONTIGUOUS     1u
#define QUEUE_INTERRUPTS     2u
#define DATASET_DEALLOCATE   4u
#define ZEROES_MAY_UNMAP     (1u << 25)
#define STATUS_DO_NOT_RETRY  (1u << 14)
#define STATUS_INVALID_CODES 2u // generic: invalid opcode (1), invalid field (2)

#define ENTRIES          64u // of each queue: more than DISK_SLOTS_MAX, so none is ever full
#define QUEUES_MAX       4u  // I/O queue pairs
#define NAMESPACES_MAX   16u
#define ADMIN_TIMEOUT    5000   // ms
#define CLEAR_BLOCKS_MAX 65536u // of a write zeroes command

struct submission {
    uint8_t operation, flags;
    uint16_t id;
    uint32_t namespace;
    uint32_t reserved[2];
    uint64_t metadata;
    uint64_t data[2];      // PRP entries
    uint32_t arguments[6]; // dwords 10 to 15
};
_Static_assert(sizeof(struct submission) == 64, "NVMe 1.4, 4.2");

struct completion {
    uint32_t result, reserved;
    uint16_t head, queue, id;
    uint16_t status; // bit 0: phase
};
_Static_assert(sizeof(struct completion) == 16, "NVMe 1.4, 4.6");

struct pair {
    struct submission *submissions;
    volatile struct completion *completions;
    volatile uint32_t *tail_bell, *head_bell;
    unsigned tail, head;
    uint16_t phase;
};

struct nvme {
    struct controller controller; // first
    volatile uint8_t *registers;
    uint64_t capabilities;
    struct pair admin, pairs[QUEUES_MAX];
    unsigned pair_count, vectors;
    uint8_t *identity; // a page of DMA memory
};

static volatile uint32_t *reg(const struct nvme *nvme, unsigned offset) {
    return (volatile uint32_t *)(nvme->registers + offset);
}

static void write_address(const struct nvme *nvme, unsigned offset, uint64_t address) {
    *reg(nvme, offset) = (uint32_t)address;
    *reg(nvme, offset + 4) = (uint32_t)(address >> 32);
}

static uint64_t device_address(const struct nvme *nvme, const volatile void *memory) {
    size_t size = 1;

    return dma_address(nvme->controller.pci->dma, (const void *)memory, &size);
}

// --- queue pairs

static int pair_allocate(struct nvme *nvme, struct pair *pair, unsigned number) {
    unsigned stride = 4u << (nvme->capabilities >> 32 & 0xf);

    pair->submissions = dma_allocate(nvme->controller.pci->dma, DMA_PAGE);
    pair->completions = dma_allocate(nvme->controller.pci->dma, DMA_PAGE);
    pair->tail_bell = reg(nvme, DOORBELLS + 2 * number * stride);
    pair->head_bell = reg(nvme, DOORBELLS + (2 * number + 1) * stride);
    return pair->submissions && pair->completions ? 0 : -ENOMEM;
}

static void pair_empty(struct pair *pair) {
    memset((void *)pair->completions, 0, DMA_PAGE);
    pair->tail = pair->head = 0;
    pair->phase = 1;
}

static void pair_put(struct pair *pair, const struct submission *submission) {
    pair->submissions[pair->tail] = *submission;
    pair->tail = (pair->tail + 1) % ENTRIES;
}

static void pair_ring(struct pair *pair) {
    __atomic_thread_fence(__ATOMIC_RELEASE);
    *pair->tail_bell = pair->tail;
}

static bool pair_take(struct pair *pair, struct completion *completion) {
    volatile struct completion *entry = &pair->completions[pair->head];

    if ((entry->status & 1) != pair->phase)
        return false;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    completion->result = entry->result;
    completion->id = entry->id;
    completion->status = entry->status;
    pair->head = (pair->head + 1) % ENTRIES;
    if (!pair->head)
        pair->phase ^= 1;
    return true;
}

// An admin command from beginning to end. *result may be NULL. 0 or -errno.
static int admin(struct nvme *nvme, const struct submission *submission, uint32_t *result) {
    struct pair *pair = &nvme->admin;
    volatile struct completion *entry = &pair->completions[pair->head];
    uint16_t phase = pair->phase;
    struct completion completion;

    pair_put(pair, submission);
    pair_ring(pair);
    if (!controller_wait((volatile uint32_t *)&entry->id, 1u << 16, (uint32_t)phase << 16,
                         ADMIN_TIMEOUT) ||
        !pair_take(pair, &completion))
        return -ETIMEDOUT;
    *pair->head_bell = pair->head;
    if (completion.status >> 1)
        return -EIO;
    if (result)
        *result = completion.result;
    return 0;
}

// --- commands

// PRP entries (4.3): the first may begin within a page, the others are whole pages; more than two
// are in a list.
static void set_data(const struct disk_command *command, struct submission *submission) {
    uint64_t *list = command->scratch;
    unsigned count = 0;

    for (unsigned i = 0; i < command->piece_count; i++) {
        uint64_t address = command->pieces[i].address;
        uint64_t end = address + command->pieces[i].size;

        for (; address < end; address = (address / DMA_PAGE + 1) * DMA_PAGE) {
            if (!count)
                submission->data[0] = address;
            else
                list[count - 1] = address;
            count++;
        }
    }
    if (count == 2)
        submission->data[1] = list[0];
    else if (count > 2)
        submission->data[1] = command->scratch_address;
}

static void set_blocks(const struct disk_command *command, struct submission *submission) {
    uint32_t block = command->disk->device.logical_block;
    uint64_t first = command->offset / block;

    submission->arguments[0] = (uint32_t)first;
    submission->arguments[1] = (uint32_t)(first >> 32);
    submission->arguments[2] = (uint32_t)(command->length / block - 1);
}

static void set_range(const struct disk_command *command, struct submission *submission) {
    uint32_t block = command->disk->device.logical_block;
    uint64_t *range = command->scratch; // attributes and length, start

    range[0] = command->length / block << 32;
    range[1] = command->offset / block;
    submission->data[0] = command->scratch_address;
    submission->arguments[0] = 0; // one range
    submission->arguments[1] = DATASET_DEALLOCATE;
}

static void start(struct disk_queue *queue, unsigned slot) {
    static const uint8_t operations[] = {[BLOCK_READ] = IO_READ,
                                         [BLOCK_WRITE] = IO_WRITE,
                                         [BLOCK_FLUSH] = IO_FLUSH,
                                         [BLOCK_DISCARD] = IO_DATASET_MANAGEMENT,
                                         [BLOCK_WRITE_ZEROES] = IO_WRITE_ZEROES};
    struct nvme *nvme = (struct nvme *)queue->controller;
    const struct disk_command *command = &queue->commands[slot];
    struct submission submission = {.operation = operations[command->operation],
                                    .id = (uint16_t)slot,
                                    .namespace = command->disk->listed.unit};

    switch (command->operation) {
    case BLOCK_READ:
    case BLOCK_WRITE:
        set_data(command, &submission);
        set_blocks(command, &submission);
        break;
    case BLOCK_WRITE_ZEROES:
        set_blocks(command, &submission);
        if (command->request->may_unmap)
            submission.arguments[2] |= ZEROES_MAY_UNMAP;
        break;
    case BLOCK_DISCARD:
        set_range(command, &submission);
        break;
    case BLOCK_FLUSH:
        break;
    }
    pair_put(&nvme->pairs[queue->index], &submission);
}

static void kick(struct disk_queue *queue) {
    pair_ring(&((struct nvme *)queue->controller)->pairs[queue->index]);
}

static int error_of(uint16_t status) {
    unsigned code = status >> 1 & 0x7ff; // type and code

    if (!code)
        return 0;
    if (code <= STATUS_INVALID_CODES)
        return -EOPNOTSUPP;
    return status >> 1 & STATUS_DO_NOT_RETRY ? -EIO : -EAGAIN;
}

static bool poll_queue(struct disk_queue *queue) {
    const struct nvme *nvme = (struct nvme *)queue->controller;
    struct pair *pair = (struct pair *)&nvme->pairs[queue->index];
    struct completion completion;
    unsigned before = pair->head;

    while (pair_take(pair, &completion)) {
        if (!disk_command_started(queue, completion.id))
            return false;
        disk_command_over(queue, completion.id, error_of(completion.status));
    }
    if (pair->head != before)
        *pair->head_bell = pair->head;
    return true;
}

// --- the controller

static int set_enabled(const struct nvme *nvme, bool enabled) {
    // CAP.TO is in units of 500 ms.
    unsigned timeout = (unsigned)(nvme->capabilities >> 24 & 0xff) * 500 + 500;

    *reg(nvme, REGISTER_CONFIGURATION) = enabled ? CONFIGURATION_ENABLE | CONFIGURATION_ENTRIES : 0;
    return controller_wait(reg(nvme, REGISTER_STATUS), STATUS_READY, enabled ? STATUS_READY : 0,
                           timeout)
               ? 0
               : -ETIMEDOUT;
}

static int create_pair(struct nvme *nvme, unsigned index) {
    struct pair *pair = &nvme->pairs[index];
    uint32_t sizes = (ENTRIES - 1) << 16 | (index + 1);
    struct submission submission = {
        .operation = ADMIN_CREATE_COMPLETIONS,
        .data = {device_address(nvme, pair->completions)},
        .arguments = {sizes, nvme->vectors
                                 ? index % nvme->vectors << 16 | QUEUE_INTERRUPTS | QUEUE_CONTIGUOUS
                                 : QUEUE_CONTIGUOUS}};

    pair_empty(pair);
    int error = admin(nvme, &submission, NULL);
    if (error)
        return error;
    submission = (struct submission){.operation = ADMIN_CREATE_SUBMISSIONS,
                                     .data = {device_address(nvme, pair->submissions)},
                                     .arguments = {sizes, (index + 1) << 16 | QUEUE_CONTIGUOUS}};
    return admin(nvme, &submission, NULL);
}

// From any state to one where all queues are empty.
static int reset(struct controller *controller) {
    struct nvme *nvme = (struct nvme *)controller;
    int error = set_enabled(nvme, false);
    uint32_t granted;

    if (error)
        return error;
    pair_empty(&nvme->admin);
    *reg(nvme, REGISTER_ADMIN_SIZES) = (ENTRIES - 1) << 16 | (ENTRIES - 1);
    write_address(nvme, REGISTER_ADMIN_SUBMISSIONS, device_address(nvme, nvme->admin.submissions));
    write_address(nvme, REGISTER_ADMIN_COMPLETIONS, device_address(nvme, nvme->admin.completions));
    error = set_enabled(nvme, true);
    if (error)
        return error;
    const struct submission queues = {
        .operation = ADMIN_SET_FEATURES,
        .arguments = {FEATURE_QUEUES, (QUEUES_MAX - 1) << 16 | (QUEUES_MAX - 1)}};
    error = admin(nvme, &queues, &granted);
    if (error)
        return error;
    // Numbers less one; what was used before a reset is granted after it.
    unsigned least = (granted & 0xffff) < granted >> 16 ? granted & 0xffff : granted >> 16;
    if (nvme->pair_count > least + 1) {
        if (controller->queue_count)
            return -EIO;
        nvme->pair_count = least + 1;
    }
    for (unsigned i = 0; i < nvme->pair_count && !error; i++)
        error = create_pair(nvme, i);
    return error;
}

static int identify(struct nvme *nvme, uint32_t what, uint32_t namespace) {
    const struct submission submission = {.operation = ADMIN_IDENTIFY,
                                          .namespace = namespace,
                                          .data = {device_address(nvme, nvme->identity)},
                                          .arguments = {what}};

    return admin(nvme, &submission, NULL);
}

static int add_namespace(struct nvme *nvme, const struct nvme_controller_identity *identity,
                         uint32_t number) {
    struct nvme_namespace_identity namespace;
    int error = identify(nvme, IDENTIFY_NAMESPACE, number);

    if (!error)
        error = nvme_parse_namespace(nvme->identity, &namespace);
    if (error) {
        fprintf(stderr, "drivers: %s: namespace %u cannot be used: %s\n",
                nvme->controller.pci->identity.address, number, strerror(-error));
        return 0;
    }
    struct disk *disk =
        controller_add_disk(&nvme->controller, number, 0, nvme->controller.queue_count);
    if (!disk)
        return -ENOMEM;
    disk->device.sectors = namespace.sectors;
    disk->device.logical_block = namespace.logical_block;
    disk->device.physical_block = namespace.physical_block;
    disk->device.discards = identity->discards;
    memcpy(disk->device.id, identity->serial, sizeof(disk->device.id));
    disk->clears = identity->writes_zeroes;
    disk->clear_max = (uint64_t)CLEAR_BLOCKS_MAX * namespace.logical_block;
    return 0;
}

static int find_namespaces(struct nvme *nvme) {
    struct nvme_controller_identity identity;
    uint32_t list[NAMESPACES_MAX];
    uint32_t page_size = 4096u << (nvme->capabilities >> 48 & 0xf);
    int error = identify(nvme, IDENTIFY_CONTROLLER, 0);

    if (error)
        return error;
    nvme_parse_controller(nvme->identity, page_size, &identity);
    nvme->controller.command_max =
        identity.transfer_max < DISK_COMMAND_MAX ? identity.transfer_max : DISK_COMMAND_MAX;
    error = identify(nvme, IDENTIFY_LIST, 0);
    if (error)
        return error;
    memcpy(list, nvme->identity, sizeof(list));
    for (unsigned i = 0; i < NAMESPACES_MAX && list[i] && !error; i++)
        error = add_namespace(nvme, &identity, list[i]);
    return error;
}

// Returns the number of interrupt vectors or -errno.
static int open_controller(struct nvme *nvme) {
    struct pci_device *pci = nvme->controller.pci;

    nvme->registers = pci_map(pci, 0, 0, DOORBELLS);
    if (!nvme->registers)
        return -ENODEV;
    nvme->capabilities =
        *reg(nvme, REGISTER_CAPABILITIES) | (uint64_t)*reg(nvme, REGISTER_CAPABILITIES + 4) << 32;
    size_t size = DOORBELLS + 2 * (QUEUES_MAX + 1) * (4u << (nvme->capabilities >> 32 & 0xf));
    pci_unmap(nvme->registers, DOORBELLS);
    nvme->registers = pci_map(pci, 0, 0, size);
    if (!nvme->registers || (nvme->capabilities & 0xffff) < ENTRIES - 1 ||
        nvme->capabilities >> 48 & 0xf)
        return -ENODEV; // queues too short, or no pages of 4 KiB
    nvme->identity = dma_allocate(pci->dma, DMA_PAGE);
    int error = nvme->identity ? pair_allocate(nvme, &nvme->admin, 0) : -ENOMEM;
    unsigned cpus = (unsigned)get_nprocs();
    nvme->pair_count = cpus < QUEUES_MAX ? cpus : QUEUES_MAX;
    for (unsigned i = 0; i < nvme->pair_count && !error; i++)
        error = pair_allocate(nvme, &nvme->pairs[i], i + 1);
    int vectors = error ? error : pci_enable_interrupts(pci, nvme->pair_count);
    if (vectors < 0)
        return vectors;
    nvme->vectors = (unsigned)vectors;
    error = reset(&nvme->controller);
    for (unsigned i = 0; i < nvme->pair_count && !error; i++)
        error = controller_add_queue(&nvme->controller, DISK_SLOTS_MAX) ? 0 : -ENOMEM;
    if (!error)
        error = find_namespaces(nvme);
    return error ? error : vectors;
}

struct controller *nvme_open(struct pci_device *pci) {
    static const struct controller_operations operations = {
        .start = start, .kick = kick, .poll = poll_queue, .reset = reset};
    struct nvme *nvme = calloc(1, sizeof(*nvme));

    if (!nvme)
        return NULL;
    nvme->controller = (struct controller){.pci = pci,
                                           .operations = &operations,
                                           .address_mask = UINT64_MAX,
                                           .gap_mask = DMA_PAGE - 1};
    return controller_run(&nvme->controller, "NVMe", open_controller(nvme));
}
