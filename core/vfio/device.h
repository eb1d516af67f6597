// SPDX-License-Identifier: BSD-2-Clause
// A device in a program's hands: the fd of VFIO_GROUP_GET_DEVICE_FD.
#pragma once
#include <linux/vfio.h>
#include <stdatomic.h>
#include <stdbool.h>
#include "arch/x86/irq.h"
#include "arch/x86/pci/pci.h"
#include "core/sched/spinlock.h"
#include "core/sched/wait.h"
#include "core/vfio/config_space.h"

struct address_space;
struct eventfd;
struct file;
struct io_buffer;
struct memory_object;

// An eventfd that is signalled, or none. Read in interrupts, without a lock.
struct vfio_trigger {
    struct file *file; // with a reference
    struct eventfd *_Atomic eventfd;
};

struct vfio_message { // an MSI or an entry of MSI-X
    struct irq_handler handler;
    struct vfio_trigger trigger;
    int vector; // 0: none
    struct iommu_message message;
};

struct vfio_line {        // INTx
    struct spinlock lock; // under that of a wait queue
    unsigned gsi[2], count;
    bool legacy;       // IDE's lines of the ISA bus: edges, a device's alone
    bool device_masks; // the device has a mask of its own (PCI 2.3), so the line may be shared
    bool masked, off;  // by interrupt or VFIO_DEVICE_SET_IRQS; by the command register
    bool pending;      // legacy: an edge came while masked
    struct irq_handler handler[2];
    struct vfio_trigger trigger, unmask;
    struct waiter waiter; // on unmask
};

struct vfio_device {
    struct pci_device *pci;
    struct file *group;          // with a reference
    struct address_space *space; // that opened it, where it can reach all memory: kept until it is
                                 // quiet
    atomic_bool changing;        // guards what follows
    struct config_space config;
    struct memory_object *bars[PCI_BARS]; // what mmap shows
    unsigned index;                       // of the interrupts in use; VFIO_PCI_NUM_IRQS: none
    unsigned count;
    struct vfio_message *messages;
    struct vfio_line line;
    struct vfio_trigger error, request;
};

// A kind of lock for what takes long: the owner may wait. No spinlock held.
void vfio_lock(atomic_bool *lock);
void vfio_unlock(atomic_bool *lock);

// Opens the device for the group's file, which must stay. fd or -errno.
int vfio_device_open(struct pci_device *pci, struct file *group);

// interrupt.c; the device's `changing` held:
void vfio_line_init(struct vfio_device *device);
unsigned vfio_irq_count(const struct vfio_device *device, unsigned index);
// VFIO_DEVICE_SET_IRQS, its fields checked for themselves; data: user address. 0, -errno, or how
// many vectors there are to be had.
int vfio_irq_set(struct vfio_device *device, const struct vfio_irq_set *set, uint64_t data);
void vfio_irq_disable(struct vfio_device *device); // all, for good
void vfio_irq_restore(struct vfio_device *device); // in hardware, after a reset
void vfio_line_update(struct vfio_device *device); // config_space_line_off may have changed

// region.c:
uint64_t vfio_region_size(const struct vfio_device *device, unsigned index);
bool vfio_region_has_table(const struct vfio_device *device, unsigned bar); // MSI-X's
// Pages of a BAR that hold the MSI-X table and may not be mapped; false: none.
bool vfio_region_hole(const struct vfio_device *device, unsigned bar, uint64_t *start,
                      uint64_t *end);
bool vfio_region_can_map(const struct vfio_device *device, unsigned index);
int64_t vfio_region_read(struct file *file, struct io_buffer *buffer, uint64_t *offset);
int64_t vfio_region_write(struct file *file, struct io_buffer *buffer, uint64_t *offset);
int vfio_region_map(struct file *file, uint64_t offset, uint64_t size, int prot, int flags,
                    struct memory_object **object, uint64_t *object_offset);
void vfio_region_revoke(struct vfio_device *device); // no mapping shows anything any more

// reset.c:
bool pci_can_reset(const struct pci_device *pci);
// Puts the function back to its first state and its configuration back to what it was. 0, -ENOTTY:
// it cannot, -EIO: it does not come back. Waits up to a second.
int pci_reset(const struct pci_device *pci);
// Waits until a device that cannot be reset has ended what it had begun when its bus mastering was
// switched off: QEMU's have looked up their memory then and go on using it.
void pci_settle(void);
// The same for all functions on the bus below a bridge. 0, -ENOMEM, -EIO.
int pci_bus_reset(const struct pci_device *bridge);

// hot_reset.c: VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, VFIO_DEVICE_PCI_HOT_RESET.
int64_t vfio_hot_reset_info(const struct vfio_device *device, uint64_t argument);
int64_t vfio_hot_reset(const struct vfio_device *device, uint64_t argument);
