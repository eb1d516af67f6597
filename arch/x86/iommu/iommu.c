// SPDX-License-Identifier: BSD-2-Clause
// What IOMMUs have in common: units, domains, devices, and devices that misbehave.
#include "arch/x86/iommu/iommu.h"
#include <asm/errno.h>
#include "arch/x86/cpu.h"
#include "arch/x86/cpu/acpi.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/iommu/unit.h"
#include "arch/x86/irq.h"
#include "arch/x86/mm/page_walker.h"
#include "arch/x86/pci/pci.h"
#include "core/log.h"
#include "core/mm/heap.h"
#include "core/mm/page.h"

#define SIZE_2M (1ull << 21)
#define SIZE_1G (1ull << 30)

enum { DOMAINS = 256, REGISTERS_SIZE = 0x5000, PCI_COMMAND = 4, PCI_BUS_MASTER = 4 };

struct iommu_abilities iommu_can = {.domains = DOMAINS, .aperture = 1ull << 48};

static struct {
    // The units and what they execute, the devices. Outside the page allocator's.
    struct spinlock lock;
    const struct iommu_back_end *back_end; // NULL: no IOMMU
    struct dma_table *table;
    struct iommu_unit *unit[DMA_TABLE_UNITS];
    struct list devices;
    uint64_t domains[DOMAINS / 64]; // numbers taken
} iommu = {.devices = LIST_INIT(iommu.devices), .domains = {1}};

void *iommu_page(unsigned order) {
    uint64_t page = page_alloc_zeroed(order);
    return page == PHYSICAL_NONE ? NULL : page_to_virtual(page);
}

void iommu_command(struct iommu_unit *unit, uint64_t low, uint64_t high) {
    uint64_t *command = unit->queue + unit->tail / sizeof *unit->queue;
    command[0] = low;
    command[1] = high;
    if (iommu_can.format.flush)
        __asm__ volatile("clflush %0" : "+m"(*command));
    unit->tail = (unit->tail + 16) % PAGE_SIZE;
}

void iommu_await(struct iommu_unit *unit) {
    for (unsigned i = 0; unit->done != unit->waits; i++) {
        if (i == IOMMU_PATIENCE)
            panic("the IOMMU at %lx does not answer", unit->firmware->registers);
        cpu_relax();
    }
}

static struct iommu_message plain_message(uint8_t vector, uint32_t apic_id) {
    return (struct iommu_message){IOMMU_MSI_BASE | apic_id << 12, vector};
}

struct iommu_message iommu_own_message(void) {
    return plain_message(IRQ_VECTOR_IOMMU, this_cpu()->apic_id);
}

static struct iommu_unit *unit_of(uint16_t segment, uint16_t id) {
    int unit = iommu.back_end ? dma_table_unit(iommu.table, segment, id) : -1;
    return unit < 0 ? NULL : iommu.unit[unit];
}

bool iommu_present(void) {
    return iommu.back_end;
}

bool iommu_remaps_interrupts(void) {
    return iommu_can.remaps;
}

uint64_t iommu_aperture(void) {
    return iommu_can.aperture;
}

uint64_t iommu_page_sizes(void) {
    uint64_t largest = iommu_can.format.largest;
    return PAGE_SIZE | (largest >= SIZE_2M ? SIZE_2M : 0) | (largest >= SIZE_1G ? SIZE_1G : 0);
}

size_t iommu_describe(char *out, size_t size) {
    if (!iommu.back_end)
        return 0;
    return (size_t)format_string(
        out, size, "%s, units: %u, %d-bit addresses, pages of 4K%s%s, %s", iommu.back_end->name,
        iommu.table->units, __builtin_ctzll(iommu_can.aperture),
        iommu_can.format.largest >= SIZE_2M ? "/2M" : "",
        iommu_can.format.largest >= SIZE_1G ? "/1G" : "",
        iommu_can.remaps ? "interrupt remapping" : "no interrupt remapping");
}

struct iommu_domain *iommu_domain_create(void) {
    struct iommu_domain *domain = heap_new(struct iommu_domain);
    if (!domain)
        return NULL;
    domain->root = page_walker_create(&iommu_can.format);
    spin_lock(&iommu.lock);
    for (unsigned id = 1; domain->root != PHYSICAL_NONE && id < iommu_can.domains; id++) {
        if (iommu.domains[id / 64] & 1ull << id % 64)
            continue;
        iommu.domains[id / 64] |= 1ull << id % 64;
        domain->id = (uint16_t)id;
        break;
    }
    spin_unlock(&iommu.lock);
    if (domain->id)
        return domain;
    if (domain->root != PHYSICAL_NONE)
        page_walker_destroy(&iommu_can.format, domain->root);
    heap_free(domain);
    return NULL;
}

static void flush(const struct iommu_domain *domain) {
    spin_lock(&iommu.lock);
    for (unsigned i = 0; i < iommu.table->units; i++)
        if (domain->units & 1u << i && iommu.unit[i]->on)
            iommu.back_end->flush(iommu.unit[i], domain);
    spin_unlock(&iommu.lock);
}

void iommu_domain_free(struct iommu_domain *domain) {
    flush(domain);
    page_walker_destroy(&iommu_can.format, domain->root);
    spin_lock(&iommu.lock);
    iommu.domains[domain->id / 64] &= ~(1ull << domain->id % 64);
    spin_unlock(&iommu.lock);
    heap_free(domain);
}

static uint64_t largest_page(uint64_t alignment, uint64_t size) {
    for (uint64_t page = iommu_can.format.largest; page > PAGE_SIZE; page >>= 9)
        if (!(alignment & (page - 1)) && size >= page)
            return page;
    return PAGE_SIZE;
}

int iommu_map(struct iommu_domain *domain, uint64_t address, uint64_t physical, uint64_t size,
              unsigned access) {
    if (address >= iommu_can.aperture || size > iommu_can.aperture - address ||
        (address < IOMMU_MSI_END && address + size > IOMMU_MSI_BASE))
        return -EINVAL;
    for (uint64_t done = 0; done < size;) {
        uint64_t page = largest_page((address + done) | (physical + done), size - done);
        int error = page_walker_map(&iommu_can.format, domain->root, address + done,
                                    physical + done, page, access & IOMMU_WRITE ? PAGING_WRITE : 0);
        if (error) {
            iommu_unmap(domain, address, done);
            return error;
        }
        done += page;
    }
    // Units that remember what was absent too (VT-d's caching mode), those of emulators.
    if (iommu_can.caches_absent)
        flush(domain);
    return 0;
}

void iommu_unmap(struct iommu_domain *domain, uint64_t address, uint64_t size) {
    uint64_t unhooked = 0;
    if (page_walker_zap(&iommu_can.format, domain->root, address, size, &unhooked))
        flush(domain);
    page_walker_release(unhooked);
}

uint64_t iommu_translate(struct iommu_domain *domain, uint64_t address) {
    struct page_table_entry entry =
        page_walker_lookup(&iommu_can.format, domain->root, address & PAGE_MASK);
    return entry.size ? entry.physical + (address & (entry.size - 1)) : PHYSICAL_NONE;
}

// Lock held.
static struct iommu_device *find(uint16_t segment, uint16_t id) {
    list_for_each(node, &iommu.devices) {
        struct iommu_device *device = container_of(node, struct iommu_device, node);
        if (device->segment == segment && device->id == id)
            return device;
    }
    return NULL;
}

// Lock held.
static int attach(struct iommu_unit *unit, struct iommu_domain *domain,
                  struct iommu_device *device) {
    const struct iommu_device *other = find(device->segment, device->id);
    if (other)
        return other->domain && other->domain->reserved ? -EPERM : -EBUSY;
    device->interrupts = NULL;
    device->stopped = false;
    int error = iommu.back_end->prepare_device(unit, device);
    if (error)
        return error;
    domain->units |= 1u << (unit->firmware - iommu.table->unit);
    device->domain = domain;
    list_push_back(&iommu.devices, &device->node);
    iommu.back_end->set_device(unit, device, domain);
    return 0;
}

int iommu_attach(struct iommu_domain *domain, struct iommu_device *device) {
    struct iommu_unit *unit = unit_of(device->segment, device->id);
    if (!unit)
        return -ENODEV;
    spin_lock(&iommu.lock);
    int error = attach(unit, domain, device);
    spin_unlock(&iommu.lock);
    return error;
}

// Lock held.
static void block(struct iommu_device *device, bool stopped) {
    device->domain = NULL;
    device->stopped = stopped;
    iommu.back_end->set_device(unit_of(device->segment, device->id), device, NULL);
}

void iommu_detach(struct iommu_device *device) {
    spin_lock(&iommu.lock);
    block(device, false);
    list_remove(&device->node);
    spin_unlock(&iommu.lock);
    if (device->interrupts)
        page_put(virtual_to_page(device->interrupts));
}

static int set_route(struct iommu_device *device, struct iommu_route route) {
    int error = -EIO;
    spin_lock(&iommu.lock);
    if (device->domain) {
        iommu.back_end->set_route(unit_of(device->segment, device->id), device, route);
        error = 0;
    }
    spin_unlock(&iommu.lock);
    return error;
}

int iommu_interrupt_route(struct iommu_device *device, uint8_t vector, uint32_t apic_id,
                          struct iommu_message *message) {
    if (apic_id > 0xfe && !(iommu_can.remaps && iommu_can.wide))
        return -EINVAL;
    *message = plain_message(vector, apic_id);
    if (!iommu_can.remaps)
        return 0;
    iommu.back_end->message(vector, message);
    return set_route(device, (struct iommu_route){true, false, vector, apic_id});
}

void iommu_interrupt_remove(struct iommu_device *device, uint8_t vector) {
    if (iommu_can.remaps)
        set_route(device, (struct iommu_route){.vector = vector});
}

uint64_t iommu_line_entry(uint8_t io_apic, uint64_t entry) {
    static struct iommu_device device; // its interrupts are those of all I/O APICs
    for (unsigned i = 0; iommu_can.remaps && i < iommu.table->scopes; i++) {
        const struct dma_scope *scope = &iommu.table->scope[i];
        struct iommu_unit *unit = iommu.unit[scope->unit];
        if (scope->kind != DMA_SCOPE_IO_APIC || scope->io_apic != io_apic)
            continue;
        spin_lock(&iommu.lock);
        device.segment = scope->segment;
        device.id = scope->first;
        if (iommu.back_end->prepare_device(unit, &device))
            panic("no memory for the interrupts of an I/O APIC");
        bool level = entry & 1 << 15;
        iommu.back_end->set_route(
            unit, &device,
            (struct iommu_route){true, level, (uint8_t)entry, (uint32_t)(entry >> 56)});
        spin_unlock(&iommu.lock);
        return iommu.back_end->line_entry(entry);
    }
    return entry;
}

void iommu_fault(uint16_t segment, uint16_t id, const char *what, uint64_t address) {
    spin_lock(&iommu.lock);
    struct iommu_device *device = find(segment, id);
    bool reserved = device && device->domain && device->domain->reserved;
    bool stop = device && device->domain && !reserved;
    if (stop)
        block(device, true);
    // Behind a bridge from PCI Express to PCI the ID need not be a function's.
    uint32_t command = segment ? 0xffff : pci_read(id, PCI_COMMAND, 2);
    bool master = command != 0xffff && (command & PCI_BUS_MASTER) && !reserved;
    if (master)
        pci_write(id, PCI_COMMAND, 2, command & ~(uint32_t)PCI_BUS_MASTER);
    if (stop && device->fault)
        device->fault(device);
    spin_unlock(&iommu.lock);
    if (stop || master || reserved)
        log_line("IOMMU: device %04x:%02x:%02x.%u was stopped: %s %lx is not its own", segment,
                 id >> 8, id >> 3 & 31, id & 7, what, address);
}

void iommu_interrupt(void) {
    for (unsigned i = 0; iommu.back_end && i < iommu.table->units; i++)
        iommu.back_end->faults(iommu.unit[i]);
}

static uint8_t read_pci(uint16_t id, unsigned offset) {
    return (uint8_t)pci_read(id, offset, 1);
}

// Each device that firmware reserved memory for goes into a domain of its own with just that.
static bool reserve(const struct dma_scope *scope, uint16_t id) {
    struct iommu_unit *unit = unit_of(scope->segment, id);
    if (!unit || pci_read(id, 0, 2) == 0xffff)
        return true;
    struct iommu_device *device = find(scope->segment, id);
    if (!device) {
        struct iommu_domain *domain = iommu_domain_create();
        device = heap_new(struct iommu_device);
        if (!domain || !device)
            return false;
        domain->reserved = true;
        *device = (struct iommu_device){.segment = scope->segment, .id = id};
        if (attach(unit, domain, device))
            return false;
    }
    uint64_t base = scope->base & PAGE_MASK, end = (scope->end + PAGE_SIZE - 1) & PAGE_MASK;
    return base >= end || !iommu_map(device->domain, base, base, end - base, IOMMU_WRITE);
}

static bool reserve_all(void) {
    bool done = true;
    for (unsigned i = 0; i < iommu.table->scopes; i++) {
        const struct dma_scope *scope = &iommu.table->scope[i];
        for (uint32_t id = scope->first;
             scope->kind == DMA_SCOPE_RESERVED && scope->segment == 0 && id <= scope->last; id++)
            done = reserve(scope, (uint16_t)id) && done;
    }
    return done;
}

static struct iommu_unit *find_unit(const struct dma_unit *firmware) {
    struct iommu_unit *unit = heap_new(struct iommu_unit);
    if (!unit)
        return NULL;
    unit->firmware = firmware;
    unit->registers = kernel_map_mmio(firmware->registers, REGISTERS_SIZE);
    return unit->registers && iommu.back_end->probe(unit) ? unit : NULL;
}

// False: there is none, or one of which not all can be used. Nothing is on then.
static bool find_units(const struct acpi_machine *machine) {
    if (!machine->dma_table)
        return false;
    iommu.table = heap_new(struct dma_table);
    if (!iommu.table ||
        !dma_table_read(iommu.table, machine->dma_table, machine->dma_table_size, read_pci))
        return false;
    iommu.back_end = iommu.table->amd ? &amd_vi : &vtd;
    iommu_can.remaps = iommu_can.wide = iommu.table->interrupts;
    for (unsigned i = 0; i < iommu.table->units; i++) {
        iommu.unit[i] = find_unit(&iommu.table->unit[i]);
        if (!iommu.unit[i])
            return false;
    }
    for (unsigned i = 0; i < iommu.table->units; i++)
        if (!iommu.back_end->prepare(iommu.unit[i], iommu.table, i))
            return false;
    return true;
}

void iommu_init(const struct acpi_machine *machine) {
    if (!find_units(machine)) {
        if (machine->dma_table)
            log_line("warning: the IOMMU lacks what Ashlar needs; going on without");
        iommu.back_end = NULL;
        iommu_can.remaps = false;
        return;
    }
    if (!reserve_all())
        log_line("warning: no memory for what firmware reserved for devices");
    for (unsigned i = 0; i < iommu.table->units; i++) {
        iommu.back_end->enable(iommu.unit[i]);
        iommu.unit[i]->on = true;
    }
}
