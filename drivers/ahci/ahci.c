// SPDX-License-Identifier: BSD-2-Clause
// AHCI 1.3.1: each port with a disk is a queue of up to 32 commands, native queued where the disk
// knows that.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "drivers/ata/ata.h"

enum {
    HOST_CAPABILITIES = 0x00,
    HOST_CONTROL = 0x04,
    HOST_INTERRUPTS = 0x08,
    HOST_PORTS = 0x0c,
    HOST_CAPABILITIES_2 = 0x24,
    HOST_HANDOFF = 0x28,
    PORTS = 0x100,
    PORT_SIZE = 0x80,

    PORT_LIST = 0x00,
    PORT_FISES = 0x08,
    PORT_INTERRUPTS = 0x10,
    PORT_INTERRUPT_ENABLE = 0x14,
    PORT_COMMAND = 0x18,
    PORT_TASK_FILE = 0x20,
    PORT_SIGNATURE = 0x24,
    PORT_SATA_STATUS = 0x28,
    PORT_SATA_ERROR = 0x30,
    PORT_SATA_ACTIVE = 0x34,
    PORT_ISSUE = 0x38,
};

#define CAPABILITY_NCQ       (1u << 30)
#define CAPABILITY_64_BITS   (1u << 31)
#define CAPABILITY_2_HANDOFF (1u << 0)
#define HANDOFF_OS_OWNS      (1u << 1)
#define HANDOFF_BIOS_OWNS    (1u << 0)
#define CONTROL_RESET        (1u << 0)
#define CONTROL_INTERRUPTS   (1u << 1)
#define CONTROL_AHCI         (1u << 31)

#define COMMAND_START     (1u << 0)
#define COMMAND_SPIN_UP   (1u << 1)
#define COMMAND_POWER_ON  (1u << 2)
#define COMMAND_RECEIVE   (1u << 4)
#define COMMAND_RECEIVING (1u << 14)
#define COMMAND_RUNNING   (1u << 15)
#define INTERRUPTS_DONE   0x0fu // the FISes that end commands, of each kind
#define INTERRUPTS_ERROR  0x78000000u
#define DETECTED          3u // device present, communication established
#define DETECTED_MASK     0xfu
#define SIGNATURE_ATA     0x101u

#define FIS_HOST_TO_DEVICE 0x27u
#define FIS_COMMAND        0x80u
#define FIS_DWORDS         5u
#define HEADER_WRITE       (1u << 6)
#define TABLE_PIECES       0x80u // offset in the command table
#define TABLE_RANGES       512u
#define PORTS_MAX          32u
#define LIST_SIZE          1024u // command headers
#define FISES_OFFSET       LIST_SIZE
#define TABLE_OFFSET       1536u
#define IDENTIFY_OFFSET    2048u

#define RESET_TIMEOUT    1000  // ms: 10.4.3
#define HANDOFF_TIMEOUT  2000  // ms
#define PORT_TIMEOUT     500   // ms: 10.1.2
#define SPIN_UP_TIMEOUT  10000 // ms, of a disk that is there
#define DETECT_WAIT      20    // ms until a port must have seen its device
#define IDENTIFY_TIMEOUT 5000  // ms

struct header {
    uint32_t flags; // FIS length, direction, pieces << 16
    uint32_t moved;
    uint64_t table;
    uint32_t reserved[4];
};
_Static_assert(sizeof(struct header) == 32, "AHCI 1.3.1, 4.2.2");

struct piece {
    uint64_t address;
    uint32_t reserved, size; // less one
};
_Static_assert(TABLE_PIECES + DISK_PIECES_MAX * sizeof(struct piece) <= DISK_SCRATCH, "4.2.3");
_Static_assert(TABLE_RANGES + ATA_RANGES_MAX * sizeof(uint64_t) <= DISK_SCRATCH, "a slot's memory");

struct port {
    unsigned number;
    uint8_t *memory; // a page: command list, received FISes, a command table, identity
    struct ata_identity identity;
    bool queued;
};

struct ahci {
    struct controller controller; // first
    volatile uint8_t *registers;
    uint32_t capabilities;
    unsigned port_count; // with disks; each is the queue of the same index
    struct port ports[PORTS_MAX];
};

static volatile uint32_t *host(const struct ahci *ahci, unsigned offset) {
    return (volatile uint32_t *)(ahci->registers + offset);
}

static volatile uint32_t *reg(const struct ahci *ahci, unsigned port, unsigned offset) {
    return host(ahci, PORTS + port * PORT_SIZE + offset);
}

// --- commands

static void set_fis(uint8_t fis[FIS_DWORDS * 4], const struct ata_registers *registers) {
    memset(fis, 0, FIS_DWORDS * 4ul);
    fis[0] = FIS_HOST_TO_DEVICE;
    fis[1] = FIS_COMMAND;
    fis[2] = registers->command;
    fis[3] = (uint8_t)registers->features;
    for (unsigned i = 0; i < 3; i++) {
        fis[4 + i] = (uint8_t)(registers->lba >> (8 * i));
        fis[8 + i] = (uint8_t)(registers->lba >> (8 * i + 24));
    }
    fis[7] = registers->device;
    fis[11] = (uint8_t)(registers->features >> 8);
    fis[12] = (uint8_t)registers->count;
    fis[13] = (uint8_t)(registers->count >> 8);
}

// Writes the command of a slot to its table and header.
static void prepare(const struct port *port, unsigned slot, void *table, uint64_t table_address,
                    const struct ata_registers *registers, const struct disk_piece *data,
                    unsigned pieces, bool write) {
    struct header *header = (struct header *)port->memory + slot;
    struct piece *list = (struct piece *)((uint8_t *)table + TABLE_PIECES);

    set_fis(table, registers);
    for (unsigned i = 0; i < pieces; i++)
        list[i] = (struct piece){.address = data[i].address, .size = data[i].size - 1};
    *header = (struct header){.flags = FIS_DWORDS | (write ? HEADER_WRITE : 0) | pieces << 16,
                              .table = table_address};
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

static void start(struct disk_queue *queue, unsigned slot) {
    const struct ahci *ahci = (struct ahci *)queue->controller;
    const struct port *port = &ahci->ports[queue->index];
    struct disk_command *command = &queue->commands[slot];
    bool queued =
        port->queued && (command->operation == BLOCK_READ || command->operation == BLOCK_WRITE);
    struct ata_registers registers =
        ata_registers_of(command, port->identity.lba48, queued, slot,
                         (uint64_t *)((uint8_t *)command->scratch + TABLE_RANGES));

    if (command->operation == BLOCK_DISCARD) {
        command->pieces[0] = (struct disk_piece){command->scratch_address + TABLE_RANGES,
                                                 ATA_RANGES_MAX * sizeof(uint64_t)};
        command->piece_count = 1;
    } else if (command->operation == BLOCK_FLUSH) {
        command->piece_count = 0;
    }
    prepare(port, slot, command->scratch, command->scratch_address, &registers, command->pieces,
            command->piece_count, command->operation != BLOCK_READ);
    if (queued)
        *reg(ahci, port->number, PORT_SATA_ACTIVE) = 1u << slot;
    *reg(ahci, port->number, PORT_ISSUE) = 1u << slot;
}

static bool poll_queue(struct disk_queue *queue) {
    const struct ahci *ahci = (struct ahci *)queue->controller;
    unsigned port = ahci->ports[queue->index].number;

    // A command that failed stays issued, and stops the port. The task file may show an error from
    // before the reset; these bits were cleared since.
    uint32_t busy = *reg(ahci, port, PORT_SATA_ACTIVE) | *reg(ahci, port, PORT_ISSUE);
    if (*reg(ahci, port, PORT_INTERRUPTS) & INTERRUPTS_ERROR)
        return false;
    for (unsigned slot = 0; slot < queue->slots; slot++)
        if (!(busy & 1u << slot) && disk_command_started(queue, slot))
            disk_command_over(queue, slot, 0);
    return true;
}

// Errors stay to be seen by poll_queue; a reset clears them.
static void acknowledge(struct controller *controller) {
    const struct ahci *ahci = (struct ahci *)controller;
    uint32_t pending = *host(ahci, HOST_INTERRUPTS);

    for (unsigned i = 0; i < ahci->port_count; i++) {
        volatile uint32_t *interrupts = reg(ahci, ahci->ports[i].number, PORT_INTERRUPTS);

        if (pending & 1u << ahci->ports[i].number)
            *interrupts = *interrupts & ~INTERRUPTS_ERROR;
    }
    *host(ahci, HOST_INTERRUPTS) = pending;
}

// --- ports

static void set_address(const struct ahci *ahci, unsigned port, unsigned offset, uint64_t address) {
    *reg(ahci, port, offset) = (uint32_t)address;
    *reg(ahci, port, offset + 4) = (uint32_t)(address >> 32);
}

// Gives a port, stopped by the reset, its memory, waits for its disk and starts it.
static int start_port(const struct ahci *ahci, const struct port *port) {
    unsigned number = port->number;
    size_t size = DMA_PAGE;
    uint64_t memory = dma_address(ahci->controller.pci->dma, port->memory, &size);
    volatile uint32_t *command = reg(ahci, number, PORT_COMMAND);

    set_address(ahci, number, PORT_LIST, memory);
    set_address(ahci, number, PORT_FISES, memory + FISES_OFFSET);
    *command |= COMMAND_RECEIVE;
    *reg(ahci, number, PORT_SATA_ERROR) = ~0u;
    if (!controller_wait(reg(ahci, number, PORT_SATA_STATUS), DETECTED_MASK, DETECTED,
                         RESET_TIMEOUT) ||
        !controller_wait(reg(ahci, number, PORT_TASK_FILE), ATA_STATUS_BUSY | ATA_STATUS_REQUEST, 0,
                         SPIN_UP_TIMEOUT))
        return -EIO;
    *reg(ahci, number, PORT_SATA_ERROR) = ~0u;
    *reg(ahci, number, PORT_INTERRUPTS) = ~0u;
    *command |= COMMAND_START;
    if (!controller_wait(command, COMMAND_RUNNING, COMMAND_RUNNING, PORT_TIMEOUT))
        return -EIO;
    *reg(ahci, number, PORT_INTERRUPT_ENABLE) = INTERRUPTS_DONE | INTERRUPTS_ERROR;
    return 0;
}

static int reset_host(const struct ahci *ahci) {
    uint32_t ports = *host(ahci, HOST_PORTS);
    const struct timespec wait = {.tv_nsec = DETECT_WAIT * 1000000L};

    *host(ahci, HOST_CONTROL) = CONTROL_AHCI;
    *host(ahci, HOST_CONTROL) = CONTROL_AHCI | CONTROL_RESET;
    if (!controller_wait(host(ahci, HOST_CONTROL), CONTROL_RESET, 0, RESET_TIMEOUT))
        return -ETIMEDOUT;
    *host(ahci, HOST_CONTROL) = CONTROL_AHCI;
    for (unsigned i = 0; i < PORTS_MAX; i++)
        if (ports & 1u << i)
            *reg(ahci, i, PORT_COMMAND) |= COMMAND_SPIN_UP | COMMAND_POWER_ON;
    nanosleep(&wait, NULL);
    return 0;
}

static int reset(struct controller *controller) {
    const struct ahci *ahci = (struct ahci *)controller;
    int error = reset_host(ahci);

    for (unsigned i = 0; i < ahci->port_count && !error; i++)
        error = start_port(ahci, &ahci->ports[i]);
    *host(ahci, HOST_INTERRUPTS) = ~0u;
    *host(ahci, HOST_CONTROL) = CONTROL_AHCI | CONTROL_INTERRUPTS;
    return error;
}

static int identify(const struct ahci *ahci, struct port *port) {
    const struct ata_registers registers = {.command = ATA_IDENTIFY_DEVICE};
    size_t size = DMA_PAGE;
    uint64_t memory = dma_address(ahci->controller.pci->dma, port->memory, &size);
    const struct disk_piece data = {memory + IDENTIFY_OFFSET, ATA_IDENTIFY_WORDS * 2};

    prepare(port, 0, port->memory + TABLE_OFFSET, memory + TABLE_OFFSET, &registers, &data, 1,
            false);
    *reg(ahci, port->number, PORT_ISSUE) = 1;
    if (!controller_wait(reg(ahci, port->number, PORT_ISSUE), 1, 0, IDENTIFY_TIMEOUT) ||
        *reg(ahci, port->number, PORT_TASK_FILE) & ATA_STATUS_ERROR)
        return -EIO;
    return ata_parse_identity((uint16_t *)(port->memory + IDENTIFY_OFFSET), &port->identity);
}

static int add_port(struct ahci *ahci, unsigned number) {
    struct controller *controller = &ahci->controller;
    unsigned slots = (ahci->capabilities >> 8 & 0x1f) + 1;
    struct port *port = &ahci->ports[ahci->port_count];

    *port = (struct port){.number = number, .memory = dma_allocate(controller->pci->dma, DMA_PAGE)};
    if (!port->memory)
        return -ENOMEM;
    int error = start_port(ahci, port);
    if (!error)
        error =
            *reg(ahci, number, PORT_SIGNATURE) == SIGNATURE_ATA ? identify(ahci, port) : -ENOMEDIUM;
    if (error) {
        fprintf(stderr, "drivers: %s: port %u has no disk that can be used: %s\n",
                controller->pci->identity.address, number, strerror(-error));
        *reg(ahci, number, PORT_INTERRUPT_ENABLE) = 0; // nobody would acknowledge them
        return 0;
    }
    port->queued = ahci->capabilities & CAPABILITY_NCQ && port->identity.queue_depth;
    if (port->queued && port->identity.queue_depth < slots)
        slots = port->identity.queue_depth;
    const struct disk_queue *queue = controller_add_queue(controller, slots);
    struct disk *disk = queue ? controller_add_disk(controller, number, queue->index, 1) : NULL;
    if (!disk)
        return -ENOMEM;
    ata_describe(&port->identity, disk);
    ahci->port_count++;
    return 0;
}

// 10.6.3: firmware lets go of the controller.
static void take_from_firmware(const struct ahci *ahci) {
    if (!(*host(ahci, HOST_CAPABILITIES_2) & CAPABILITY_2_HANDOFF))
        return;
    *host(ahci, HOST_HANDOFF) |= HANDOFF_OS_OWNS;
    // Firmware that does not answer is not waited for any longer: the reset comes anyway.
    (void)controller_wait(host(ahci, HOST_HANDOFF), HANDOFF_BIOS_OWNS, 0, HANDOFF_TIMEOUT);
}

// Returns the number of interrupt vectors or -errno.
static int open_controller(struct ahci *ahci) {
    struct controller *controller = &ahci->controller;

    ahci->registers = pci_map(controller->pci, VFIO_PCI_BAR5_REGION_INDEX, 0, PORTS);
    if (!ahci->registers)
        return -ENODEV;
    uint32_t ports = *host(ahci, HOST_PORTS);
    unsigned last = ports ? 31 - (unsigned)__builtin_clz(ports) : 0;
    pci_unmap(ahci->registers, PORTS);
    ahci->registers = pci_map(controller->pci, VFIO_PCI_BAR5_REGION_INDEX, 0,
                              PORTS + (size_t)(last + 1) * PORT_SIZE);
    if (!ahci->registers)
        return -ENODEV;
    ahci->capabilities = *host(ahci, HOST_CAPABILITIES);
    controller->address_mask = ahci->capabilities & CAPABILITY_64_BITS ? UINT64_MAX : UINT32_MAX;
    take_from_firmware(ahci);
    int vectors = pci_enable_interrupts(controller->pci, 1);
    if (vectors < 0)
        return vectors;
    int error = reset_host(ahci);
    for (unsigned i = 0; i <= last && !error; i++)
        if (ports & 1u << i && *reg(ahci, i, PORT_SATA_STATUS) & DETECTED_MASK)
            error = add_port(ahci, i);
    if (error)
        return error;
    *host(ahci, HOST_INTERRUPTS) = ~0u;
    *host(ahci, HOST_CONTROL) = CONTROL_AHCI | CONTROL_INTERRUPTS;
    return vectors;
}

struct controller *ahci_open(struct pci_device *pci) {
    static const struct controller_operations operations = {
        .start = start,
        .poll = poll_queue,
        .acknowledge = acknowledge,
        .reset = reset,
        // Not to be mixed with native queued commands: ACS-3, 4.15.
        .exclusive = 1u << BLOCK_FLUSH | 1u << BLOCK_DISCARD};
    struct ahci *ahci = calloc(1, sizeof(*ahci));

    if (!ahci)
        return NULL;
    ahci->controller =
        (struct controller){.pci = pci, .operations = &operations, .command_max = DISK_COMMAND_MAX};
    return controller_run(&ahci->controller, "AHCI", open_controller(ahci));
}
