// SPDX-License-Identifier: BSD-2-Clause
// Registers lie where capabilities in configuration space say; each is mapped for itself.
#include "drivers/virtio_pci/virtio_pci.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define BIT(number)      (1ull << (number))
#define RESET_TIMEOUT_MS 1000

struct location {
    unsigned capability, bar;
    uint64_t offset;
    size_t size;
};

static uint32_t config_read(const struct virtio_pci *virtio, unsigned at, unsigned size) {
    return pci_read(virtio->pci, VFIO_PCI_CONFIG_REGION_INDEX, at, size);
}

// 4.1.4: the first structure of a type that lies in a BAR is the one to use.
static bool find(const struct virtio_pci *virtio, uint8_t type, struct location *location) {
    unsigned at = 0;

    while ((at = pci_find_capability(virtio->pci, PCI_CAP_ID_VNDR, at))) {
        *location = (struct location){
            .capability = at,
            .bar = config_read(virtio, at + VIRTIO_PCI_CAP_BAR, 1),
            .offset = config_read(virtio, at + VIRTIO_PCI_CAP_OFFSET, 4),
            .size = config_read(virtio, at + VIRTIO_PCI_CAP_LENGTH, 4),
        };
        if (config_read(virtio, at + VIRTIO_PCI_CAP_CFG_TYPE, 1) == type &&
            location->bar <= VFIO_PCI_BAR5_REGION_INDEX)
            return true;
    }
    return false;
}

static volatile void *map(const struct virtio_pci *virtio, uint8_t type, size_t least,
                          size_t *size) {
    struct location location;

    if (!find(virtio, type, &location) || location.size < least)
        return NULL;
    if (location.size > DMA_PAGE)
        location.size = DMA_PAGE;
    if (size)
        *size = location.size;
    return pci_map(virtio->pci, location.bar, location.offset, location.size);
}

int virtio_pci_open(struct virtio_pci *virtio, struct pci_device *pci) {
    struct location notify;

    *virtio = (struct virtio_pci){.pci = pci};
    virtio->common = map(virtio, VIRTIO_PCI_CAP_COMMON_CFG, sizeof(*virtio->common), NULL);
    virtio->isr = map(virtio, VIRTIO_PCI_CAP_ISR_CFG, 1, NULL);
    virtio->config = map(virtio, VIRTIO_PCI_CAP_DEVICE_CFG, 1, &virtio->config_size);
    if (!virtio->common || !virtio->isr || !find(virtio, VIRTIO_PCI_CAP_NOTIFY_CFG, &notify))
        return -ENODEV;
    virtio->notify_bar = notify.bar;
    virtio->notify_offset = notify.offset;
    virtio->notify_size = notify.size;
    virtio->notify_multiplier =
        config_read(virtio, notify.capability + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
    return 0;
}

static int reset(struct virtio_pci *virtio) {
    const struct timespec millisecond = {.tv_nsec = 1000000};

    virtio->common->device_status = 0;
    for (unsigned i = 0; virtio->common->device_status; i++) {
        if (i == RESET_TIMEOUT_MS)
            return -ETIMEDOUT;
        nanosleep(&millisecond, NULL);
    }
    return 0;
}

int virtio_pci_negotiate(struct virtio_pci *virtio, uint64_t wanted) {
    volatile struct virtio_pci_common_cfg *common = virtio->common;
    int error = reset(virtio);

    if (error)
        return error;
    common->device_status = VIRTIO_CONFIG_S_ACKNOWLEDGE;
    common->device_status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    common->device_feature_select = 0;
    uint64_t offered = common->device_feature;
    common->device_feature_select = 1;
    offered |= (uint64_t)common->device_feature << 32;
    if (!(offered & BIT(VIRTIO_F_VERSION_1)))
        return -ENODEV;
    // Without it the device reaches physical memory, not what the IOMMU maps for it.
    if (virtio->pci->dma->pagemap < 0 && !(offered & BIT(VIRTIO_F_ACCESS_PLATFORM))) {
        fprintf(stderr, "drivers: %s: the device goes around the IOMMU\n",
                virtio->pci->identity.address);
        return -ENODEV;
    }
    virtio->features = offered & (wanted | BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_ACCESS_PLATFORM));
    common->guest_feature_select = 0;
    common->guest_feature = (uint32_t)virtio->features;
    common->guest_feature_select = 1;
    common->guest_feature = (uint32_t)(virtio->features >> 32);
    common->device_status =
        VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK;
    return common->device_status & VIRTIO_CONFIG_S_FEATURES_OK ? 0 : -ENODEV;
}

static uint64_t address_of(const struct virtio_pci *virtio, const volatile void *memory) {
    size_t size = 1;

    return dma_address(virtio->pci->dma, (const void *)memory, &size);
}

// The parts of a ring and each indirect table lie within one page.
static int allocate(struct virtio_pci *virtio, struct virtio_ring *ring, unsigned pieces) {
    struct dma_space *dma = virtio->pci->dma;

    ring->descriptors = dma_allocate(dma, DMA_PAGE);
    ring->available = dma_allocate(dma, DMA_PAGE);
    ring->used = dma_allocate(dma, DMA_PAGE);
    if (!ring->descriptors || !ring->available || !ring->used)
        return -ENOMEM;
    for (ring->stride = 1; ring->stride < pieces;)
        ring->stride *= 2;
    if (!(virtio->features & BIT(VIRTIO_RING_F_INDIRECT_DESC)) || pieces == 1)
        return 0;
    ring->indirect =
        dma_allocate(dma, (size_t)ring->slots * ring->stride * sizeof(*ring->indirect));
    if (!ring->indirect)
        return -ENOMEM;
    for (unsigned i = 0; i < ring->slots; i++)
        ring->indirect_addresses[i] = address_of(virtio, ring->indirect + (size_t)i * ring->stride);
    return 0;
}

static volatile uint16_t *map_notify(const struct virtio_pci *virtio, uint16_t offset) {
    uint64_t at = (uint64_t)offset * virtio->notify_multiplier;

    if (at + sizeof(uint16_t) > virtio->notify_size)
        return NULL;
    return pci_map(virtio->pci, virtio->notify_bar, virtio->notify_offset + at, sizeof(uint16_t));
}

static void set_address(volatile __le32 *low, volatile __le32 *high, uint64_t address) {
    *low = (uint32_t)address;
    *high = (uint32_t)(address >> 32);
}

int virtio_pci_add_ring(struct virtio_pci *virtio, struct virtio_ring *ring, unsigned queue,
                        unsigned slots, unsigned pieces, int vector) {
    volatile struct virtio_pci_common_cfg *common = virtio->common;
    uint16_t vector_number =
        vector < 0 || virtio->pci->intx ? VIRTIO_MSI_NO_VECTOR : (uint16_t)vector;

    if (pieces > DMA_PAGE / sizeof(struct vring_desc))
        return -EINVAL;
    common->queue_select = (uint16_t)queue;
    uint16_t size = common->queue_size;
    if (!size)
        return -ENODEV;
    if (size > VIRTIO_RING_SIZE_MAX)
        size = VIRTIO_RING_SIZE_MAX;
    if (!ring->descriptors) {
        ring->slots = (uint16_t)(slots < size ? slots : size);
        int error = allocate(virtio, ring, pieces);

        if (error)
            return error;
        ring->notify = map_notify(virtio, common->queue_notify_off);
        if (!ring->notify)
            return -ENODEV;
    }
    if (!ring->indirect && ring->slots > size / ring->stride)
        ring->slots = size / ring->stride;
    if (size & (size - 1) || !ring->slots || size < ring->slots)
        return -ENODEV;
    memset(ring->descriptors, 0, DMA_PAGE);
    memset((void *)ring->available, 0, DMA_PAGE);
    memset((void *)ring->used, 0, DMA_PAGE);
    memset(ring->busy, 0, sizeof(ring->busy));
    ring->size = size;
    ring->index = (uint16_t)queue;
    ring->next_available = ring->next_used = 0;
    common->queue_size = size;
    set_address(&common->queue_desc_lo, &common->queue_desc_hi,
                address_of(virtio, ring->descriptors));
    set_address(&common->queue_avail_lo, &common->queue_avail_hi,
                address_of(virtio, ring->available));
    set_address(&common->queue_used_lo, &common->queue_used_hi, address_of(virtio, ring->used));
    common->queue_msix_vector = vector_number;
    if (common->queue_msix_vector != vector_number)
        return -EBUSY;
    common->queue_enable = 1;
    return 0;
}

void virtio_pci_start(struct virtio_pci *virtio) {
    virtio->common->device_status |= VIRTIO_CONFIG_S_DRIVER_OK;
}

bool virtio_pci_read_config(const struct virtio_pci *virtio, size_t offset, void *data,
                            size_t size) {
    if (!virtio->config || offset > virtio->config_size || size > virtio->config_size - offset)
        return false;
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)data)[i] = virtio->config[offset + i];
    return true;
}
