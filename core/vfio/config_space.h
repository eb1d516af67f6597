// SPDX-License-Identifier: BSD-2-Clause
// The configuration space a program sees of its device: as vfio-pci of Linux, most of it is the
// hardware's to read, a few registers may be written, and what decides where the device answers
// and whom it interrupts is shown, not obeyed.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "arch/x86/pci/pci.h"

struct config_space {
    const struct pci_device *pci;
    uint8_t shadow[256];   // what is shown of the bits that are not the hardware's
    uint8_t shown[256];    // these bits
    uint8_t writable[256]; // what a program can change, of both
};

// Takes what firmware and reset have left; `line`: the device has a line for INTx.
void config_space_init(struct config_space *space, const struct pci_device *pci, bool line);
// size: 1, 2 or 4; offset: a multiple of it, below pci->reach.
uint32_t config_space_read(const struct config_space *space, unsigned offset, unsigned size);
enum { CONFIG_WANTS_RESET = 1 };
// Returns what the caller is to do.
unsigned config_space_write(struct config_space *space, unsigned offset, unsigned size,
                            uint32_t value);
// The program has turned INTx off in the command register.
bool config_space_line_off(const struct config_space *space);
