// SPDX-License-Identifier: BSD-2-Clause
// One interrupt message as it travels between I/O APIC, MSI, ICR and the local APICs (SDM vol. 3
// 11.6.1 ICR, 11.11 MSI; the fields are the same in all three).
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum lapic_delivery_mode {
    LAPIC_DELIVER_FIXED = 0,
    LAPIC_DELIVER_LOWEST = 1,
    LAPIC_DELIVER_SMI = 2,
    LAPIC_DELIVER_NMI = 4,
    LAPIC_DELIVER_INIT = 5,
    LAPIC_DELIVER_STARTUP = 6,
    LAPIC_DELIVER_EXTINT = 7,
};

enum lapic_shorthand {
    LAPIC_TO_DESTINATION = 0,
    LAPIC_TO_SELF = 1,
    LAPIC_TO_ALL = 2,
    LAPIC_TO_OTHERS = 3,
};

struct lapic_message {
    uint32_t destination; // 8 bits from an xAPIC source, 32 from x2APIC; 0xff / 0xffffffff: all
    uint8_t vector;
    uint8_t delivery_mode; // enum lapic_delivery_mode
    uint8_t shorthand;     // enum lapic_shorthand
    bool logical;          // destination mode
    bool level;            // level assert (false only in INIT de-assert)
    bool level_triggered;
    bool x2apic_source; // destination is 32 bits wide: 0xff is then an ID, not the broadcast
};
