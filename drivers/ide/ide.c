// SPDX-License-Identifier: BSD-2-Clause
// PCI IDE controllers with bus mastering, as the PIIX has it (Programming Interface for Bus Master
// IDE Controller 1.0). A channel carries out one command at a time, for either of its two drives.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "drivers/ata/ata.h"

#define CHANNELS 2u

// Registers of a channel's command block (ATA-8 APT), and the one of its control block.
enum {
    PORT_DATA = 0,
    PORT_FEATURES = 1,
    PORT_COUNT = 2,
    PORT_LBA = 3, // three
    PORT_DEVICE = 6,
    PORT_COMMAND = 7, // read: status, which ends the interrupt
};

#define CONTROL_RESET         0x04u
#define CONTROL_NO_INTERRUPTS 0x02u
#define DEVICE_SECOND         0x10u

// Of a channel in BAR 4, at channel * 8.
enum {
    MASTER_COMMAND = 0,
    MASTER_STATUS = 2,
    MASTER_TABLE = 4,
    MASTER_SIZE = 8,
};

#define MASTER_BAR       VFIO_PCI_BAR4_REGION_INDEX
#define MASTER_START     0x01u
#define MASTER_TO_MEMORY 0x08u
#define MASTER_ERROR     0x02u
#define MASTER_INTERRUPT 0x04u
#define PIECE_LAST       0x80000000u
#define PIECE_BOUNDARY   0x10000u // which no piece crosses
#define INTERFACE_NATIVE 0x01u    // of channel 0; of channel 1: two bits further on

#define RESET_TIMEOUT    10000 // ms: a drive may spin up
#define IDENTIFY_TIMEOUT 2000

struct channel {
    unsigned index, control_offset;
    bool lba48[2];
};

struct ide {
    struct controller controller; // first
    struct channel channels[CHANNELS];
    unsigned channel_count; // with drives; each is the queue of the same index
};

// The command block's BAR; the control block's is the next.
static unsigned block_of(const struct channel *channel) {
    return channel->index * 2;
}

static uint8_t read_port(const struct ide *ide, const struct channel *channel, unsigned port) {
    return (uint8_t)pci_read(ide->controller.pci, block_of(channel), port, 1);
}

static void write_port(const struct ide *ide, const struct channel *channel, unsigned port,
                       unsigned value) {
    pci_write(ide->controller.pci, block_of(channel), port, 1, value);
}

// Without ending the interrupt.
static uint8_t read_status(const struct ide *ide, const struct channel *channel) {
    return (uint8_t)pci_read(ide->controller.pci, block_of(channel) + 1, channel->control_offset,
                             1);
}

static void write_control(const struct ide *ide, const struct channel *channel, unsigned value) {
    pci_write(ide->controller.pci, block_of(channel) + 1, channel->control_offset, 1, value);
}

static uint8_t read_master(const struct ide *ide, const struct channel *channel, unsigned offset) {
    return (uint8_t)pci_read(ide->controller.pci, MASTER_BAR, channel->index * MASTER_SIZE + offset,
                             1);
}

static void write_master(const struct ide *ide, const struct channel *channel, unsigned offset,
                         unsigned size, uint32_t value) {
    pci_write(ide->controller.pci, MASTER_BAR, channel->index * MASTER_SIZE + offset, size, value);
}

static bool wait_status(const struct ide *ide, const struct channel *channel, uint8_t mask,
                        uint8_t value, unsigned milliseconds) {
    const struct timespec pause = {.tv_nsec = 1000000};

    for (unsigned i = 0; (read_status(ide, channel) & mask) != value; i++) {
        if (i == milliseconds)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

// --- commands

// Physical region descriptors (2.1), cut where no piece may cross. Returns false for no data.
static bool set_table(const struct disk_command *command) {
    uint32_t *table = command->scratch;
    unsigned count = 0;

    for (unsigned i = 0; i < command->piece_count; i++) {
        uint64_t address = command->pieces[i].address;
        uint32_t left = command->pieces[i].size;

        while (left) {
            uint32_t size = PIECE_BOUNDARY - (uint32_t)(address % PIECE_BOUNDARY);

            if (size > left)
                size = left;
            table[count++] = (uint32_t)address;
            table[count++] = size & (PIECE_BOUNDARY - 1); // 0: 64 KiB
            address += size;
            left -= size;
        }
    }
    if (count)
        table[count - 1] |= PIECE_LAST;
    return count;
}

static void issue(const struct ide *ide, const struct channel *channel, unsigned drive,
                  const struct ata_registers *registers, bool lba48) {
    write_port(ide, channel, PORT_DEVICE, registers->device | (drive ? DEVICE_SECOND : 0));
    // Each register holds two values: the upper halves are written first.
    for (unsigned half = lba48 ? 2 : 1; half--;) {
        write_port(ide, channel, PORT_FEATURES, registers->features >> (8 * half) & 0xff);
        write_port(ide, channel, PORT_COUNT, registers->count >> (8 * half) & 0xff);
        for (unsigned i = 0; i < 3; i++)
            write_port(ide, channel, PORT_LBA + i,
                       (unsigned)(registers->lba >> (8 * (3 * half + i))) & 0xff);
    }
    write_port(ide, channel, PORT_COMMAND, registers->command);
}

static void start(struct disk_queue *queue, unsigned slot) {
    const struct ide *ide = (struct ide *)queue->controller;
    const struct channel *channel = &ide->channels[queue->index];
    struct disk_command *command = &queue->commands[slot];
    unsigned drive = command->disk->listed.unit & 1;
    uint64_t *ranges = (uint64_t *)command->scratch + DISK_SCRATCH / 2 / sizeof(uint64_t);
    const struct ata_registers registers =
        ata_registers_of(command, channel->lba48[drive], false, 0, ranges);

    if (command->operation == BLOCK_FLUSH)
        command->piece_count = 0;
    if (command->operation == BLOCK_DISCARD) {
        command->pieces[0] = (struct disk_piece){command->scratch_address + DISK_SCRATCH / 2,
                                                 ATA_RANGES_MAX * sizeof(*ranges)};
        command->piece_count = 1;
    }
    bool data = set_table(command);
    uint32_t direction = command->operation == BLOCK_READ ? MASTER_TO_MEMORY : 0;
    write_master(ide, channel, MASTER_STATUS, 1, MASTER_ERROR | MASTER_INTERRUPT); // clears them
    if (data) {
        write_master(ide, channel, MASTER_TABLE, 4, (uint32_t)command->scratch_address);
        write_master(ide, channel, MASTER_COMMAND, 1, direction);
    }
    issue(ide, channel, drive, &registers, channel->lba48[drive]);
    if (data)
        write_master(ide, channel, MASTER_COMMAND, 1, direction | MASTER_START);
}

static bool poll_queue(struct disk_queue *queue) {
    const struct ide *ide = (struct ide *)queue->controller;
    const struct channel *channel = &ide->channels[queue->index];
    const struct disk_command *command = disk_command_started(queue, 0);

    if (!command)
        return true;
    uint8_t master = read_master(ide, channel, MASTER_STATUS);
    if (command->piece_count && !(master & (MASTER_INTERRUPT | MASTER_ERROR)))
        return true;
    if (read_status(ide, channel) & ATA_STATUS_BUSY)
        return true;
    write_master(ide, channel, MASTER_COMMAND, 1, 0);
    uint8_t status = read_port(ide, channel, PORT_COMMAND);
    write_master(ide, channel, MASTER_STATUS, 1, MASTER_ERROR | MASTER_INTERRUPT);
    if (status & (ATA_STATUS_ERROR | ATA_STATUS_FAULT) || master & MASTER_ERROR)
        disk_command_over(queue, 0, -EAGAIN);
    else if (status & ATA_STATUS_REQUEST)
        return false; // it wants other data than was to be moved
    else
        disk_command_over(queue, 0, 0);
    return true;
}

// --- channels

static int reset_channel(const struct ide *ide, const struct channel *channel) {
    const struct timespec pause = {.tv_nsec = 5000000}; // of the 2 ms that the reset asks for

    write_master(ide, channel, MASTER_COMMAND, 1, 0);
    write_control(ide, channel, CONTROL_RESET | CONTROL_NO_INTERRUPTS);
    nanosleep(&pause, NULL);
    write_control(ide, channel, 0);
    nanosleep(&pause, NULL);
    return wait_status(ide, channel, ATA_STATUS_BUSY, 0, RESET_TIMEOUT) ? 0 : -ETIMEDOUT;
}

static int reset(struct controller *controller) {
    const struct ide *ide = (struct ide *)controller;
    int error = 0;

    for (unsigned i = 0; i < ide->channel_count && !error; i++)
        error = reset_channel(ide, &ide->channels[i]);
    return error;
}

static int identify(const struct ide *ide, const struct channel *channel, unsigned drive,
                    struct ata_identity *identity) {
    const struct ata_registers registers = {.command = ATA_IDENTIFY_DEVICE,
                                            .device = ATA_DEVICE_LBA};
    uint16_t words[ATA_IDENTIFY_WORDS];

    // Where no drive is, the registers do not hold what is written to them.
    write_port(ide, channel, PORT_DEVICE, ATA_DEVICE_LBA | (drive ? DEVICE_SECOND : 0));
    write_port(ide, channel, PORT_COUNT, 0x55);
    write_port(ide, channel, PORT_LBA, 0xaa);
    if (read_port(ide, channel, PORT_COUNT) != 0x55 || read_port(ide, channel, PORT_LBA) != 0xaa)
        return -ENODEV;
    issue(ide, channel, drive, &registers, false);
    // A drive that is no disk, or not there, ends the command without data.
    if (!wait_status(ide, channel, ATA_STATUS_BUSY, 0, IDENTIFY_TIMEOUT) ||
        !(read_port(ide, channel, PORT_COMMAND) & ATA_STATUS_REQUEST))
        return -ENODEV;
    for (unsigned i = 0; i < ATA_IDENTIFY_WORDS; i++)
        words[i] = (uint16_t)pci_read(ide->controller.pci, block_of(channel), PORT_DATA, 2);
    return ata_parse_identity(words, identity);
}

static int add_channel(struct ide *ide, unsigned index) {
    struct pci_device *pci = ide->controller.pci;
    struct channel *channel = &ide->channels[ide->channel_count];
    bool native = pci->identity.class & INTERFACE_NATIVE << (2 * index);
    const struct disk_queue *queue = NULL;

    // In native mode the control block's register is the third of its BAR's four.
    *channel = (struct channel){.index = index, .control_offset = native ? 2 : 0};
    if (pci_region_size(pci, index * 2) < 8 ||
        pci_region_size(pci, index * 2 + 1) <= channel->control_offset)
        return 0;
    // A bus without drives floats high.
    if (read_port(ide, channel, PORT_COMMAND) == 0xff || reset_channel(ide, channel))
        return 0;
    for (unsigned drive = 0; drive < 2; drive++) {
        struct ata_identity identity;

        if (identify(ide, channel, drive, &identity))
            continue;
        if (!queue)
            queue = controller_add_queue(&ide->controller, 1);
        struct disk *disk =
            queue ? controller_add_disk(&ide->controller, index * 2 + drive, queue->index, 1)
                  : NULL;
        if (!disk)
            return -ENOMEM;
        ata_describe(&identity, disk);
        channel->lba48[drive] = identity.lba48;
    }
    if (queue)
        ide->channel_count++;
    return 0;
}

// Returns the number of interrupt vectors or -errno.
static int open_controller(struct ide *ide) {
    int error = 0;

    if (pci_region_size(ide->controller.pci, MASTER_BAR) < MASTER_SIZE * CHANNELS)
        return -EOPNOTSUPP; // no bus mastering
    for (unsigned i = 0; i < CHANNELS && !error; i++)
        error = add_channel(ide, i);
    if (error)
        return error;
    return pci_enable_interrupts(ide->controller.pci, 1);
}

struct controller *ide_open(struct pci_device *pci) {
    static const struct controller_operations operations = {
        .start = start, .poll = poll_queue, .reset = reset};
    struct ide *ide = calloc(1, sizeof(*ide));

    if (!ide)
        return NULL;
    ide->controller = (struct controller){.pci = pci,
                                          .operations = &operations,
                                          .command_max = DISK_COMMAND_MAX,
                                          .address_mask = UINT32_MAX};
    return controller_run(&ide->controller, "IDE", open_controller(ide));
}
