// SPDX-License-Identifier: BSD-2-Clause
// AMD-Vi (AMD I/O Virtualization Technology, 48882, 3.05): device table, command buffer, event log,
// host page tables, interrupt remapping with 32-bit entries.
#include <asm/errno.h>
#include "arch/x86/iommu/unit.h"
#include "arch/x86/pci/pci.h"
#include "core/log.h"
#include "core/mm/page.h"

enum amd_register { // 3.4
    DEVICE_TABLE = 0x00,
    COMMANDS = 0x08,
    EVENTS = 0x10,
    CONTROL = 0x18,
    EXCLUSION = 0x20,
    FEATURES = 0x30,
    COMMAND_HEAD = 0x2000,
    COMMAND_TAIL = 0x2008,
    EVENT_HEAD = 0x2010,
    EVENT_TAIL = 0x2018,
    STATUS = 0x2020,
};

enum {
    CONTROL_ENABLE = 1 << 0,
    CONTROL_EVENTS = 1 << 2,
    CONTROL_EVENT_INTERRUPT = 1 << 3,
    CONTROL_COHERENT = 1 << 10,
    CONTROL_COMMANDS = 1 << 12,
    STATUS_OVERFLOW = 1 << 0,
    STATUS_INTERRUPT = 1 << 1,
    STATUS_EVENTS_RUN = 1 << 3,
    ENTRY_WORDS = 4, // of a device table entry
    EVENT_WORDS = 2,
};
#define BUFFER_256_ENTRIES (8ull << 56)

// Device table entry, 2.2.2.1.
#define ENTRY_VALID      3ull // and so are the page table's fields
#define ENTRY_LEVELS     (4ull << 9)
#define ENTRY_ACCESS     (3ull << 61)
#define ENTRY_INTERRUPTS (1ull | 8ull << 1) // valid; 256 entries
#define ENTRY_SILENT     (1ull << 33)
#define ENTRY_REMAP      (2ull << 60)

// Commands, 2.4.
#define COMMAND(code)         ((uint64_t)(code) << 60)
#define WAIT                  (COMMAND(1) | 1)
#define INVALIDATE_DEVICE     COMMAND(2)
#define INVALIDATE_PAGES      COMMAND(3)
#define INVALIDATE_INTERRUPTS COMMAND(5)
#define ALL_PAGES             (0x7ffffffffffff000ull | 3)

enum event_code { EVENT_PAGE_FAULT = 2 };
#define EVENT_INTERRUPT (1ull << 51)
#define EVENT_WRITE     (1ull << 53)

static uint64_t *nothing; // the page table of blocked devices

static bool probe(struct iommu_unit *unit) {
    unit->extended = unit_read64(unit, FEATURES);
    iommu_can.format = amd_vi_format;
    iommu_can.wide = false;
    return unit_read64(unit, CONTROL) != UINT64_MAX;
}

// V = 0 would let the device through.
static void write_entry(uint64_t *entry, const struct iommu_domain *domain,
                        const void *interrupts) {
    uint64_t blocked = ENTRY_VALID | ENTRY_LEVELS | virtual_to_page(nothing);
    __atomic_store_n(&entry[0], blocked, __ATOMIC_RELEASE);
    __atomic_store_n(&entry[1], domain ? domain->id : 0, __ATOMIC_RELEASE);
    uint64_t remap = ENTRY_INTERRUPTS;
    if (interrupts)
        remap |= ENTRY_REMAP | virtual_to_page(interrupts);
    __atomic_store_n(&entry[2], iommu_can.remaps ? remap : 0, __ATOMIC_RELEASE);
    if (domain)
        __atomic_store_n(&entry[0], ENTRY_VALID | ENTRY_LEVELS | ENTRY_ACCESS | domain->root,
                         __ATOMIC_RELEASE);
}

static unsigned order_of(size_t size) {
    unsigned order = 0;
    while ((PAGE_SIZE << order) < size)
        order++;
    return order;
}

static bool prepare(struct iommu_unit *unit, const struct dma_table *table, unsigned index) {
    for (unsigned i = 0; i < table->scopes; i++)
        if (table->scope[i].unit == index && table->scope[i].kind != DMA_SCOPE_RESERVED &&
            table->scope[i].last > unit->last)
            unit->last = table->scope[i].last;
    unit->last |= 127; // whole pages
    if (!nothing)
        nothing = iommu_page(0);
    unit->table = iommu_page(order_of((unit->last + 1) * ENTRY_WORDS * sizeof *unit->table));
    unit->queue = iommu_page(0);
    unit->events = iommu_page(0);
    if (!nothing || !unit->table || !unit->queue || !unit->events)
        return false;
    for (uint32_t id = 0; id <= unit->last; id++)
        write_entry(&unit->table[id * ENTRY_WORDS], NULL, NULL);
    return true;
}

static void execute(struct iommu_unit *unit, uint64_t low, uint64_t high) {
    iommu_command(unit, low, high);
    iommu_command(unit, WAIT | virtual_to_page((const void *)&unit->done), ++unit->waits);
    unit_write64(unit, COMMAND_TAIL, unit->tail);
    iommu_await(unit);
}

static void forget(struct iommu_unit *unit, uint16_t id) {
    execute(unit, INVALIDATE_DEVICE | id, 0);
    execute(unit, INVALIDATE_INTERRUPTS | id, 0);
}

static void start_events(struct iommu_unit *unit, uint64_t control) {
    unit_write64(unit, CONTROL, control & ~(uint64_t)CONTROL_EVENTS);
    for (unsigned i = 0; i < IOMMU_PATIENCE && (unit_read64(unit, STATUS) & STATUS_EVENTS_RUN); i++)
        ;
    unit->head = 0;
    unit_write64(unit, EVENT_HEAD, 0);
    unit_write64(unit, EVENT_TAIL, 0);
    unit_write64(unit, STATUS, STATUS_OVERFLOW | STATUS_INTERRUPT);
    unit_write64(unit, CONTROL, control);
}

// The unit is a PCI function, and its interrupts are that function's MSI (PCI 3.0, 6.8.1).
static void enable_message(uint16_t id) {
    enum { STATUS_AND_COMMAND = 4, HAS_LIST = 1 << 20, LIST = 0x34, MSI = 5, WIDE = 1 << 7 };
    struct iommu_message message = iommu_own_message();
    unsigned at = pci_read(id, STATUS_AND_COMMAND, 4) & HAS_LIST ? pci_read(id, LIST, 1) & 0xfc : 0;
    for (unsigned i = 0; at && i < 48; i++, at = pci_read(id, at + 1, 1) & 0xfc) {
        if (pci_read(id, at, 1) != MSI)
            continue;
        uint32_t control = pci_read(id, at + 2, 2);
        pci_write(id, at + 4, 4, (uint32_t)message.address);
        if (control & WIDE)
            pci_write(id, at + 8, 4, 0);
        pci_write(id, at + (control & WIDE ? 12 : 8), 2, message.data);
        pci_write(id, at + 2, 2, (control & ~0x70u) | 1);
        return;
    }
    log_line("warning: the IOMMU %02x:%02x.%u has no interrupt: faults are not reported", id >> 8,
             id >> 3 & 31, id & 7);
}

static void enable(struct iommu_unit *unit) {
    bool was_on = unit_read64(unit, CONTROL) & CONTROL_ENABLE;
    unit_write64(unit, CONTROL, 0);
    unit_write64(unit, EXCLUSION, 0);
    unit_write64(unit, DEVICE_TABLE, virtual_to_page(unit->table) | unit->last / 128);
    unit_write64(unit, COMMANDS, virtual_to_page(unit->queue) | BUFFER_256_ENTRIES);
    unit_write64(unit, EVENTS, virtual_to_page(unit->events) | BUFFER_256_ENTRIES);
    unit_write64(unit, COMMAND_HEAD, 0);
    unit_write64(unit, COMMAND_TAIL, 0);
    enable_message(unit->firmware->id);
    // HyperTransport's, as the IVHD says (5.2.2.1): tunnel, posted writes, isochronous.
    uint8_t flags = unit->firmware->flags;
    uint64_t control =
        (flags & 1) << 1 | (flags >> 1 & 1) << 8 | (flags >> 2 & 1) << 9 | (flags >> 3 & 1) << 11;
    start_events(unit, control | CONTROL_ENABLE | CONTROL_COHERENT | CONTROL_COMMANDS |
                           CONTROL_EVENTS | CONTROL_EVENT_INTERRUPT);
    for (uint32_t id = 0; was_on && id <= unit->last; id++)
        forget(unit, (uint16_t)id);
    for (uint64_t domain = 0; was_on && domain < 0x10000; domain++)
        execute(unit, INVALIDATE_PAGES | domain << 32, ALL_PAGES);
}

static int prepare_device(struct iommu_unit *unit, struct iommu_device *device) {
    if (device->id > unit->last)
        return -ENODEV;
    if (!device->interrupts)
        device->interrupts = iommu_page(0);
    return device->interrupts ? 0 : -ENOMEM;
}

static void set_device(struct iommu_unit *unit, const struct iommu_device *device,
                       const struct iommu_domain *domain) {
    uint64_t *entry = &unit->table[device->id * ENTRY_WORDS];
    uint64_t before = entry[1] & 0xffff;
    write_entry(entry, domain, domain ? device->interrupts : NULL);
    if (device->stopped)
        entry[1] = ENTRY_SILENT;
    if (!unit->on)
        return;
    forget(unit, device->id);
    execute(unit, INVALIDATE_PAGES | before << 32, ALL_PAGES);
}

static void flush(struct iommu_unit *unit, const struct iommu_domain *domain) {
    execute(unit, INVALIDATE_PAGES | (uint64_t)domain->id << 32, ALL_PAGES);
}

// 2.2.5.2. The index is the vector, for an I/O APIC its line's too: EOIs find their way back.
static void set_route(struct iommu_unit *unit, const struct iommu_device *device,
                      struct iommu_route route) {
    uint32_t *entries = device->interrupts;
    uint32_t entry = 1 | (uint32_t)route.level << 5 | route.apic_id << 8 | route.vector << 16;
    __atomic_store_n(&entries[route.vector], route.valid ? entry : 0, __ATOMIC_RELEASE);
    if (!device->domain) // an I/O APIC
        write_entry(&unit->table[device->id * ENTRY_WORDS], NULL, device->interrupts);
    if (unit->on)
        forget(unit, device->id);
}

static void message(uint8_t vector, struct iommu_message *message) {
    message->data = vector;
}

static uint64_t line_entry(uint64_t entry) {
    return entry;
}

// Entries are taken as they become other than 0: the tail may be seen before they are.
static void faults(struct iommu_unit *unit) {
    for (;;) {
        uint64_t *event = unit->events + unit->head / sizeof *unit->events;
        uint64_t first = __atomic_load_n(event, __ATOMIC_ACQUIRE), address = event[1];
        if (!first)
            break;
        event[0] = event[1] = 0;
        unit->head = (unit->head + EVENT_WORDS * sizeof *event) % PAGE_SIZE;
        unit_write64(unit, EVENT_HEAD, unit->head);
        bool interrupt =
            (first & EVENT_INTERRUPT) && address >= IOMMU_MSI_BASE && address < IOMMU_MSI_END;
        iommu_fault(unit->firmware->segment, (uint16_t)first,
                    interrupt             ? "interrupt"
                    : first & EVENT_WRITE ? "writing to"
                                          : "reading from",
                    address);
    }
    uint64_t status = unit_read64(unit, STATUS);
    unit_write64(unit, STATUS, STATUS_INTERRUPT);
    if (status & STATUS_OVERFLOW)
        start_events(unit, unit_read64(unit, CONTROL));
}

const struct iommu_back_end amd_vi = {
    .name = "AMD-Vi",
    .probe = probe,
    .prepare = prepare,
    .enable = enable,
    .prepare_device = prepare_device,
    .set_device = set_device,
    .flush = flush,
    .set_route = set_route,
    .message = message,
    .line_entry = line_entry,
    .faults = faults,
};
