// SPDX-License-Identifier: BSD-2-Clause
// What ppoll, pselect6 and epoll_pwait have in common: the timeout and the signal mask given by
// address.
#pragma once
#include <stdint.h>

// Deadline on the time_now() scale of a struct timespec; 0: do not wait; TIME_NEVER where the
// address is 0. 0, -EFAULT, -EINVAL.
int poll_deadline(uint64_t timeout_address, uint64_t *deadline);
// Sets the mask (address 0: none) until the return to user mode. 0, -EFAULT, -EINVAL.
int poll_signal_mask(uint64_t mask_address, uint64_t size);
