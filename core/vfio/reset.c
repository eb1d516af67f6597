// SPDX-License-Identifier: BSD-2-Clause
// Resets of a single function: by PCI Express, advanced features, power states, or through the
// bridge above where nothing else is behind it.
#include <asm/errno.h>
#include <linux/pci_regs.h>
#include "core/mm/heap.h"
#include "core/sched/thread.h"
#include "core/vfio/device.h"

#define MILLISECOND 1000000ull
enum { BUS_FUNCTIONS = 256 };
enum { SETTLE = 100, POWER = 10, BRIDGE = 2, PATIENCE = 1000 }; // ms

static void sleep(unsigned milliseconds) {
    uint64_t end = time_now() + milliseconds * MILLISECOND;
    while (time_now() < end) {
        wait_prepare();
        wait_uninterruptible(end);
        thread_preemption_point(); // the program may have been killed: nothing waits then
    }
}

static bool alone_on_bus(const struct pci_device *pci) {
    list_for_each(node, &pci_devices) {
        const struct pci_device *other = container_of(node, struct pci_device, node);
        if (other != pci && other->function >> 8 == pci->function >> 8)
            return false;
    }
    return true;
}

static void set_bits(const struct pci_device *pci, unsigned offset, uint16_t clear, uint16_t set) {
    uint32_t value = pci_read(pci->function, offset, 2);
    pci_write(pci->function, offset, 2, (value & ~(uint32_t)clear) | set);
}

static void express_reset(const struct pci_device *pci) {
    unsigned at = pci->express;
    for (unsigned i = 0; i < SETTLE; i++) {
        if (!(pci_read(pci->function, at + PCI_EXP_DEVSTA, 2) & PCI_EXP_DEVSTA_TRPND))
            break;
        sleep(1);
    }
    set_bits(pci, at + PCI_EXP_DEVCTL, 0, PCI_EXP_DEVCTL_BCR_FLR);
    sleep(SETTLE);
}

static void advanced_reset(const struct pci_device *pci) {
    pci_write(pci->function, pci->advanced + (unsigned)PCI_AF_CTRL, 1, PCI_AF_CTRL_FLR);
    sleep(SETTLE);
}

static void power_reset(const struct pci_device *pci) {
    unsigned at = pci->power + (unsigned)PCI_PM_CTRL;
    set_bits(pci, at, PCI_PM_CTRL_STATE_MASK, 3); // D3hot
    sleep(POWER);
    set_bits(pci, at, PCI_PM_CTRL_STATE_MASK, 0);
    sleep(POWER);
}

static void bridge_reset(const struct pci_device *bridge) {
    set_bits(bridge, PCI_BRIDGE_CONTROL, 0, PCI_BRIDGE_CTL_BUS_RESET);
    sleep(BRIDGE);
    set_bits(bridge, PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_BUS_RESET, 0);
    sleep(SETTLE);
}

static void above_reset(const struct pci_device *pci) {
    bridge_reset(pci->above);
}

// The mildest there is; NULL: none.
static void (*reset_of(const struct pci_device *pci))(const struct pci_device *pci) {
    const uint32_t both = PCI_AF_CAP_TP | PCI_AF_CAP_FLR;
    if (pci->express &&
        (pci_read(pci->function, pci->express + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR))
        return express_reset;
    if (pci->advanced &&
        (pci_read(pci->function, pci->advanced + (unsigned)PCI_AF_CAP, 1) & both) == both)
        return advanced_reset;
    if (pci->power && !(pci_read(pci->function, pci->power + (unsigned)PCI_PM_CTRL, 2) &
                        PCI_PM_CTRL_NO_SOFT_RESET))
        return power_reset;
    if (pci->above && alone_on_bus(pci))
        return above_reset;
    return NULL;
}

bool pci_can_reset(const struct pci_device *pci) {
    return reset_of(pci) != NULL;
}

void pci_settle(void) {
    sleep(SETTLE);
}

enum { HEADER = 16 }; // registers

struct state {
    uint32_t header[HEADER], control;
};

static void save(const struct pci_device *pci, struct state *state) {
    for (unsigned i = 0; i < HEADER; i++)
        state->header[i] = pci_read(pci->function, 4 * i, 4);
    if (pci->express)
        state->control = pci_read(pci->function, pci->express + PCI_EXP_DEVCTL, 2);
    pci_write(pci->function, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
}

static int restore(const struct pci_device *pci, const struct state *state) {
    for (unsigned i = 0; pci_read(pci->function, PCI_VENDOR_ID, 2) != pci->vendor; i++) {
        if (i == PATIENCE)
            return -EIO;
        sleep(1);
    }
    if (pci->express)
        pci_write(pci->function, pci->express + PCI_EXP_DEVCTL, 2, state->control);
    for (unsigned i = HEADER; i-- > 2;)
        pci_write(pci->function, 4 * i, 4, state->header[i]);
    pci_write(pci->function, PCI_COMMAND, 2, state->header[1] & 0xffff);
    return 0;
}

int pci_reset(const struct pci_device *pci) {
    void (*reset)(const struct pci_device *pci) = reset_of(pci);
    struct state state;
    if (!reset)
        return -ENOTTY;
    save(pci, &state);
    reset(pci);
    return restore(pci, &state);
}

int pci_bus_reset(const struct pci_device *bridge) {
    struct state *states = heap_alloc(BUS_FUNCTIONS * sizeof *states);
    unsigned count = 0;
    int error = 0;
    if (!states)
        return -ENOMEM;
    list_for_each(node, &pci_devices) {
        const struct pci_device *pci = container_of(node, struct pci_device, node);
        if (pci->above == bridge && count < BUS_FUNCTIONS)
            save(pci, &states[count++]);
    }
    bridge_reset(bridge);
    count = 0;
    list_for_each(node, &pci_devices) {
        const struct pci_device *pci = container_of(node, struct pci_device, node);
        if (pci->above == bridge && count < BUS_FUNCTIONS && restore(pci, &states[count++]))
            error = -EIO;
    }
    heap_free(states);
    return error;
}
