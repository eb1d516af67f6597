// SPDX-License-Identifier: BSD-2-Clause
// The driver's side of a virtio network device: virtio 1.2, 5.1.
#pragma once

#include "drivers/net/nic.h"

// Resets and starts the device. NULL where it cannot be used; it is still open then.
struct nic *virtio_net_open(struct pci_device *pci);
