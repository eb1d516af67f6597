// SPDX-License-Identifier: BSD-2-Clause
// A network interface of the machine, joined to a switch. Its driver copies frames into memory of
// its own and out of it: the device reaches no other. All of it runs on one thread. The interface's
// own address is nobody's: those behind the switch have theirs.
#pragma once

#include "drivers/net/switch.h"
#include "drivers/pci/pci_device.h"

#define NIC_BUFFER_SIZE 2048u // of what is on its way to or from the device; two fill a page
#define NIC_FRAME_MAX   1518u // an ordinary one, with one VLAN tag, without the check sequence

struct nic {
    struct pci_device *pci;
    uint32_t frame_max; // bytes of a frame that it can send
    // The frame received next; NULL: none, or no memory for it.
    struct net_frame *(*receive)(struct nic *nic);
    // Copies a frame of at most frame_max bytes to the device; false where it has no room
    // before its next interrupt. kick makes it send what was copied.
    bool (*transmit)(struct nic *nic, const struct net_frame *frame);
    void (*kick)(struct nic *nic);
    // Around the service of an interrupt: its cause is taken back, and the next one allowed. NULL:
    // nothing to do.
    void (*acknowledge)(struct nic *nic);
    void (*arm)(struct nic *nic);
};

// Buffers of NIC_BUFFER_SIZE bytes that the device reaches; addresses has room for `count`. NULL
// where there is no memory.
uint8_t *nic_buffers(struct pci_device *pci, unsigned count, uint64_t *addresses);

// Takes the interface at a PCI address (NULL: the first that can be driven) over and joins it to a
// switch, with a thread of its own. Returns its address, or NULL after a message on standard error:
// the others of the switch do without.
const char *nic_start(const char *address, struct net_switch *bridge,
                      struct net_counters *counters);
