// SPDX-License-Identifier: BSD-2-Clause
// What ppoll, pselect6 and epoll_pwait have in common: the signal mask given by address.
#pragma once
#include <stdint.h>

// Sets the mask (address 0: none) until the return to user mode. 0, -EFAULT, -EINVAL.
int poll_signal_mask(uint64_t mask_address, uint64_t size);
