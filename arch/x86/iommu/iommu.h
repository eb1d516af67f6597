// SPDX-License-Identifier: BSD-2-Clause
// IOMMUs, VT-d and AMD-Vi behind one face: what a device reaches by DMA and which interrupts it may
// raise. With one in the machine no device reaches anything until it is attached to a domain
// (except what firmware reserved for it).
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/list.h"

struct acpi_machine;
struct iommu_domain;

// Where messages of interrupts go: no domain maps it.
#define IOMMU_MSI_BASE 0xfee00000ull
#define IOMMU_MSI_END  0xfef00000ull

// A device as the IOMMU sees it: the requester ID on its transactions, which behind a bridge from
// PCI Express to PCI is the bridge's. The caller owns the memory and fills the first block.
struct iommu_device {
    uint16_t segment, id; // id: bus << 8 | device << 3 | function
    // The device reached for what is not in its domain. It has been logged, bus mastering is off
    // and the device is in no domain any more (iommu_detach is still to be called). In an
    // interrupt, with the IOMMU's lock: signals an eventfd, calls nothing here. NULL: nobody wants
    // to know.
    void (*fault)(struct iommu_device *device);

    struct list node; // iommu's own from here on
    struct iommu_domain *domain;
    void *interrupts;
    bool stopped; // after a fault
};

struct iommu_message { // what a device writes, and where, to raise an interrupt
    uint64_t address;
    uint32_t data;
};

// Finds the units, stops all DMA and turns them on. Before the I/O APICs; the heap is there.
void iommu_init(const struct acpi_machine *machine);
bool iommu_present(void);
// Whether a device can raise only those interrupts that it was given.
bool iommu_remaps_interrupts(void);
// A line for the log; 0 bytes when there is none.
size_t iommu_describe(char *out, size_t size);
uint64_t iommu_aperture(void);   // I/O virtual addresses are below this
uint64_t iommu_page_sizes(void); // a bit for each, as VFIO_IOMMU_GET_INFO tells them

// What the I/O APICs write for an entry (vector, trigger, destination) to mean what it says.
uint64_t iommu_line_entry(uint8_t io_apic, uint64_t entry);
// IRQ_VECTOR_IOMMU: a unit has something to report.
void iommu_interrupt(void);

// Domains: an I/O virtual address space. Calls for one domain come one at a time, with no lock held
// that the order of locks has inside the IOMMU's.
struct iommu_domain *iommu_domain_create(void);      // NULL: no memory, or no number for it
void iommu_domain_free(struct iommu_domain *domain); // nothing attached
enum { IOMMU_READ = 1, IOMMU_WRITE = 2 };            // by the device; it may always read
// All addresses and sizes are multiples of 4 KiB. Physically contiguous memory at once: the largest
// pages are used that it allows. Nothing may be mapped there. 0, -ENOMEM (then nothing is), -EINVAL
// (outside the aperture, or where interrupt messages go). One call maps at most 1 GiB.
int iommu_map(struct iommu_domain *domain, uint64_t address, uint64_t physical, uint64_t size,
              unsigned access);
// Takes whole mappings of iommu_map away, and what is not mapped stays so. On return no device
// reaches the memory. One call at most 1 GiB.
void iommu_unmap(struct iommu_domain *domain, uint64_t address, uint64_t size);
// The physical address behind an address; PHYSICAL_NONE: nothing mapped.
uint64_t iommu_translate(struct iommu_domain *domain, uint64_t address);

// 0; -ENODEV: no unit for it; -EBUSY: attached already; -EPERM: firmware reserved memory for its
// own use of the device (RMRR, IVMD), so it cannot be given out; -ENOMEM.
int iommu_attach(struct iommu_domain *domain, struct iommu_device *device);
// The device's DMA and interrupts end before the return.
void iommu_detach(struct iommu_device *device);

// Lets an attached device raise `vector` on a CPU and says by which message. Again for the same
// vector: changes the CPU. The message is an unremapped one where iommu_remaps_interrupts() is
// false. A vector is at most one device's at a time. 0; -EINVAL: the CPU's APIC ID cannot be
// expressed; -EIO: the device is in no domain, having been stopped.
int iommu_interrupt_route(struct iommu_device *device, uint8_t vector, uint32_t apic_id,
                          struct iommu_message *message);
void iommu_interrupt_remove(struct iommu_device *device, uint8_t vector);
