// SPDX-License-Identifier: BSD-2-Clause
// The registers by which the guest's ACPI code (acpi.c) learns of devices, CPUs and the power
// button, and lets go of them. Objects are numbered: the power button, PCI's slots, CPUs. Five
// doublewords at HOTPLUG_PORT:
//
//   0   read: the next event, object << 8 | ACPI's notification code; 0: there is none
//   4   write: selects an object
//   8   read: _STA of the object selected
//   12  write: ejects an object
//   16  write: what became of a request to eject one, object << 8 | _OST's status
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bus.h"
#include "pci.h"

enum {
    HOTPLUG_POWER_BUTTON = 0,
    HOTPLUG_CPUS = PCI_DEVICES_MAX, // those between are slots
    HOTPLUG_CPUS_MAX = 255,         // as many as have an APIC id of eight bits
    HOTPLUG_OBJECTS = HOTPLUG_CPUS + HOTPLUG_CPUS_MAX,
};

// ACPI 6.4, tables 5.162 (any device) and 5.175 (power buttons).
enum { NOTIFY_DEVICE_CHECK = 1, NOTIFY_EJECT_REQUEST = 3, NOTIFY_BUTTON_PRESSED = 0x80 };

struct hotplug {
    void (*interrupt)(void *context);
    bool (*is_there)(void *context, unsigned object);
    void (*eject)(void *context, unsigned object); // on a vCPU's thread, as the next
    void (*refuse)(void *context, unsigned object);
    void *context;
    uint8_t pending[HOTPLUG_OBJECTS]; // codes; atomic
    bool asked[HOTPLUG_OBJECTS];      // to be ejected, and refuse not called since; atomic
    uint32_t selected;
};

// Attaches the registers; the functions and their context are set.
void hotplug_attach(struct hotplug *hotplug, struct bus *ports);

// Tells the guest of an object, or with code 0 takes back what it has not read yet. Any thread.
void hotplug_notify(struct hotplug *hotplug, unsigned object, uint8_t code);
