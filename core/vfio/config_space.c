// SPDX-License-Identifier: BSD-2-Clause
// Which bits of configuration space are whose (PCI 3.0, 6.2; PCI Express 5.0, 7.5-7.8).
#include "core/vfio/config_space.h"
#include <linux/pci_regs.h>
#ifdef __STDC_HOSTED__
#if __STDC_HOSTED__
#include <string.h>
#else
#include "core/string.h"
#endif
#endif

static void put(uint8_t *bytes, unsigned offset, unsigned size, uint32_t value) {
    for (unsigned i = 0; i < size; i++)
        bytes[offset + i] = (uint8_t)(value >> 8 * i);
}

static uint32_t get(const uint8_t *bytes, unsigned offset, unsigned size) {
    uint32_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint32_t)bytes[offset + i] << 8 * i;
    return value;
}

// shown: bits that come from the shadow; writable: bits that a write changes, there or in hardware.
static void rule(struct config_space *space, unsigned offset, unsigned size, uint32_t shown,
                 uint32_t writable) {
    if (offset + size > sizeof space->shown)
        return;
    put(space->shown, offset, size, shown);
    put(space->writable, offset, size, writable);
}

static void shadow_all(struct config_space *space, unsigned offset, unsigned size,
                       uint8_t writable) {
    for (unsigned i = offset; i < offset + size && i < sizeof space->shown; i++)
        rule(space, i, 1, 0xff, writable);
}

static void message_rules(struct config_space *space, unsigned at) {
    unsigned flags = get(space->shadow, at + PCI_MSI_FLAGS, 2);
    unsigned size = flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32;
    size = flags & PCI_MSI_FLAGS_MASKBIT ? size + 8 : size - 2;
    shadow_all(space, at + PCI_MSI_FLAGS, size - PCI_MSI_FLAGS, 0xff);
    rule(space, at + PCI_MSI_FLAGS, 2, 0xffff, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
    put(space->shadow, at + PCI_MSI_FLAGS, 2, flags & ~(unsigned)PCI_MSI_FLAGS_ENABLE);
}

static void express_rules(struct config_space *space, unsigned at) {
    // What concerns the link to the bridge above stays as firmware made it; a reset is ours to do.
    rule(space, at + PCI_EXP_DEVCTL, 2,
         PCI_EXP_DEVCTL_BCR_FLR | PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_READRQ,
         0xffff & ~(uint32_t)PCI_EXP_DEVCTL_PHANTOM);
}

static void capability_rules(struct config_space *space, unsigned at) {
    const struct pci_device *pci = space->pci;
    switch (pci_read(pci->function, at, 1)) {
    case PCI_CAP_ID_PM:
        rule(space, at + PCI_PM_CTRL, 2, 0, PCI_PM_CTRL_STATE_MASK);
        break;
    case PCI_CAP_ID_VNDR: // the vendor's to say; virtio has its window here
        for (unsigned i = 3; i < pci_read(pci->function, at + 2, 1); i++)
            rule(space, at + i, 1, 0, 0xff);
        break;
    case PCI_CAP_ID_MSI:
        message_rules(space, at);
        break;
    case PCI_CAP_ID_EXP:
        express_rules(space, at);
        break;
    case PCI_CAP_ID_AF:
        rule(space, at + PCI_AF_CTRL, 1, PCI_AF_CTRL_FLR, PCI_AF_CTRL_FLR);
        break;
    }
}

void config_space_init(struct config_space *space, const struct pci_device *pci, bool line) {
    *space = (struct config_space){.pci = pci};
    for (unsigned i = 0; i < sizeof space->shadow; i += 4)
        put(space->shadow, i, 4, pci_read(pci->function, i, 4));
    rule(space, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE, 0xffff);
    rule(space, PCI_CACHE_LINE_SIZE, 2, 0, 0xffff); // and the latency timer
    shadow_all(space, PCI_BASE_ADDRESS_0, 4 * PCI_BARS, 0xff);
    shadow_all(space, PCI_ROM_ADDRESS, 4, 0);
    rule(space, PCI_INTERRUPT_LINE, 2, 0xffff, 0xff);
    put(space->shadow, PCI_ROM_ADDRESS, 4, 0);
    put(space->shadow, PCI_COMMAND, 2, 0); // only INTx's bit is shown from here
    if (!line)
        put(space->shadow, PCI_INTERRUPT_PIN, 1, 0);
    if (!(get(space->shadow, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST))
        return;
    unsigned at = space->shadow[PCI_CAPABILITY_LIST] & ~3u;
    for (unsigned left = 48; at >= 64 && left; left--) {
        capability_rules(space, at);
        at = pci_read(pci->function, at + 1, 1) & ~3u;
    }
}

uint32_t config_space_read(const struct config_space *space, unsigned offset, unsigned size) {
    if (offset >= sizeof space->shown)
        return pci_read(space->pci->function, offset, size);
    uint32_t shown = get(space->shown, offset, size);
    return (pci_read(space->pci->function, offset, size) & ~shown) |
           (get(space->shadow, offset, size) & shown);
}

// An address register keeps what hardware would: zeroes below its size, its kind in the low bits.
static void settle_bar(struct config_space *space, unsigned number) {
    const struct pci_bar *bar = &space->pci->bar[number];
    unsigned offset = PCI_BASE_ADDRESS_0 + 4 * number;
    uint64_t mask = bar->size ? ~(bar->size - 1) : 0;
    uint32_t kind = bar->size ? bar->kind : 0;
    if (!bar->size && number && (bar[-1].kind & PCI_BASE_ADDRESS_MEM_TYPE_64)) {
        mask = bar[-1].size ? ~(bar[-1].size - 1) >> 32 : 0; // the upper half of the one before
        kind = 0;
    }
    put(space->shadow, offset, 4, (get(space->shadow, offset, 4) & (uint32_t)mask) | kind);
}

// Bytes that are not to be written are not: some lose their bits when ones come back.
static void write_hardware(const struct config_space *space, unsigned offset, unsigned size,
                           uint32_t value) {
    uint32_t mask = get(space->writable, offset, size) & ~get(space->shown, offset, size);
    uint32_t all = size == 4 ? UINT32_MAX : (1u << 8 * size) - 1, half = (1u << 4 * size) - 1;
    if (!mask)
        return;
    if (size > 1 && (!(mask & half) || !(mask & ~half))) {
        write_hardware(space, offset, size / 2, value & half);
        write_hardware(space, offset + size / 2, size / 2, value >> 4 * size);
        return;
    }
    if (mask != all)
        value = (value & mask) | (pci_read(space->pci->function, offset, size) & ~mask);
    pci_write(space->pci->function, offset, size, value);
}

// The bit that starts a reset is never kept.
static unsigned take_reset(struct config_space *space, unsigned at, uint8_t bit) {
    bool asked = space->shadow[at] & bit;
    space->shadow[at] &= (uint8_t)~bit;
    return asked ? CONFIG_WANTS_RESET : 0;
}

unsigned config_space_write(struct config_space *space, unsigned offset, unsigned size,
                            uint32_t value) {
    const struct pci_device *pci = space->pci;
    if (offset >= sizeof space->shown)
        return 0;
    uint32_t kept = get(space->shown, offset, size) & get(space->writable, offset, size);
    put(space->shadow, offset, size, (get(space->shadow, offset, size) & ~kept) | (value & kept));
    write_hardware(space, offset, size, value);
    if (offset >= PCI_BASE_ADDRESS_0 && offset < PCI_BASE_ADDRESS_0 + 4 * PCI_BARS)
        settle_bar(space, (offset - PCI_BASE_ADDRESS_0) / 4);
    unsigned result = 0;
    if (pci->express)
        result |=
            take_reset(space, pci->express + PCI_EXP_DEVCTL + 1u, PCI_EXP_DEVCTL_BCR_FLR >> 8);
    if (pci->advanced)
        result |= take_reset(space, pci->advanced + (unsigned)PCI_AF_CTRL, PCI_AF_CTRL_FLR);
    return result;
}

bool config_space_line_off(const struct config_space *space) {
    return get(space->shadow, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE;
}
