// SPDX-License-Identifier: BSD-2-Clause
// What a guest may ask of the host's timers.
#pragma once

// ns between the ticks of a periodic timer: shorter, the host would do nothing but expire it. KVM's
// default (min_timer_period_us) is the same.
#define GUEST_TIMER_MINIMUM_PERIOD 200000u
