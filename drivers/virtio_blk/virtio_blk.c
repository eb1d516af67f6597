// SPDX-License-Identifier: BSD-2-Clause
// The virtio block device from the driver's side: virtio 1.2, 5.2.
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "drivers/disks/controller.h"
#include "drivers/virtio_pci/virtio_pci.h"

#define BIT(number) (1ull << (number))
#define WANTED_FEATURES                                                                            \
    (BIT(VIRTIO_BLK_F_RO) | BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_TOPOLOGY) |              \
     BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_MQ) | BIT(VIRTIO_BLK_F_SEG_MAX) |                  \
     BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES) |     \
     BIT(VIRTIO_RING_F_INDIRECT_DESC))

#define RINGS_MAX        4u
#define ID_SIZE          20u
#define ID_TIMEOUT       1000       // ms
#define CLEAR_MAX        (1u << 30) // bytes, below what the device says
#define PIECES           (DISK_PIECES_MAX + 2)
#define PHYSICAL_EXP_MAX 7

// A slot's memory that the device reaches.
struct scratch {
    struct virtio_blk_outhdr header;
    struct virtio_blk_discard_write_zeroes range;
    uint8_t id[ID_SIZE];
    uint8_t status;
};
_Static_assert(sizeof(struct scratch) <= DISK_SCRATCH, "a slot's memory");

struct virtio_disk {
    struct controller controller; // first
    struct virtio_pci virtio;
    struct virtio_ring rings[RINGS_MAX];
    unsigned ring_count, vectors;
};

static bool has(const struct virtio_disk *disk, unsigned feature) {
    return disk->virtio.features & BIT(feature);
}

static void put(struct virtio_ring *ring, const struct disk_command *command, unsigned slot,
                uint32_t type) {
    struct scratch *scratch = command->scratch;
    struct virtio_piece pieces[PIECES];
    unsigned count = 0, readable = 1;

    *scratch = (struct scratch){.header = {.type = type, .sector = command->offset / 512},
                                .status = VIRTIO_BLK_S_IOERR};
    pieces[count++] =
        (struct virtio_piece){command->scratch_address, sizeof(struct virtio_blk_outhdr)};
    if (type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES) {
        scratch->header.sector = 0;
        scratch->range = (struct virtio_blk_discard_write_zeroes){
            .sector = command->offset / 512,
            .num_sectors = (uint32_t)(command->length / 512),
            .flags = type == VIRTIO_BLK_T_WRITE_ZEROES && command->request->may_unmap
                         ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP
                         : 0};
        pieces[count++] = (struct virtio_piece){
            command->scratch_address + offsetof(struct scratch, range), sizeof(scratch->range)};
    } else if (type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_OUT) {
        for (unsigned i = 0; i < command->piece_count; i++)
            pieces[count++] =
                (struct virtio_piece){command->pieces[i].address, command->pieces[i].size};
    } else if (type == VIRTIO_BLK_T_GET_ID) {
        pieces[count++] =
            (struct virtio_piece){command->scratch_address + offsetof(struct scratch, id), ID_SIZE};
    }
    if (type != VIRTIO_BLK_T_IN && type != VIRTIO_BLK_T_GET_ID)
        readable = count;
    pieces[count++] =
        (struct virtio_piece){command->scratch_address + offsetof(struct scratch, status), 1};
    virtio_ring_put(ring, slot, pieces, readable, count - readable);
}

static void start(struct disk_queue *queue, unsigned slot) {
    static const uint8_t types[] = {[BLOCK_READ] = VIRTIO_BLK_T_IN,
                                    [BLOCK_WRITE] = VIRTIO_BLK_T_OUT,
                                    [BLOCK_FLUSH] = VIRTIO_BLK_T_FLUSH,
                                    [BLOCK_DISCARD] = VIRTIO_BLK_T_DISCARD,
                                    [BLOCK_WRITE_ZEROES] = VIRTIO_BLK_T_WRITE_ZEROES};
    struct virtio_disk *disk = (struct virtio_disk *)queue->controller;
    struct disk_command *command = &queue->commands[slot];

    if (command->operation == BLOCK_FLUSH)
        command->offset = 0;
    put(&disk->rings[queue->index], command, slot, types[command->operation]);
}

static void kick(struct disk_queue *queue) {
    virtio_ring_kick(&((struct virtio_disk *)queue->controller)->rings[queue->index]);
}

static bool poll_queue(struct disk_queue *queue) {
    struct virtio_ring *ring = &((struct virtio_disk *)queue->controller)->rings[queue->index];
    uint32_t written;
    int slot;

    while ((slot = virtio_ring_take(ring, &written)) >= 0) {
        struct disk_command *command = disk_command_started(queue, (unsigned)slot);

        if (!command)
            return false;
        uint8_t status = ((volatile struct scratch *)command->scratch)->status;
        disk_command_over(queue, (unsigned)slot,
                          status == VIRTIO_BLK_S_OK       ? 0
                          : status == VIRTIO_BLK_S_UNSUPP ? -EOPNOTSUPP
                                                          : -EIO);
    }
    return slot != -EPROTO;
}

static void acknowledge(struct controller *controller) {
    const struct virtio_disk *disk = (struct virtio_disk *)controller;

    if (controller->pci->intx)
        (void)*disk->virtio.isr;
}

static int reset(struct controller *controller) {
    struct virtio_disk *disk = (struct virtio_disk *)controller;
    uint64_t before = disk->virtio.features;
    int error = virtio_pci_negotiate(&disk->virtio, WANTED_FEATURES);

    if (!error && before && disk->virtio.features != before)
        return -EIO;
    uint16_t rings = 1;
    if (!error && has(disk, VIRTIO_BLK_F_MQ))
        virtio_pci_read_config(&disk->virtio, offsetof(struct virtio_blk_config, num_queues),
                               &rings, sizeof(rings));
    if (!before)
        disk->ring_count = rings < disk->ring_count ? rings : disk->ring_count;
    for (unsigned i = 0; i < disk->ring_count && !error; i++)
        error = virtio_pci_add_ring(&disk->virtio, &disk->rings[i], i, DISK_SLOTS_MAX, PIECES,
                                    disk->vectors ? (int)(i % disk->vectors) : -1);
    if (!error)
        virtio_pci_start(&disk->virtio);
    return error;
}

// The device's serial number. Nothing else is under way yet.
static void read_id(struct virtio_disk *disk, char id[BLOCK_ID_SIZE]) {
    struct disk_queue *queue = disk->controller.queues[0];
    struct virtio_ring *ring = &disk->rings[0];
    const struct disk_command *command = &queue->commands[0];
    uint32_t written;

    put(ring, command, 0, VIRTIO_BLK_T_GET_ID);
    virtio_ring_kick(ring);
    // The used ring's flags and index are one word.
    if (controller_wait((volatile uint32_t *)ring->used, 0xffffu << 16, 1u << 16, ID_TIMEOUT) &&
        virtio_ring_take(ring, &written) == 0)
        memcpy(id, ((struct scratch *)command->scratch)->id, BLOCK_ID_SIZE);
}

static int add_disk(struct virtio_disk *virtio_disk) {
    struct virtio_blk_config config = {0};
    struct virtio_pci *virtio = &virtio_disk->virtio;
    size_t known = sizeof(config) < virtio->config_size ? sizeof(config) : virtio->config_size;

    if (!virtio_pci_read_config(virtio, 0, &config, known) || !config.capacity ||
        config.capacity > INT64_MAX / 512)
        return -ENODEV;
    uint32_t block = has(virtio_disk, VIRTIO_BLK_F_BLK_SIZE) ? config.blk_size : 512;
    virtio_disk->controller.command_max &= ~(block - 1);
    if (!block_size_is_valid(block) || !virtio_disk->controller.command_max)
        return -EOPNOTSUPP;
    struct disk *disk =
        controller_add_disk(&virtio_disk->controller, 0, 0, virtio_disk->controller.queue_count);
    if (!disk)
        return -ENOMEM;
    disk->device.sectors = config.capacity;
    disk->device.logical_block = disk->device.physical_block = block;
    disk->device.read_only = has(virtio_disk, VIRTIO_BLK_F_RO);
    disk->device.discards = has(virtio_disk, VIRTIO_BLK_F_DISCARD);
    if (has(virtio_disk, VIRTIO_BLK_F_TOPOLOGY) && config.physical_block_exp <= PHYSICAL_EXP_MAX)
        disk->device.physical_block = block << config.physical_block_exp;
    disk->clears = has(virtio_disk, VIRTIO_BLK_F_WRITE_ZEROES);
    uint64_t most = CLEAR_MAX / 512;
    if (disk->device.discards && config.max_discard_sectors < most)
        most = config.max_discard_sectors;
    if (disk->clears && config.max_write_zeroes_sectors < most)
        most = config.max_write_zeroes_sectors;
    most = most * 512 & ~(uint64_t)(block - 1);
    disk->clear_max = most ? most : block;
    read_id(virtio_disk, disk->device.id);
    return 0;
}

// Returns the number of interrupt vectors or -errno.
static int open_disk(struct virtio_disk *disk) {
    struct pci_device *pci = disk->controller.pci;
    unsigned cpus = (unsigned)get_nprocs();
    int error = virtio_pci_open(&disk->virtio, pci);

    if (error)
        return error;
    disk->ring_count = cpus < RINGS_MAX ? cpus : RINGS_MAX;
    int vectors = pci_enable_interrupts(pci, disk->ring_count);
    if (vectors < 0)
        return vectors;
    disk->vectors = (unsigned)vectors;
    error = reset(&disk->controller);
    uint32_t segments = 0, segment_size = 0;
    if (!error && has(disk, VIRTIO_BLK_F_SEG_MAX))
        virtio_pci_read_config(&disk->virtio, offsetof(struct virtio_blk_config, seg_max),
                               &segments, sizeof(segments));
    if (!error && has(disk, VIRTIO_BLK_F_SIZE_MAX))
        virtio_pci_read_config(&disk->virtio, offsetof(struct virtio_blk_config, size_max),
                               &segment_size, sizeof(segment_size));
    // Devices that take less than the pieces of a command get commands of a page or two.
    if (segments && segments < DISK_PIECES_MAX)
        disk->controller.command_max = (segments > 1 ? segments - 1 : 1) * DMA_PAGE;
    if (segment_size && segment_size < disk->controller.command_max)
        disk->controller.command_max = segment_size;
    for (unsigned i = 0; i < disk->ring_count && !error; i++)
        if (!controller_add_queue(&disk->controller, disk->rings[i].slots))
            error = -ENOMEM;
    if (!error)
        error = add_disk(disk);
    return error ? error : vectors;
}

struct controller *virtio_blk_open(struct pci_device *pci) {
    static const struct controller_operations operations = {.start = start,
                                                            .kick = kick,
                                                            .poll = poll_queue,
                                                            .acknowledge = acknowledge,
                                                            .reset = reset};
    struct virtio_disk *disk = calloc(1, sizeof(*disk));

    if (!disk)
        return NULL;
    disk->controller = (struct controller){.pci = pci,
                                           .operations = &operations,
                                           .command_max = DISK_COMMAND_MAX,
                                           .address_mask = UINT64_MAX};
    return controller_run(&disk->controller, "virtio-blk", open_disk(disk));
}
