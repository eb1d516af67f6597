// SPDX-License-Identifier: BSD-2-Clause
// Intel VT-d (Virtualization Technology for Directed I/O, 4.1): legacy-mode translation with
// second-stage tables, queued invalidation, interrupt remapping, fault recording.
#include <asm/errno.h>
#include "arch/x86/cpu.h"
#include "arch/x86/intr/local_apic.h"
#include "arch/x86/iommu/unit.h"
#include "core/log.h"
#include "core/mm/page.h"

enum vtd_register { // 11.4
    CAPABILITIES = 0x08,
    EXTENDED = 0x10,
    COMMAND = 0x18,
    STATUS = 0x1c,
    ROOT_TABLE = 0x20,
    FAULT_STATUS = 0x34,
    FAULT_CONTROL = 0x38,
    FAULT_DATA = 0x3c,
    FAULT_ADDRESS = 0x40,
    FAULT_ADDRESS_HIGH = 0x44,
    PROTECTED_MEMORY = 0x64,
    QUEUE_TAIL = 0x88,
    QUEUE_ADDRESS = 0x90,
    INTERRUPT_TABLE = 0xb8,
};

enum {
    CAP_WRITE_BUFFER = 1 << 4,
    CAP_PROTECTED_MEMORY = 3 << 5,
    CAP_CACHING_MODE = 1 << 7,
    CAP_3_LEVELS = 1 << 9,
    CAP_4_LEVELS = 1 << 10,
    EXT_COHERENT = 1 << 0,
    EXT_QUEUE = 1 << 1,
    EXT_INTERRUPTS = 1 << 3,
    EXT_WIDE = 1 << 4,
    COMMAND_INTERRUPTS = 1 << 25,
    COMMAND_SET_INTERRUPT_TABLE = 1 << 24,
    COMMAND_QUEUE = 1 << 26,
    COMMAND_SET_ROOT = 1 << 30,
    COMMAND_ONE_SHOT = 0x69000000, // commands rather than states
    INTERRUPT_TABLE_WIDE = 1 << 11,
    INTERRUPT_TABLE_256 = 7,
    FAULT_CLEAR = 0x71, // overflow; errors of the queue
    FAULT_QUEUE = 0x70,
};
#define COMMAND_TRANSLATION (1u << 31)
#define CAP_2M              (1ull << 34)
#define CAP_1G              (1ull << 35)

enum { // commands, 6.5.2, and their granularity "all"
    INVALIDATE_CONTEXT = 1 | 1 << 4,
    INVALIDATE_TLB = 2 | 1 << 4,
    INVALIDATE_TLB_DOMAIN = 2 | 2 << 4,
    INVALIDATE_INTERRUPTS = 4,
    WAIT = 5 | 1 << 5, // writes when done
    TLB_DRAIN = 3 << 6,
};

enum {
    ENTRY_PRESENT = 1,
    ENTRY_SILENT = 2,
    ENTRIES = 512,
    REASON_INTERRUPT = 0x20,
    REASON_INTERRUPT_END = 0x30
};

static unsigned common_levels = CAP_3_LEVELS | CAP_4_LEVELS;
// For all units; the index is the vector.
static struct interrupt_entry { uint64_t low, high; } * interrupt_table;

// Bring what was written to where the unit reads.
static void publish(const volatile void *memory) {
    if (iommu_can.format.flush)
        __asm__ volatile("clflush %0" ::"m"(*(const volatile char *)memory) : "memory");
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static bool probe(struct iommu_unit *unit) {
    struct page_format *format = &iommu_can.format;
    uint64_t cap = unit->capabilities = unit_read64(unit, CAPABILITIES);
    uint64_t extended = unit->extended = unit_read64(unit, EXTENDED);
    if (cap == UINT64_MAX || !(extended & EXT_QUEUE) || (cap & CAP_WRITE_BUFFER) ||
        !(common_levels &= (unsigned)cap))
        return false;
    uint64_t largest = !(cap & CAP_2M) ? PAGE_SIZE : cap & CAP_1G ? 1ull << 30 : 1ull << 21;
    bool flush = format->flush || !(extended & EXT_COHERENT);
    largest = format->largest ? least(format->largest, largest) : largest;
    *format = vtd_format;
    format->largest = largest;
    format->levels = common_levels & CAP_4_LEVELS ? 4 : 3;
    format->flush = flush;
    iommu_can.aperture = least(iommu_can.aperture, 1ull << ((cap >> 16 & 63) + 1));
    iommu_can.aperture = least(iommu_can.aperture, 1ull << (12 + 9 * format->levels));
    iommu_can.domains = (unsigned)least(iommu_can.domains, 1u << (4 + 2 * (cap & 7)));
    iommu_can.caches_absent |= (cap & CAP_CACHING_MODE) != 0;
    iommu_can.remaps &= (extended & EXT_INTERRUPTS) != 0;
    iommu_can.wide &= (extended & EXT_WIDE) != 0 && local_apic_is_x2apic();
    return true;
}

static bool prepare(struct iommu_unit *unit, const struct dma_table *table, unsigned index) {
    if (!interrupt_table)
        interrupt_table = iommu_page(0);
    unit->table = iommu_page(0);
    unit->queue = iommu_page(0);
    return interrupt_table && unit->table && unit->queue;
}

// A state on or off, or one command.
static void command(struct iommu_unit *unit, uint32_t bit, bool on) {
    uint32_t status = unit_read(unit, STATUS) & ~(COMMAND_ONE_SHOT | bit);
    unit_write(unit, COMMAND, status | (on ? bit : 0));
    for (unsigned i = 0; !(unit_read(unit, STATUS) & bit) == on; i++)
        if (i == IOMMU_PATIENCE)
            panic("the IOMMU at %lx does not answer", unit->firmware->registers);
}

// Executes a command and waits for it.
static void execute(struct iommu_unit *unit, uint64_t low, uint64_t high) {
    iommu_command(unit, low, high);
    iommu_command(unit, WAIT | ++unit->waits << 32, virtual_to_page((const void *)&unit->done));
    unit_write(unit, QUEUE_TAIL, unit->tail);
    iommu_await(unit);
}

static void enable(struct iommu_unit *unit) {
    // Firmware may have left it on.
    command(unit, COMMAND_TRANSLATION, false);
    command(unit, COMMAND_INTERRUPTS, false);
    command(unit, COMMAND_QUEUE, false);
    unit_write(unit, QUEUE_TAIL, 0);
    unit_write64(unit, QUEUE_ADDRESS, virtual_to_page(unit->queue));
    command(unit, COMMAND_QUEUE, true);
    unit_write64(unit, ROOT_TABLE, virtual_to_page(unit->table));
    command(unit, COMMAND_SET_ROOT, true);
    execute(unit, INVALIDATE_CONTEXT, 0);
    execute(unit, INVALIDATE_TLB | TLB_DRAIN, 0);
    if (iommu_can.remaps) {
        unit_write64(unit, INTERRUPT_TABLE,
                     virtual_to_page(interrupt_table) | INTERRUPT_TABLE_256 |
                         (iommu_can.wide ? INTERRUPT_TABLE_WIDE : 0));
        command(unit, COMMAND_SET_INTERRUPT_TABLE, true);
        execute(unit, INVALIDATE_INTERRUPTS, 0);
        command(unit, COMMAND_INTERRUPTS, true);
    }
    struct iommu_message message = iommu_own_message();
    unit_write(unit, FAULT_DATA, message.data);
    unit_write(unit, FAULT_ADDRESS, (uint32_t)message.address);
    unit_write(unit, FAULT_ADDRESS_HIGH, this_cpu()->apic_id & ~0xffu);
    unit_write(unit, FAULT_STATUS, FAULT_CLEAR);
    unit_write(unit, FAULT_CONTROL, 0);
    command(unit, COMMAND_TRANSLATION, true);
    if (unit->capabilities & CAP_PROTECTED_MEMORY) // firmware's, before there was translation
        unit_write(unit, PROTECTED_MEMORY, 0);
}

// The context entry of a device; NULL: its bus has no table. 9.1, 9.3.
static uint64_t *context_of(struct iommu_unit *unit, uint16_t id) {
    uint64_t root = unit->table[(id >> 8) * 2];
    uint64_t *context = page_to_virtual(root & PAGE_ENTRY_ADDRESS);
    return root & ENTRY_PRESENT ? &context[(id & 0xff) * 2] : NULL;
}

static int prepare_device(struct iommu_unit *unit, struct iommu_device *device) {
    if (context_of(unit, device->id))
        return 0;
    uint64_t *context = iommu_page(0);
    if (!context)
        return -ENOMEM;
    for (unsigned i = 0; i < ENTRIES; i += 8)
        publish(&context[i]);
    uint64_t *root = &unit->table[(device->id >> 8) * 2];
    *root = virtual_to_page(context) | ENTRY_PRESENT;
    publish(root);
    return 0;
}

static void write_interrupt(struct iommu_unit *unit, unsigned vector,
                            struct interrupt_entry entry) {
    interrupt_table[vector].low = 0;
    interrupt_table[vector].high = entry.high;
    __atomic_store_n(&interrupt_table[vector].low, entry.low, __ATOMIC_RELEASE);
    publish(&interrupt_table[vector]);
    if (unit->on)
        execute(unit, INVALIDATE_INTERRUPTS, 0);
}

static void set_device(struct iommu_unit *unit, const struct iommu_device *device,
                       const struct iommu_domain *domain) {
    volatile uint64_t *context = context_of(unit, device->id);
    context[0] = device->stopped ? ENTRY_SILENT : 0;
    if (domain) {
        context[1] = (iommu_can.format.levels - 2) | (uint64_t)domain->id << 8;
        context[0] = domain->root | ENTRY_PRESENT;
    }
    publish(context);
    for (unsigned i = 0; !domain && i < IOMMU_VECTORS; i++)
        if (interrupt_table[i].low && (uint16_t)interrupt_table[i].high == device->id)
            write_interrupt(unit, i, (struct interrupt_entry){0});
    if (!unit->on)
        return;
    execute(unit, INVALIDATE_CONTEXT, 0);
    execute(unit, INVALIDATE_TLB | TLB_DRAIN, 0);
}

static void flush(struct iommu_unit *unit, const struct iommu_domain *domain) {
    execute(unit, INVALIDATE_TLB_DOMAIN | TLB_DRAIN | (uint64_t)domain->id << 16, 0);
}

// 9.10: fixed delivery to one CPU, and only for messages of this device.
static void set_route(struct iommu_unit *unit, const struct iommu_device *device,
                      struct iommu_route route) {
    uint64_t target = iommu_can.wide ? route.apic_id : route.apic_id << 8;
    struct interrupt_entry entry = {
        .low = ENTRY_PRESENT | (route.level ? 1u << 4 : 0) | (uint64_t)route.vector << 16 |
               target << 32,
        .high = device->id | 1u << 18,
    };
    write_interrupt(unit, route.vector, route.valid ? entry : (struct interrupt_entry){0});
}

// 5.1.2.2, 5.1.5.2. The data of a message is added to the index, as MSI's of several vectors want
// it.
static void message(uint8_t vector, struct iommu_message *message) {
    *message = (struct iommu_message){IOMMU_MSI_BASE | (uint64_t)vector << 5 | 3 << 3, 0};
}

// 5.1.5.1.
static uint64_t line_entry(uint64_t entry) {
    return (entry & 0x1ffff) | 1ull << 48 | (entry & 0xff) << 49;
}

static bool take_fault(struct iommu_unit *unit, unsigned offset) {
    uint64_t address = unit_read64(unit, offset), high = unit_read64(unit, offset + 8);
    if (!(high >> 63))
        return false;
    unit_write(unit, offset + 12, 1u << 31);
    unsigned reason = high >> 32 & 0xff;
    if (reason >= REASON_INTERRUPT && reason < REASON_INTERRUPT_END)
        iommu_fault(unit->firmware->segment, (uint16_t)high, "interrupt", address >> 48);
    else
        iommu_fault(unit->firmware->segment, (uint16_t)high,
                    high >> 62 & 1 ? "reading from" : "writing to", address & PAGE_MASK);
    return true;
}

static void faults(struct iommu_unit *unit) {
    unsigned offset = (unit->capabilities >> 24 & 0x3ff) * 16;
    unsigned records = (unit->capabilities >> 40 & 0xff) + 1;
    for (unsigned i = 0; i < records; i++)
        take_fault(unit, offset + i * 16);
    uint32_t status = unit_read(unit, FAULT_STATUS);
    if (status & FAULT_QUEUE)
        panic("the IOMMU at %lx refuses a command, status %x", unit->firmware->registers, status);
    unit_write(unit, FAULT_STATUS, status & FAULT_CLEAR);
}

const struct iommu_back_end vtd = {
    .name = "VT-d",
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
