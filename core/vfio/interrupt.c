// SPDX-License-Identifier: BSD-2-Clause
// A device's interrupts as eventfds: its line, MSI, MSI-X.
#include <asm/errno.h>
#include <linux/pci_regs.h>
#include "arch/x86/cpu.h"
#include "core/file/eventfd.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/vfio/device.h"

// --- eventfds

static void trigger_fire(struct vfio_trigger *trigger) {
    struct eventfd *eventfd = atomic_load(&trigger->eventfd);
    if (eventfd)
        eventfd_signal(eventfd, 1);
}

// fd -1: none. 0 or -EBADF.
static int trigger_open(struct vfio_trigger *trigger, int fd) {
    struct file *file = NULL;
    struct eventfd *eventfd = fd < 0 ? NULL : eventfd_get(fd, &file);
    if (fd >= 0 && !eventfd)
        return -EBADF;
    struct file *old = trigger->file;
    atomic_store(&trigger->eventfd, eventfd);
    trigger->file = file;
    if (old) {
        cpu_synchronize(); // an interrupt may be signalling it
        file_put_deferred(old);
    }
    return 0;
}

// --- INTx

static uint32_t config_read(const struct vfio_device *device, unsigned offset) {
    return pci_read(device->pci->function, offset, 2);
}

// Lock held.
static void line_mask(struct vfio_device *device) {
    struct vfio_line *line = &device->line;
    bool masked = line->masked || line->off;
    if (line->legacy)
        return;
    if (line->device_masks) {
        uint32_t command = config_read(device, PCI_COMMAND) & ~(uint32_t)PCI_COMMAND_INTX_DISABLE;
        pci_write(device->pci->function, PCI_COMMAND, 2,
                  command | (masked ? PCI_COMMAND_INTX_DISABLE : 0));
        if (!masked && iommu_remaps_interrupts())
            irq_line_mask(line->gsi[0], false); // where an EOI may be missing
    } else {
        irq_line_mask(line->gsi[0], masked);
    }
}

// A level stays until the program has served the device, so it is masked until told otherwise.
static void line_interrupt(void *argument) {
    struct vfio_device *device = argument;
    struct vfio_line *line = &device->line;
    spin_lock(&line->lock);
    bool fire = !line->masked && !line->off;
    line->pending |= !fire;
    if (fire && line->device_masks) // perhaps another device's
        fire = config_read(device, PCI_STATUS) & PCI_STATUS_INTERRUPT;
    line->masked |= fire && !line->legacy;
    if (line->masked || line->off) // again: the command register may just have been written
        line_mask(device);
    else if (line->device_masks && iommu_remaps_interrupts())
        irq_line_mask(line->gsi[0], false); // served already: nobody unmasks, and gives the EOI
    spin_unlock(&line->lock);
    if (fire)
        trigger_fire(&line->trigger);
}

// Returns whether an edge was held back.
static bool line_set_masked(struct vfio_device *device, bool masked) {
    struct vfio_line *line = &device->line;
    spin_lock(&line->lock);
    line->masked = masked;
    line_mask(device);
    bool fire = line->legacy && line->pending && !masked;
    line->pending &= masked;
    spin_unlock(&line->lock);
    return fire;
}

// Under the lock of the eventfd's queue, so nothing is signalled here.
static void line_wake(struct waiter *waiter, unsigned events) {
    struct vfio_device *device = container_of(waiter, struct vfio_device, line.waiter);
    if (eventfd_take(atomic_load(&device->line.unmask.eventfd)))
        line_set_masked(device, false);
}

void vfio_line_update(struct vfio_device *device) {
    struct vfio_line *line = &device->line;
    spin_lock(&line->lock);
    line->off = config_space_line_off(&device->config);
    if (device->index == VFIO_PCI_INTX_IRQ_INDEX)
        line_mask(device);
    spin_unlock(&line->lock);
}

enum { CLASS_IDE = 0x0101, IDE_NATIVE = 1 << 0 | 1 << 2, IDE_LINE = 14, NO_LINE = 0xff };

void vfio_line_init(struct vfio_device *device) {
    const struct pci_device *pci = device->pci;
    struct vfio_line *line = &device->line;
    unsigned pin = pci_read(pci->function, PCI_INTERRUPT_PIN, 1);
    unsigned gsi = pci_read(pci->function, PCI_INTERRUPT_LINE, 1);
    uint32_t command = config_read(device, PCI_COMMAND);
    // An IDE controller of old has the two lines of the ISA bus (PCI IDE Controller Specification
    // 1.0, 2.3): both are its INTx here.
    line->legacy = pci->class >> 16 == CLASS_IDE && !(pci->class >> 8 & IDE_NATIVE);
    line->gsi[0] = line->legacy ? IDE_LINE : gsi;
    line->gsi[1] = IDE_LINE + 1;
    line->count = line->legacy ? 2 : pin && gsi != NO_LINE ? 1 : 0;
    pci_write(pci->function, PCI_COMMAND, 2, command ^ PCI_COMMAND_INTX_DISABLE);
    line->device_masks =
        !line->legacy && ((config_read(device, PCI_COMMAND) ^ command) & PCI_COMMAND_INTX_DISABLE);
    pci_write(pci->function, PCI_COMMAND, 2, command);
    waiter_init_callback(&line->waiter, line_wake);
}

static void line_disconnect(struct vfio_device *device, unsigned count) {
    struct vfio_line *line = &device->line;
    while (count-- > 0)
        irq_line_disconnect(line->gsi[count], &line->handler[count]);
}

static int line_enable(struct vfio_device *device) {
    struct vfio_line *line = &device->line;
    if (!line->count)
        return -ENODEV;
    if (!line->device_masks && irq_line_shared(line->gsi[0]))
        return -EBUSY;
    line->masked = line->pending = false;
    for (unsigned i = 0; i < line->count; i++) {
        line->handler[i] = (struct irq_handler){.function = line_interrupt, .argument = device};
        int error = irq_line_connect(line->gsi[i], !line->legacy, &line->handler[i]);
        if (error) {
            line_disconnect(device, i);
            return error;
        }
    }
    device->index = VFIO_PCI_INTX_IRQ_INDEX;
    line_set_masked(device, false);
    return 0;
}

static int line_unmask_by(struct vfio_device *device, int fd) {
    struct vfio_line *line = &device->line;
    waiter_remove(&line->waiter);
    int error = trigger_open(&line->unmask, fd);
    if (error || fd < 0)
        return error;
    waiter_add(&line->waiter, eventfd_queue(atomic_load(&line->unmask.eventfd)));
    if (eventfd_take(atomic_load(&line->unmask.eventfd)))
        line_set_masked(device, false);
    return 0;
}

// --- messages

static void message_interrupt(void *argument) {
    trigger_fire(&((struct vfio_message *)argument)->trigger);
}

static volatile uint32_t *msix_entry(const struct vfio_device *device, unsigned number) {
    struct pci_device *pci = device->pci;
    uint32_t table = pci_read(pci->function, pci->msix + PCI_MSIX_TABLE, 4);
    volatile uint8_t *bar = pci_bar_map(pci, table & PCI_MSIX_TABLE_BIR);
    return bar ? (volatile uint32_t *)(bar + (table & PCI_MSIX_TABLE_OFFSET) +
                                       (size_t)number * PCI_MSIX_ENTRY_SIZE)
               : NULL;
}

static void msi_flags(const struct vfio_device *device, uint16_t clear, uint16_t set) {
    const struct pci_device *pci = device->pci;
    bool msix = device->index == VFIO_PCI_MSIX_IRQ_INDEX;
    unsigned at = msix ? pci->msix + PCI_MSIX_FLAGS : pci->msi + PCI_MSI_FLAGS;
    uint32_t flags = pci_read(pci->function, at, 2);
    pci_write(pci->function, at, 2, (flags & ~(uint32_t)clear) | set);
}

// Writes a message into the device; a vector of 0 masks it.
static void message_program(const struct vfio_device *device, unsigned number) {
    const struct vfio_message *message = &device->messages[number];
    const struct iommu_message *to = &message->message;
    if (device->index == VFIO_PCI_MSIX_IRQ_INDEX) {
        volatile uint32_t *entry = msix_entry(device, number);
        uint32_t command = config_read(device, PCI_COMMAND); // the program may have turned it off
        pci_write(device->pci->function, PCI_COMMAND, 2, command | PCI_COMMAND_MEMORY);
        entry[PCI_MSIX_ENTRY_VECTOR_CTRL / 4] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
        entry[PCI_MSIX_ENTRY_LOWER_ADDR / 4] = (uint32_t)to->address;
        entry[PCI_MSIX_ENTRY_UPPER_ADDR / 4] = (uint32_t)(to->address >> 32);
        entry[PCI_MSIX_ENTRY_DATA / 4] = to->data;
        if (message->vector)
            entry[PCI_MSIX_ENTRY_VECTOR_CTRL / 4] = 0;
        pci_write(device->pci->function, PCI_COMMAND, 2, command);
        return;
    }
    pci_function function = device->pci->function;
    unsigned at = device->pci->msi;
    bool wide = pci_read(function, at + PCI_MSI_FLAGS, 2) & PCI_MSI_FLAGS_64BIT;
    msi_flags(device, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE, 0);
    if (!message->vector)
        return;
    pci_write(function, at + PCI_MSI_ADDRESS_LO, 4, (uint32_t)to->address);
    if (wide)
        pci_write(function, at + PCI_MSI_ADDRESS_HI, 4, (uint32_t)(to->address >> 32));
    pci_write(function, at + (wide ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32), 2, to->data);
    msi_flags(device, 0, PCI_MSI_FLAGS_ENABLE);
}

static int message_route(const struct vfio_device *device, struct vfio_message *message) {
    uint32_t apic_id = this_cpu()->apic_id;
    if (iommu_present())
        return iommu_interrupt_route(&device->pci->alias->dma, (uint8_t)message->vector, apic_id,
                                     &message->message);
    message->message =
        (struct iommu_message){IOMMU_MSI_BASE | (uint64_t)apic_id << 12, (uint32_t)message->vector};
    return apic_id > 255 ? -EINVAL : 0;
}

static void message_close(struct vfio_device *device, unsigned number) {
    struct vfio_message *message = &device->messages[number];
    if (!message->vector)
        return;
    unsigned vector = (unsigned)message->vector;
    message->vector = 0;
    message_program(device, number);
    irq_vector_free(vector, &message->handler);
    if (iommu_present())
        iommu_interrupt_remove(&device->pci->alias->dma, (uint8_t)vector);
    trigger_open(&message->trigger, -1);
}

static int message_open(struct vfio_device *device, unsigned number, int fd) {
    struct vfio_message *message = &device->messages[number];
    if (message->vector && fd >= 0)
        return trigger_open(&message->trigger, fd);
    message_close(device, number);
    int error = trigger_open(&message->trigger, fd);
    if (error || fd < 0)
        return error;
    message->handler = (struct irq_handler){.function = message_interrupt, .argument = message};
    message->vector = irq_vector_alloc(&message->handler);
    if (message->vector < 0) {
        error = message->vector;
        message->vector = 0;
        trigger_open(&message->trigger, -1);
        return error;
    }
    error = message_route(device, message);
    if (error)
        message_close(device, number);
    else
        message_program(device, number);
    return error;
}

static int messages_enable(struct vfio_device *device, unsigned index, unsigned count) {
    if (index == VFIO_PCI_MSI_IRQ_INDEX && count > 1)
        return 1; // so many can be had: more would have to be neighbours
    if (index == VFIO_PCI_MSIX_IRQ_INDEX && !msix_entry(device, 0))
        return -ENOMEM;
    device->messages = heap_alloc(count * sizeof *device->messages);
    if (!device->messages)
        return -ENOMEM;
    device->index = index;
    device->count = count;
    if (index == VFIO_PCI_MSIX_IRQ_INDEX) {
        for (unsigned i = 0; i < vfio_irq_count(device, index); i++)
            msix_entry(device, i)[PCI_MSIX_ENTRY_VECTOR_CTRL / 4] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
        msi_flags(device, PCI_MSIX_FLAGS_MASKALL, PCI_MSIX_FLAGS_ENABLE);
    }
    return 0;
}

// --- VFIO_DEVICE_SET_IRQS

unsigned vfio_irq_count(const struct vfio_device *device, unsigned index) {
    const struct pci_device *pci = device->pci;
    switch (index) {
    case VFIO_PCI_INTX_IRQ_INDEX:
        return device->line.count ? 1 : 0;
    case VFIO_PCI_MSI_IRQ_INDEX:
        return pci->msi ? 1u << (pci_read(pci->function, pci->msi + PCI_MSI_FLAGS, 2) >> 1 & 7) : 0;
    case VFIO_PCI_MSIX_IRQ_INDEX:
        return pci->msix ? (pci_read(pci->function, pci->msix + PCI_MSIX_FLAGS, 2) &
                            PCI_MSIX_FLAGS_QSIZE) +
                               1
                         : 0;
    case VFIO_PCI_ERR_IRQ_INDEX:
        return pci->express ? 1 : 0;
    default:
        return 1;
    }
}

static void disable_index(struct vfio_device *device) {
    switch (device->index) {
    case VFIO_PCI_INTX_IRQ_INDEX:
        line_set_masked(device, true);
        line_disconnect(device, device->line.count);
        line_unmask_by(device, -1);
        trigger_open(&device->line.trigger, -1);
        break;
    case VFIO_PCI_MSI_IRQ_INDEX:
    case VFIO_PCI_MSIX_IRQ_INDEX:
        for (unsigned i = 0; i < device->count; i++)
            message_close(device, i);
        msi_flags(device,
                  device->index == VFIO_PCI_MSI_IRQ_INDEX ? PCI_MSI_FLAGS_ENABLE
                                                          : PCI_MSIX_FLAGS_ENABLE,
                  0);
        heap_free(device->messages);
        device->messages = NULL;
        break;
    }
    device->index = VFIO_PCI_NUM_IRQS;
    device->count = 0;
}

void vfio_irq_disable(struct vfio_device *device) {
    disable_index(device);
    trigger_open(&device->error, -1);
    trigger_open(&device->request, -1);
}

void vfio_irq_restore(struct vfio_device *device) {
    if (device->index == VFIO_PCI_INTX_IRQ_INDEX)
        line_set_masked(device, false);
    for (unsigned i = 0; i < device->count; i++)
        message_program(device, i);
    if (device->index == VFIO_PCI_MSIX_IRQ_INDEX)
        msi_flags(device, PCI_MSIX_FLAGS_MASKALL, PCI_MSIX_FLAGS_ENABLE);
}

// The value that comes with interrupt i. 0 or -EFAULT.
static int load(const struct vfio_irq_set *set, uint64_t data, unsigned i, int *value) {
    *value = 1;
    if (set->flags & VFIO_IRQ_SET_DATA_EVENTFD)
        return copy_from_user(value, data + i * sizeof(int), sizeof(int));
    uint8_t byte = 1;
    int error =
        set->flags & VFIO_IRQ_SET_DATA_BOOL ? copy_from_user(&byte, data + i, sizeof byte) : 0;
    *value = byte;
    return error;
}

static int set_line_mask(struct vfio_device *device, const struct vfio_irq_set *set, int value) {
    if (device->index != VFIO_PCI_INTX_IRQ_INDEX || set->start || set->count != 1)
        return -EINVAL;
    bool unmask = set->flags & VFIO_IRQ_SET_ACTION_UNMASK;
    if (set->flags & VFIO_IRQ_SET_DATA_EVENTFD)
        return unmask ? line_unmask_by(device, value) : -ENOTTY;
    if (value && line_set_masked(device, !unmask))
        trigger_fire(&device->line.trigger);
    return 0;
}

static struct vfio_trigger *trigger_of(struct vfio_device *device, unsigned index, unsigned i) {
    switch (index) {
    case VFIO_PCI_INTX_IRQ_INDEX:
        return &device->line.trigger;
    case VFIO_PCI_ERR_IRQ_INDEX:
        return &device->error;
    case VFIO_PCI_REQ_IRQ_INDEX:
        return &device->request;
    default:
        return &device->messages[i].trigger;
    }
}

static int set_one(struct vfio_device *device, const struct vfio_irq_set *set, unsigned i,
                   int value) {
    bool message = set->index == VFIO_PCI_MSI_IRQ_INDEX || set->index == VFIO_PCI_MSIX_IRQ_INDEX;
    struct vfio_trigger *trigger = trigger_of(device, set->index, i);
    if (set->flags & VFIO_IRQ_SET_DATA_EVENTFD)
        return message ? message_open(device, i, value) : trigger_open(trigger, value);
    if (value)
        trigger_fire(trigger);
    return 0;
}

static int set_triggers(struct vfio_device *device, const struct vfio_irq_set *set, uint64_t data) {
    int error = 0, value;
    unsigned done = 0;
    for (; !error && done < set->count; done++) {
        error = load(set, data, done, &value);
        if (!error)
            error = set_one(device, set, set->start + done, value);
    }
    if (error && (set->flags & VFIO_IRQ_SET_DATA_EVENTFD) && device->messages)
        while (done-- > 0)
            message_close(device, set->start + done);
    return error;
}

static int set_trigger(struct vfio_device *device, const struct vfio_irq_set *set, uint64_t data) {
    bool line = set->index == VFIO_PCI_INTX_IRQ_INDEX;
    bool notice = set->index >= VFIO_PCI_ERR_IRQ_INDEX;
    bool active = notice || device->index == set->index;
    bool eventfd = set->flags & VFIO_IRQ_SET_DATA_EVENTFD;
    if (active && !set->count && (set->flags & VFIO_IRQ_SET_DATA_NONE)) {
        if (notice)
            return trigger_open(trigger_of(device, set->index, 0), -1);
        disable_index(device);
        return 0;
    }
    if ((!active && device->index != VFIO_PCI_NUM_IRQS) || !set->count ||
        ((line || notice) && (set->start || set->count != 1)))
        return -EINVAL;
    if (!active && !eventfd)
        return -EINVAL;
    if (active && !line && !notice && set->start + set->count > device->count)
        return -EINVAL;
    int error = 0;
    if (!active && !line)
        error = messages_enable(device, set->index, set->start + set->count);
    if (error)
        return error;
    error = set_triggers(device, set, data);
    if (!error && !active && line) // only now: an interrupt that nobody hears would stay masked
        error = line_enable(device);
    if (error && !active) {
        disable_index(device);
        trigger_open(&device->line.trigger, -1);
    }
    return error;
}

int vfio_irq_set(struct vfio_device *device, const struct vfio_irq_set *set, uint64_t data) {
    int value;
    if (set->flags & VFIO_IRQ_SET_ACTION_TRIGGER)
        return set_trigger(device, set, data);
    if (set->index != VFIO_PCI_INTX_IRQ_INDEX)
        return -ENOTTY;
    int error = load(set, data, 0, &value);
    return error ? error : set_line_mask(device, set, value);
}
