// SPDX-License-Identifier: BSD-2-Clause
// Accesses of 1, 2 or 4 bytes, each whole, to a device's ports and memory.
#pragma once
#include "arch/x86/cpu/instruction.h"

static inline uint32_t port_in(uint16_t port, unsigned size) {
    return size == 1 ? in8(port) : size == 2 ? in16(port) : in32(port);
}

static inline void port_out(uint16_t port, unsigned size, uint32_t value) {
    if (size == 1)
        out8(port, (uint8_t)value);
    else if (size == 2)
        out16(port, (uint16_t)value);
    else
        out32(port, value);
}

static inline uint32_t mmio_read(const volatile void *at, unsigned size) {
    return size == 1   ? *(const volatile uint8_t *)at
           : size == 2 ? *(const volatile uint16_t *)at
                       : *(const volatile uint32_t *)at;
}

static inline void mmio_write(volatile void *at, unsigned size, uint32_t value) {
    if (size == 1)
        *(volatile uint8_t *)at = (uint8_t)value;
    else if (size == 2)
        *(volatile uint16_t *)at = (uint16_t)value;
    else
        *(volatile uint32_t *)at = value;
}
