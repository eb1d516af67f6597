// SPDX-License-Identifier: BSD-2-Clause
// PCI Local Bus 3.0: configuration mechanism #1 (3.2.2.3.2) and headers (6.1); PCI Express base
// specification 7.2.2: ECAM.
#include "pci.h"

#include <string.h>

#include "error.h"
#include "guest_layout.h"

#define CONFIG_ENABLE  (1u << 31)
#define HOST_BRIDGE_ID 0x0008
#define VENDOR_RED_HAT 0x1b36
#define CLASS_HOST     0x060000

static uint32_t config_read32(const struct pci_device *device, unsigned offset) {
    uint32_t value;

    memcpy(&value, device->config + offset, sizeof(value));
    return value;
}

uint16_t pci_config_read16(const struct pci_device *device, unsigned offset) {
    uint16_t value;

    memcpy(&value, device->config + offset, sizeof(value));
    return value;
}

void pci_config_set16(struct pci_device *device, unsigned offset, uint16_t value) {
    memcpy(device->config + offset, &value, sizeof(value));
}

void pci_config_set32(struct pci_device *device, unsigned offset, uint32_t value) {
    memcpy(device->config + offset, &value, sizeof(value));
}

void pci_device_init(struct pci_device *device, uint16_t vendor, uint16_t id, uint32_t class,
                     uint8_t revision) {
    const uint16_t command =
        PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE;

    pci_config_set16(device, PCI_VENDOR_ID, vendor);
    pci_config_set16(device, PCI_DEVICE_ID, id);
    pci_config_set32(device, PCI_CLASS_REVISION, class << 8 | revision);
    memcpy(device->writable + PCI_COMMAND, &command, sizeof(command));
    device->writable[PCI_INTERRUPT_LINE] = 0xff;
    device->writable[PCI_CACHE_LINE_SIZE] = 0xff;
    device->writable[PCI_LATENCY_TIMER] = 0xff;
    device->capabilities_end = PCI_STD_HEADER_SIZEOF;
    device->last_capability = PCI_CAPABILITY_LIST;
}

unsigned pci_add_capability(struct pci_device *device, uint8_t id, const void *body,
                            unsigned length) {
    unsigned offset = device->capabilities_end;

    if (offset + 2 + length > PCI_CONFIG_SIZE) {
        fatal("the capabilities of a PCI device do not fit");
    }
    device->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    // The list's head is the pointer itself, every other link a capability's second byte.
    device->config[device->last_capability] = (uint8_t)offset;
    device->last_capability = offset + PCI_CAP_LIST_NEXT;
    device->config[offset] = id;
    memcpy(device->config + offset + 2, body, length);
    device->capabilities_end = (offset + 2 + length + 3) & ~3u;
    return offset;
}

static const struct bar_space {
    uint32_t start, end; // of the window
    uint16_t decoding;   // bit of the command register
    uint32_t flags, address_mask;
} spaces[PCI_BARS] = {
    [PCI_BAR_MEMORY] = {PCI_WINDOW_START, PCI_WINDOW_END, PCI_COMMAND_MEMORY, 0,
                        (uint32_t)PCI_BASE_ADDRESS_MEM_MASK},
    [PCI_BAR_PORTS] = {PCI_PORTS_START, PCI_PORTS_END, PCI_COMMAND_IO, PCI_BASE_ADDRESS_SPACE_IO,
                       (uint32_t)PCI_BASE_ADDRESS_IO_MASK},
};

static unsigned bar_register(unsigned bar) {
    return PCI_BASE_ADDRESS_0 + 4 * bar;
}

// Each slot has its share of the window.
static void place_bar(struct pci_device *device, unsigned slot, unsigned bar) {
    const struct bar_space *space = &spaces[bar];
    uint32_t share = (space->end - space->start) / PCI_DEVICES_MAX;
    uint32_t size = device->bars[bar].size, mask = ~(size - 1);

    if (size > share) {
        fatal("the registers of a PCI device do not fit into their window");
    }
    pci_config_set32(device, bar_register(bar), (space->start + slot * share) | space->flags);
    memcpy(device->writable + bar_register(bar), &mask, sizeof(mask));
}

unsigned pci_attach(struct pci *pci, struct pci_device *device) {
    unsigned slot = 0;

    pthread_mutex_lock(&pci->lock);
    while (slot < PCI_DEVICES_MAX && pci->devices[slot]) {
        slot++;
    }
    if (slot == PCI_DEVICES_MAX) {
        fatal("more than %d PCI devices", PCI_DEVICES_MAX);
    }
    for (unsigned bar = 0; bar < PCI_BARS; bar++) {
        if (device->bars[bar].size) {
            place_bar(device, slot, bar);
        }
    }
    pci->devices[slot] = device;
    pthread_mutex_unlock(&pci->lock);
    return slot;
}

static void update_bar(struct pci_device *device, unsigned bar) {
    const struct bar_space *space = &spaces[bar];
    struct pci_bar *state = &device->bars[bar];
    bool decoding = pci_config_read16(device, PCI_COMMAND) & space->decoding;
    uint64_t address = config_read32(device, bar_register(bar)) & space->address_mask;

    // Where sizing has left it, or outside the window, it answers nothing.
    if (!decoding || address < space->start || address > space->end - state->size) {
        address = 0;
    }
    if (state->size && address != state->address) {
        state->address = address;
        device->bar_moved(device->device, bar);
    }
}

void pci_detach(struct pci *pci, unsigned slot) {
    struct pci_device *device;

    pthread_mutex_lock(&pci->lock);
    device = pci->devices[slot];
    if (device) {
        pci_config_set16(device, PCI_COMMAND, 0);
        for (unsigned bar = 0; bar < PCI_BARS; bar++) {
            update_bar(device, bar);
        }
        pci->devices[slot] = NULL;
    }
    pthread_mutex_unlock(&pci->lock);
}

static struct pci_device *find_device(const struct pci *pci, unsigned bus, unsigned function) {
    unsigned slot = function >> 3;

    return bus == 0 && (function & 7) == 0 && slot < PCI_DEVICES_MAX ? pci->devices[slot] : NULL;
}

static void config_read(struct pci *pci, unsigned bus, unsigned function, unsigned offset,
                        void *data, unsigned length) {
    struct pci_device *device = find_device(pci, bus, function);

    memset(data, 0xff, length);
    if (!device || offset + length > PCI_CONFIG_SIZE) {
        return;
    }
    if (device->config_read) {
        device->config_read(device->device, offset, length);
    }
    memcpy(data, device->config + offset, length);
}

static void config_write(struct pci *pci, unsigned bus, unsigned function, unsigned offset,
                         const uint8_t *data, unsigned length) {
    struct pci_device *device = find_device(pci, bus, function);

    if (!device || offset + length > PCI_CONFIG_SIZE) {
        return;
    }
    for (unsigned i = 0; i < length; i++) {
        uint8_t mask = device->writable[offset + i];
        uint8_t *byte = &device->config[offset + i];
        *byte = (uint8_t)((*byte & ~mask) | (data[i] & mask));
    }
    for (unsigned bar = 0; bar < PCI_BARS; bar++) {
        update_bar(device, bar);
    }
    if (device->config_written) {
        device->config_written(device->device, offset, length);
    }
}

static void address_read(void *context, uint64_t offset, void *data, unsigned length) {
    struct pci *pci = context;

    memset(data, 0xff, length);
    if (offset == 0 && length == 4) {
        memcpy(data, &pci->config_address, 4);
    }
}

static void address_write(void *context, uint64_t offset, const void *data, unsigned length) {
    struct pci *pci = context;

    if (offset == 0 && length == 4) { // other sizes are plain I/O (3.2.2.3.2)
        memcpy(&pci->config_address, data, 4);
    }
}

static const struct bus_device_ops address_ops = {.read = address_read, .write = address_write};

static void data_read(void *context, uint64_t offset, void *data, unsigned length) {
    struct pci *pci = context;
    uint32_t address = pci->config_address;

    memset(data, 0xff, length);
    if (address & CONFIG_ENABLE) {
        pthread_mutex_lock(&pci->lock);
        config_read(pci, address >> 16 & 0xff, address >> 8 & 0xff,
                    (address & 0xfc) + (unsigned)offset, data, length);
        pthread_mutex_unlock(&pci->lock);
    }
}

static void data_write(void *context, uint64_t offset, const void *data, unsigned length) {
    struct pci *pci = context;
    uint32_t address = pci->config_address;

    if (address & CONFIG_ENABLE) {
        pthread_mutex_lock(&pci->lock);
        config_write(pci, address >> 16 & 0xff, address >> 8 & 0xff,
                     (address & 0xfc) + (unsigned)offset, data, length);
        pthread_mutex_unlock(&pci->lock);
    }
}

static const struct bus_device_ops data_ops = {.read = data_read, .write = data_write};

static void ecam_read(void *context, uint64_t offset, void *data, unsigned length) {
    struct pci *pci = context;

    pthread_mutex_lock(&pci->lock);
    config_read(pci, 0, (unsigned)(offset >> 12), offset & 0xfff, data, length);
    pthread_mutex_unlock(&pci->lock);
}

static void ecam_write(void *context, uint64_t offset, const void *data, unsigned length) {
    struct pci *pci = context;

    pthread_mutex_lock(&pci->lock);
    config_write(pci, 0, (unsigned)(offset >> 12), offset & 0xfff, data, length);
    pthread_mutex_unlock(&pci->lock);
}

static const struct bus_device_ops ecam_ops = {.read = ecam_read, .write = ecam_write};

static struct pci_device *find_bar(const struct pci *pci, unsigned bar, uint64_t address,
                                   unsigned length) {
    for (unsigned i = 0; i < PCI_DEVICES_MAX; i++) {
        struct pci_device *device = pci->devices[i];
        const struct pci_bar *state = device ? &device->bars[bar] : NULL;

        if (state && state->address && address - state->address < state->size &&
            length <= state->size - (address - state->address)) {
            return device;
        }
    }
    return NULL;
}

static void window_read(void *context, uint64_t offset, void *data, unsigned length) {
    const struct pci_window *window = context;
    struct pci *pci = window->pci;
    unsigned bar = (unsigned)(window - pci->windows);
    uint64_t address = spaces[bar].start + offset;

    memset(data, 0xff, length);
    pthread_mutex_lock(&pci->lock);
    struct pci_device *device = find_bar(pci, bar, address, length);
    if (device) {
        const struct pci_bar *found = &device->bars[bar];
        found->ops->read(device->device, address - found->address, data, length);
    }
    pthread_mutex_unlock(&pci->lock);
}

static void window_write(void *context, uint64_t offset, const void *data, unsigned length) {
    const struct pci_window *window = context;
    struct pci *pci = window->pci;
    unsigned bar = (unsigned)(window - pci->windows);
    uint64_t address = spaces[bar].start + offset;

    pthread_mutex_lock(&pci->lock);
    struct pci_device *device = find_bar(pci, bar, address, length);
    if (device) {
        const struct pci_bar *found = &device->bars[bar];
        found->ops->write(device->device, address - found->address, data, length);
    }
    pthread_mutex_unlock(&pci->lock);
}

static const struct bus_device_ops window_ops = {.read = window_read, .write = window_write};

void pci_create(struct pci *pci, struct bus *ports, struct bus *mmio) {
    struct bus *const buses[PCI_BARS] = {[PCI_BAR_MEMORY] = mmio, [PCI_BAR_PORTS] = ports};

    *pci = (struct pci){.lock = PTHREAD_MUTEX_INITIALIZER};
    pci_device_init(&pci->host_bridge, VENDOR_RED_HAT, HOST_BRIDGE_ID, CLASS_HOST, 0);
    bus_attach(ports, PCI_CONFIG_ADDRESS_PORT, 4, &address_ops, pci);
    bus_attach(ports, PCI_CONFIG_DATA_PORT, 4, &data_ops, pci);
    bus_attach(mmio, PCI_ECAM_START, PCI_ECAM_SIZE, &ecam_ops, pci);
    for (unsigned bar = 0; bar < PCI_BARS; bar++) {
        const struct bar_space *space = &spaces[bar];

        pci->windows[bar] = (struct pci_window){.pci = pci};
        bus_attach(buses[bar], space->start, space->end - space->start, &window_ops,
                   &pci->windows[bar]);
    }
    pci_attach(pci, &pci->host_bridge);
}
