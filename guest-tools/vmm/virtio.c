// SPDX-License-Identifier: BSD-2-Clause
// The registers of the modern PCI transport. One BAR holds common configuration, ISR status, device
// configuration and the MSI-X table; notifications are ports: the kernel sees which without a look
// at the instruction, so that a kick costs a tenth of one in memory.
#include "virtio.h"

#include <errno.h>
#include <linux/kvm.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "error.h"
#include "vm.h"

#define VENDOR_VIRTIO     0x1af4
#define FIRST_DEVICE_ID   0x1040
#define REVISION_MODERN   1
#define NOTIFY_MULTIPLIER 2u
#define NOTIFY_SIZE       (VIRTIO_QUEUES_MAX * NOTIFY_MULTIPLIER)
#define BAR_SIZE          0x8000u
#define COMMON_OFFSET     0x0000u
#define ISR_OFFSET        0x1000u
#define DEVICE_OFFSET     0x2000u
#define MSIX_TABLE_OFFSET 0x3000u
#define MSIX_PENDING      0x4000u
#define REGION_SIZE       0x1000u
#define ISR_CONFIG        2
#define NO_VECTOR         0xffff

#define FEATURE(bit) (1ull << (bit))

static bool virtio_has_feature(const struct virtio_device *device, unsigned bit) {
    return device->driver_features & FEATURE(bit);
}

static struct virtio_queue *selected_queue(struct virtio_device *device) {
    return device->queue_select < device->queue_count ? &device->queues[device->queue_select]
                                                      : NULL;
}

static void signal_fd(int fd) {
    const uint64_t one = 1;

    // It can only fail by being signalled already.
    if (fd >= 0 && write(fd, &one, sizeof(one)) < 0) {
        return;
    }
}

int virtio_call_fd(const struct virtio_device *device, unsigned queue) {
    return msix_fd(&device->msix, device->queues[queue].vector);
}

void virtio_config_changed(struct virtio_device *device) {
    __atomic_add_fetch(&device->config_generation, 1, __ATOMIC_SEQ_CST);
    __atomic_or_fetch(&device->isr, ISR_CONFIG, __ATOMIC_SEQ_CST);
    signal_fd(msix_fd(&device->msix, device->config_vector));
}

void virtio_needs_reset(struct virtio_device *device) {
    __atomic_or_fetch(&device->status, VIRTIO_CONFIG_S_NEEDS_RESET, __ATOMIC_SEQ_CST);
    virtio_config_changed(device);
}

static void reset(struct virtio_device *device) {
    if (device->started) {
        device->class->stop(device);
    }
    device->started = false;
    device->status = 0;
    device->isr = 0;
    device->driver_features = 0;
    device->config_vector = NO_VECTOR;
    for (unsigned i = 0; i < device->queue_count; i++) {
        struct virtio_queue *queue = &device->queues[i];

        queue->addresses = (struct virtqueue_addresses){0};
        queue->size = device->class->queue_size;
        queue->vector = NO_VECTOR;
        queue->enabled = false;
    }
}

static void start(struct virtio_device *device) {
    int error = device->class->start(device);

    if (error) {
        warning("%s: the driver's queues cannot be used: %s", device->class->name,
                strerror(-error));
        virtio_needs_reset(device);
        return;
    }
    device->started = true;
}

static void set_status(struct virtio_device *device, uint8_t status) {
    if (status == 0) {
        reset(device);
        return;
    }
    // 2.2.2: a selection the device cannot live with is refused by leaving FEATURES_OK clear.
    if (status & VIRTIO_CONFIG_S_FEATURES_OK && (device->driver_features & ~device->features ||
                                                 !virtio_has_feature(device, VIRTIO_F_VERSION_1))) {
        status &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
    }
    device->status = status;
    if (status & VIRTIO_CONFIG_S_DRIVER_OK && status & VIRTIO_CONFIG_S_FEATURES_OK &&
        !device->started) {
        start(device);
    }
}

static uint32_t common_read(struct virtio_device *device, uint32_t offset) {
    const struct virtio_queue *queue = selected_queue(device);

    switch (offset) {
    case VIRTIO_PCI_COMMON_DFSELECT:
        return device->feature_select;
    case VIRTIO_PCI_COMMON_DF:
        return device->feature_select < 2
                   ? (uint32_t)(device->features >> 32 * device->feature_select)
                   : 0;
    case VIRTIO_PCI_COMMON_GFSELECT:
        return device->driver_feature_select;
    case VIRTIO_PCI_COMMON_GF:
        return device->driver_feature_select < 2
                   ? (uint32_t)(device->driver_features >> 32 * device->driver_feature_select)
                   : 0;
    case VIRTIO_PCI_COMMON_MSIX:
        return device->config_vector;
    case VIRTIO_PCI_COMMON_NUMQ:
        return device->queue_count;
    case VIRTIO_PCI_COMMON_STATUS:
        return device->status;
    case VIRTIO_PCI_COMMON_CFGGENERATION:
        return device->config_generation;
    case VIRTIO_PCI_COMMON_Q_SELECT:
        return device->queue_select;
    case VIRTIO_PCI_COMMON_Q_NOFF:
        return device->queue_select;
    default:
        break;
    }
    if (!queue) {
        return 0;
    }
    switch (offset) {
    case VIRTIO_PCI_COMMON_Q_SIZE:
        return queue->size;
    case VIRTIO_PCI_COMMON_Q_MSIX:
        return queue->vector;
    case VIRTIO_PCI_COMMON_Q_ENABLE:
        return queue->enabled;
    case VIRTIO_PCI_COMMON_Q_DESCLO:
        return (uint32_t)queue->addresses.descriptors;
    case VIRTIO_PCI_COMMON_Q_DESCHI:
        return (uint32_t)(queue->addresses.descriptors >> 32);
    case VIRTIO_PCI_COMMON_Q_AVAILLO:
        return (uint32_t)queue->addresses.driver;
    case VIRTIO_PCI_COMMON_Q_AVAILHI:
        return (uint32_t)(queue->addresses.driver >> 32);
    case VIRTIO_PCI_COMMON_Q_USEDLO:
        return (uint32_t)queue->addresses.device;
    case VIRTIO_PCI_COMMON_Q_USEDHI:
        return (uint32_t)(queue->addresses.device >> 32);
    default:
        return 0;
    }
}

static void set_half(uint64_t *value, bool high, uint32_t half) {
    memcpy((uint8_t *)value + (high ? 4 : 0), &half, sizeof(half));
}

static uint16_t valid_vector(const struct virtio_device *device, uint32_t vector) {
    return vector < device->msix.count ? (uint16_t)vector : NO_VECTOR;
}

static void queue_write(struct virtio_device *device, struct virtio_queue *queue, uint32_t offset,
                        uint32_t value) {
    if (offset == VIRTIO_PCI_COMMON_Q_MSIX) {
        queue->vector = valid_vector(device, value);
        return;
    }
    if (queue->enabled) { // 4.1.4.3.2: fixed until the next reset
        return;
    }
    switch (offset) {
    case VIRTIO_PCI_COMMON_Q_SIZE:
        if (value && value <= device->class->queue_size) {
            queue->size = (uint16_t)value;
        }
        break;
    case VIRTIO_PCI_COMMON_Q_ENABLE:
        queue->enabled = value == 1;
        break;
    case VIRTIO_PCI_COMMON_Q_DESCLO:
    case VIRTIO_PCI_COMMON_Q_DESCHI:
        set_half(&queue->addresses.descriptors, offset == VIRTIO_PCI_COMMON_Q_DESCHI, value);
        break;
    case VIRTIO_PCI_COMMON_Q_AVAILLO:
    case VIRTIO_PCI_COMMON_Q_AVAILHI:
        set_half(&queue->addresses.driver, offset == VIRTIO_PCI_COMMON_Q_AVAILHI, value);
        break;
    case VIRTIO_PCI_COMMON_Q_USEDLO:
    case VIRTIO_PCI_COMMON_Q_USEDHI:
        set_half(&queue->addresses.device, offset == VIRTIO_PCI_COMMON_Q_USEDHI, value);
        break;
    default:
        break;
    }
}

static void common_write(struct virtio_device *device, uint32_t offset, uint32_t value) {
    struct virtio_queue *queue = selected_queue(device);

    switch (offset) {
    case VIRTIO_PCI_COMMON_DFSELECT:
        device->feature_select = value;
        break;
    case VIRTIO_PCI_COMMON_GFSELECT:
        device->driver_feature_select = value;
        break;
    case VIRTIO_PCI_COMMON_GF:
        if (device->driver_feature_select < 2 && !(device->status & VIRTIO_CONFIG_S_FEATURES_OK)) {
            set_half(&device->driver_features, device->driver_feature_select == 1, value);
        }
        break;
    case VIRTIO_PCI_COMMON_MSIX:
        device->config_vector = valid_vector(device, value);
        break;
    case VIRTIO_PCI_COMMON_STATUS:
        set_status(device, (uint8_t)value);
        break;
    case VIRTIO_PCI_COMMON_Q_SELECT:
        device->queue_select = (uint16_t)value;
        break;
    default:
        if (queue) {
            queue_write(device, queue, offset, value);
        }
    }
}

static void device_read(struct virtio_device *device, uint32_t offset, void *data,
                        unsigned length) {
    const struct virtio_class *class = device->class;

    memset(data, 0, length);
    if (offset < class->config_size && length <= class->config_size - offset) {
        class->read_config(device, offset, data, length);
    }
}

static void bar_read(void *context, uint64_t offset, void *data, unsigned length) {
    struct virtio_device *device = context;
    uint32_t within = offset % REGION_SIZE;
    uint32_t value = 0;

    switch (offset - within) {
    case COMMON_OFFSET:
        value = common_read(device, within);
        break;
    case ISR_OFFSET:
        value = within == 0 ? __atomic_exchange_n(&device->isr, 0, __ATOMIC_SEQ_CST) : 0;
        break;
    case DEVICE_OFFSET:
        device_read(device, within, data, length);
        return;
    case MSIX_TABLE_OFFSET:
        msix_table_read(&device->msix, within, data, length);
        return;
    case MSIX_PENDING:
        msix_pending_read(&device->msix, within, data, length);
        return;
    default:
        break;
    }
    memset(data, 0, length);
    memcpy(data, &value, length < sizeof(value) ? length : sizeof(value));
}

static void bar_write(void *context, uint64_t offset, const void *data, unsigned length) {
    struct virtio_device *device = context;
    uint32_t within = offset % REGION_SIZE;
    uint32_t value = 0;

    memcpy(&value, data, length < sizeof(value) ? length : sizeof(value));
    switch (offset - within) {
    case COMMON_OFFSET:
        common_write(device, within, value);
        if (length == 8 && within >= VIRTIO_PCI_COMMON_Q_DESCLO) {
            memcpy(&value, (const uint8_t *)data + 4, sizeof(value));
            common_write(device, within + 4, value);
        }
        break;
    case DEVICE_OFFSET:
        if (device->class->write_config && within < device->class->config_size &&
            length <= device->class->config_size - within) {
            device->class->write_config(device, within, data, length);
        }
        break;
    case MSIX_TABLE_OFFSET:
        msix_table_write(&device->msix, within, data, length);
        break;
    default:
        break;
    }
}

static const struct bus_device_ops bar_ops = {.read = bar_read, .write = bar_write};

static void notify_read(void *device, uint64_t offset, void *data, unsigned length) {
    (void)device;
    (void)offset;
    memset(data, 0, length);
}

// Kicks come here only where the kernel does not take them (another width than the ioeventfd's).
static void notify_write(void *context, uint64_t offset, const void *data, unsigned length) {
    const struct virtio_device *device = context;
    uint64_t index = offset / NOTIFY_MULTIPLIER;

    (void)data;
    (void)length;
    if (index < device->queue_count) {
        signal_fd(device->queues[index].kick_fd);
    }
}

static const struct bus_device_ops notify_ops = {.read = notify_read, .write = notify_write};

static void connect_kick(struct virtio_device *device, struct virtio_queue *queue,
                         uint64_t address) {
    struct kvm_ioeventfd kick = {.addr = queue->kick_address,
                                 .len = 2,
                                 .fd = queue->kick_fd,
                                 .flags = KVM_IOEVENTFD_FLAG_PIO};

    if (queue->kick_address) {
        kick.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
        if (ioctl(device->vm->fd, KVM_IOEVENTFD, &kick) < 0) {
            fatal_errno("KVM_IOEVENTFD");
        }
    }
    kick.flags = KVM_IOEVENTFD_FLAG_PIO;
    kick.addr = address;
    // Where the guest has put another device too, kicks come to notify_write.
    queue->kick_address = address && ioctl(device->vm->fd, KVM_IOEVENTFD, &kick) == 0 ? address : 0;
}

static void connect_kicks(struct virtio_device *device, uint64_t address) {
    for (unsigned i = 0; i < device->queue_count; i++) {
        connect_kick(device, &device->queues[i], address ? address + i * NOTIFY_MULTIPLIER : 0);
    }
}

static void bar_moved(void *context, enum pci_bar_kind bar) {
    struct virtio_device *device = context;

    if (bar == PCI_BAR_PORTS) {
        connect_kicks(device, device->pci.bars[bar].address);
    }
}

// 4.1.4.9: a window into the BARs by configuration space, for firmware that maps no memory.
static struct virtio_pci_cfg_cap *window(struct virtio_device *device) {
    return (struct virtio_pci_cfg_cap *)(device->pci.config + device->window_capability);
}

// The BAR that the window shows, NULL where it shows none.
static const struct pci_bar *window_target(struct virtio_device *device, uint32_t *offset,
                                           uint32_t *length) {
    uint8_t bar = window(device)->cap.bar;

    memcpy(offset, &window(device)->cap.offset, sizeof(*offset));
    memcpy(length, &window(device)->cap.length, sizeof(*length));
    return bar < PCI_BARS && (*length == 1 || *length == 2 || *length == 4) &&
                   *offset % *length == 0 && *offset < device->pci.bars[bar].size
               ? &device->pci.bars[bar]
               : NULL;
}

static bool touches_window(const struct virtio_device *device, unsigned offset, unsigned length) {
    unsigned data = device->window_capability + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);

    return offset < data + 4 && data < offset + length;
}

static void config_read(void *context, unsigned offset, unsigned length) {
    struct virtio_device *device = context;
    uint32_t at, width;
    const struct pci_bar *bar =
        touches_window(device, offset, length) ? window_target(device, &at, &width) : NULL;

    if (bar) {
        bar->ops->read(device, at, window(device)->pci_cfg_data, width);
    }
}

static void config_written(void *context, unsigned offset, unsigned length) {
    struct virtio_device *device = context;
    uint32_t at, width;
    const struct pci_bar *bar =
        touches_window(device, offset, length) ? window_target(device, &at, &width) : NULL;

    if (bar) {
        bar->ops->write(device, at, window(device)->pci_cfg_data, width);
    }
    if (offset < device->msix.capability + 4 && device->msix.capability < offset + length) {
        msix_config_written(&device->msix);
    }
}

static unsigned add_capability(struct virtio_device *device, uint8_t type, uint32_t offset,
                               uint32_t length, size_t size) {
    struct virtio_pci_notify_cap capability = {
        .cap = {.cap_len = (uint8_t)size,
                .cfg_type = type,
                .bar = type == VIRTIO_PCI_CAP_NOTIFY_CFG ? PCI_BAR_PORTS : PCI_BAR_MEMORY,
                .offset = offset,
                .length = length},
        .notify_off_multiplier = NOTIFY_MULTIPLIER};

    return pci_add_capability(&device->pci, PCI_CAP_ID_VNDR, &capability.cap.cap_len,
                              (unsigned)size - offsetof(struct virtio_pci_cap, cap_len));
}

static void add_capabilities(struct virtio_device *device) {
    static const struct {
        uint8_t type;
        uint32_t offset, length;
        size_t size;
    } regions[] = {
        {VIRTIO_PCI_CAP_COMMON_CFG, COMMON_OFFSET, sizeof(struct virtio_pci_common_cfg),
         sizeof(struct virtio_pci_cap)},
        {VIRTIO_PCI_CAP_ISR_CFG, ISR_OFFSET, 1, sizeof(struct virtio_pci_cap)},
        {VIRTIO_PCI_CAP_DEVICE_CFG, DEVICE_OFFSET, REGION_SIZE, sizeof(struct virtio_pci_cap)},
        {VIRTIO_PCI_CAP_NOTIFY_CFG, 0, NOTIFY_SIZE, sizeof(struct virtio_pci_notify_cap)},
    };

    for (size_t i = 0; i < sizeof(regions) / sizeof(regions[0]); i++) {
        add_capability(device, regions[i].type, regions[i].offset, regions[i].length,
                       regions[i].size);
    }
    device->window_capability =
        add_capability(device, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, sizeof(struct virtio_pci_cfg_cap));
    // The driver writes where to look, how wide, and the data.
    memset(device->pci.writable + device->window_capability + offsetof(struct virtio_pci_cap, bar),
           0xff, 1);
    memset(device->pci.writable + device->window_capability +
               offsetof(struct virtio_pci_cap, offset),
           0xff, 12);
}

void virtio_attach(struct virtio_device *device) {
    const struct virtio_class *class = device->class;
    struct pci_device *pci = &device->pci;

    device->features |= FEATURE(VIRTIO_F_VERSION_1);
    pci_device_init(pci, VENDOR_VIRTIO, (uint16_t)(FIRST_DEVICE_ID + class->id), class->pci_class,
                    REVISION_MODERN);
    pci_config_set16(pci, PCI_SUBSYSTEM_VENDOR_ID, VENDOR_VIRTIO);
    pci_config_set16(pci, PCI_SUBSYSTEM_ID, class->id);
    pci->bars[PCI_BAR_MEMORY] = (struct pci_bar){.size = BAR_SIZE, .ops = &bar_ops};
    pci->bars[PCI_BAR_PORTS] = (struct pci_bar){.size = NOTIFY_SIZE, .ops = &notify_ops};
    pci->bar_moved = bar_moved;
    pci->config_read = config_read;
    pci->config_written = config_written;
    pci->device = device;
    for (unsigned i = 0; i < device->queue_count; i++) {
        device->queues[i].kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (device->queues[i].kick_fd < 0) {
            fatal_errno("eventfd");
        }
    }
    add_capabilities(device);
    msix_create(&device->msix, pci, &device->vm->irq_routes, device->queue_count + 1,
                MSIX_TABLE_OFFSET, MSIX_PENDING);
    reset(device);
    device->slot = pci_attach(&device->vm->pci, pci);
}

void virtio_detach(struct virtio_device *device) {
    reset(device);
    connect_kicks(device, 0);
    msix_destroy(&device->msix);
    for (unsigned i = 0; i < device->queue_count; i++) {
        close(device->queues[i].kick_fd);
    }
}
