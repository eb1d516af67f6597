// SPDX-License-Identifier: BSD-2-Clause
// ashlar.conf: `key = value` lines and `#` comments. Shared by the loader, the kernel and the unit
// tests.
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum config_key {
    CONFIG_PROGRAM, // path in the initrd of the only program init starts
    CONFIG_ARGS,    // its arguments, split as a shell would
    CONFIG_CPUS,    // limit on the CPUs Ashlar starts
    CONFIG_VIRT,    // required: no start without VT-x; optional: no /dev/kvm then
    CONFIG_GUEST_CPUS,
    CONFIG_GUEST_MEMORY, // MiB
    CONFIG_GUEST_CMDLINE,
    CONFIG_GUEST_DEVICES, // further options of vmm, split as a shell would
    CONFIG_DRIVERS,       // options of the driver domain, likewise
    CONFIG_VIRTD,         // options of virtd, likewise: its transports and what each may do
    CONFIG_AUTOSTART,     // start the guest at boot
    CONFIG_LOG,           // quiet: warnings and errors only
    CONFIG_DMA,           // trusted: devices without an IOMMU are given out too; isolated: not
    CONFIG_CORES,         // separate: hyper-threads of a core run one process at a time
    CONFIG_KEY_COUNT,
};

// One setting: the text lies in the parsed buffer and is not terminated by NUL.
struct config_value {
    const char *text; // NULL: not set
    size_t length;    // bytes
    unsigned long
        number; // value of a numeric key; index of the word of a choice (as listed in config.c)
    unsigned line;
};

struct config {
    struct config_value value[CONFIG_KEY_COUNT];
};

struct config_error {
    unsigned line;      // from 1
    const char *reason; // a constant string
    const char *word;   // the key or value at fault, inside the parsed buffer; may be NULL
    size_t word_length; // bytes
};

// Parses SIZE bytes of TEXT. A key not given is left with text NULL. Returns 0, or -EINVAL with
// *error filled.
int config_parse(const char *text, size_t size, struct config *config, struct config_error *error);

// The number of a numeric key, or FALLBACK where it is not set.
unsigned long config_number(const struct config *config, enum config_key key,
                            unsigned long fallback);

// Whether KEY is set and its value is exactly WORD.
bool config_is(const struct config *config, enum config_key key, const char *word);
