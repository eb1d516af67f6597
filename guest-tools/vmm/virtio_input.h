// SPDX-License-Identifier: BSD-2-Clause
// A keyboard on which others type: virtio 1.2, 5.8.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct vm;
struct virtio_device;
struct virtio_input;

#define KEYS_MAX 16  // pressed together
#define KEYS_END 256 // codes begin at 1

// Adds the keyboard, vm->devices.keyboard.
struct virtio_device *virtio_input_create(struct vm *vm);

// Presses the keys (linux/input-event-codes.h) one after the other, after what was typed before,
// and lets them go `hold` ms later. False: the guest has no driver for it, or takes nothing.
bool virtio_input_type(struct virtio_input *keyboard, const uint16_t *keys, unsigned count,
                       uint32_t hold);
