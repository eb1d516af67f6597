// SPDX-License-Identifier: BSD-2-Clause
// This CPU's local APIC, in x2APIC mode where the CPU has it (SDM 3A chapter 11).
#pragma once
#include <stdbool.h>
#include <stdint.h>

// Enables it on this CPU: spurious and error vectors, LINT0 masked (no 8259), timer masked.
void local_apic_init(void);
bool local_apic_is_x2apic(void);
uint32_t local_apic_id(void);
void local_apic_eoi(void);
void local_apic_send(uint32_t apic_id, unsigned vector);
void local_apic_send_init(uint32_t apic_id);
void local_apic_send_startup(uint32_t apic_id, unsigned page); // page: number of the 4 KiB page
// NMI to all other CPUs (panic). Harmless before local_apic_init.
void local_apic_stop_others(void);

// The timer: deadline mode where the CPU has it, else one-shot.
void local_apic_timer_init(void);
void local_apic_timer_set_deadline(uint64_t tsc); // deadline mode; 0: off
void local_apic_timer_set_count(uint32_t count);  // one-shot, divided by 1; 0: off
uint32_t local_apic_timer_count(void);
