// SPDX-License-Identifier: BSD-2-Clause
// Intel's 8254x and 82574 gigabit controllers.
#pragma once

#include "drivers/net/nic.h"

// Resets and starts the controller. NULL where it cannot be used; the device is still open then.
struct nic *e1000_open(struct pci_device *pci);
