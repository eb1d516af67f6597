// SPDX-License-Identifier: BSD-2-Clause
// Events wait, one an object, until the guest reads them.
#include "hotplug.h"

#include <string.h>

#include "guest_layout.h"

enum { EVENT = 0, SELECT = 4, STATUS = 8, EJECT = 12, OUTCOME = 16, REGISTERS_SIZE = 20 };
enum { SUCCESS = 0, IN_PROGRESS = 0x84 }; // 6.3.5: all others say that it stays
enum { STATUS_THERE = 0xf };              // 6.3.7: present, enabled, shown, working

static uint32_t next_event(struct hotplug *hotplug) {
    for (uint32_t object = 0; object < HOTPLUG_OBJECTS; object++) {
        uint8_t code = __atomic_exchange_n(&hotplug->pending[object], 0, __ATOMIC_SEQ_CST);

        if (code) {
            return object << 8 | code;
        }
    }
    return 0;
}

static void read_register(void *context, uint64_t offset, void *data, unsigned length) {
    struct hotplug *hotplug = context;
    uint32_t value = 0;

    memset(data, 0, length);
    if (length != sizeof(value)) {
        return;
    }
    if (offset == EVENT) {
        value = next_event(hotplug);
    } else if (offset == STATUS && hotplug->selected < HOTPLUG_OBJECTS &&
               hotplug->is_there(hotplug->context, hotplug->selected)) {
        value = STATUS_THERE;
    }
    memcpy(data, &value, sizeof(value));
}

static void write_register(void *context, uint64_t offset, const void *data, unsigned length) {
    struct hotplug *hotplug = context;
    uint32_t value;

    if (length != sizeof(value)) {
        return;
    }
    memcpy(&value, data, sizeof(value));
    if (offset == SELECT) {
        hotplug->selected = value;
    } else if (offset == EJECT && value < HOTPLUG_OBJECTS) {
        hotplug->eject(hotplug->context, value);
    } else if (offset == OUTCOME && value >> 8 < HOTPLUG_OBJECTS && (value & 0xff) != SUCCESS &&
               (value & 0xff) != IN_PROGRESS &&
               __atomic_exchange_n(&hotplug->asked[value >> 8], false, __ATOMIC_SEQ_CST)) {
        hotplug->refuse(hotplug->context, value >> 8);
    }
}

void hotplug_attach(struct hotplug *hotplug, struct bus *ports) {
    static const struct bus_device_ops ops = {read_register, write_register};

    bus_attach(ports, HOTPLUG_PORT, REGISTERS_SIZE, &ops, hotplug);
}

void hotplug_notify(struct hotplug *hotplug, unsigned object, uint8_t code) {
    __atomic_store_n(&hotplug->asked[object], code == NOTIFY_EJECT_REQUEST, __ATOMIC_SEQ_CST);
    __atomic_store_n(&hotplug->pending[object], code, __ATOMIC_SEQ_CST);
    if (code) {
        hotplug->interrupt(hotplug->context);
    }
}
