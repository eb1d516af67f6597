// SPDX-License-Identifier: BSD-2-Clause
// The table of every element, attribute and value of domain XML that is honoured here. What it does
// not have is refused by name, with its line: nothing of a definition is dropped.
#define _GNU_SOURCE
#include "domain_schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capabilities.h"
#include "memory.h"

// Each rule: the element's path, and its attributes as `name` (any value) or `name=this|that`.
// "=" alone is its text. An element without "=" has none. "*": anything below it too.
struct rule {
    const char *path, *allowed;
};
static const struct rule rules[] = {
    {"domain", "type=kvm id"},
    {"domain/name", "="},
    {"domain/uuid", "="},
    {"domain/title", "="},
    {"domain/description", "="},
    {"domain/metadata", "*"},
    {"domain/memory", "= unit"},
    {"domain/currentMemory", "= unit"},
    {"domain/vcpu", "= placement=static cpuset current"},
    {"domain/cputune", ""},
    {"domain/cputune/shares", "="},
    {"domain/cputune/period", "="},
    {"domain/cputune/quota", "="},
    {"domain/cputune/vcpupin", "vcpu cpuset"},
    {"domain/os", ""},
    {"domain/os/type", "=hvm arch=x86_64 machine=" MACHINE},
    {"domain/os/kernel", "="},
    {"domain/os/initrd", "="},
    {"domain/os/cmdline", "="},
    {"domain/os/boot", "dev=hd"},
    {"domain/features", ""},
    {"domain/features/acpi", ""},
    {"domain/features/apic", ""},
    {"domain/features/pae", ""},
    {"domain/features/vmport", "state=off"},
    {"domain/cpu", "mode=host-passthrough check=none migratable=on|off"},
    {"domain/clock", "offset=utc"},
    {"domain/clock/timer", "name=rtc|pit|hpet|kvmclock tickpolicy=catchup|delay present=yes|no"},
    {"domain/on_poweroff", "=destroy|restart"},
    {"domain/on_reboot", "=restart|destroy"},
    {"domain/on_crash", "=destroy|restart"},
    {"domain/pm", ""},
    {"domain/pm/suspend-to-mem", "enabled=no"},
    {"domain/pm/suspend-to-disk", "enabled=no"},
    {"domain/devices", ""},
    {"domain/devices/emulator", "="},
    {"domain/devices/disk", "type=file|block|vhostuser device=disk"},
    {"domain/devices/disk/driver",
     "name=qemu type=raw cache=default|writeback discard=unmap|ignore queues"},
    {"domain/devices/disk/source", "file dev type=unix path"},
    {"domain/devices/disk/target", "dev bus=virtio"},
    {"domain/devices/disk/readonly", ""},
    {"domain/devices/interface", "type=vhostuser"},
    {"domain/devices/interface/mac", "address"},
    {"domain/devices/interface/source", "type=unix path mode=client"},
    {"domain/devices/interface/target", "dev"},
    {"domain/devices/interface/model", "type=virtio"},
    {"domain/devices/interface/mtu", "size"},
    {"domain/devices/serial", "type=pty"},
    {"domain/devices/serial/target", "type=isa-serial port=0"},
    {"domain/devices/serial/target/model", "name=isa-serial"},
    {"domain/devices/console", "type=pty|null"},
    {"domain/devices/console/target", "type=serial|virtio port=0|1"},
    {"domain/devices/channel", "type=unix"},
    {"domain/devices/channel/source", "mode=bind path"},
    {"domain/devices/channel/target", "type=virtio name state=connected|disconnected"},
    {"domain/devices/input", "type=keyboard bus=virtio"},
    {"domain/devices/rng", "model=virtio"},
    {"domain/devices/rng/backend", "= model=random"},
    {"domain/devices/memballoon", "model=virtio|none autodeflate=on|off freePageReporting=on|off"},
    {"domain/devices/memballoon/stats", "period"},
    {"domain/devices/controller", "type=usb|pci index=0 model=none|pcie-root"},
    {"domain/devices/*/alias", "name"},
};

enum { PATH_LENGTH = 128 };

// What a refusal of that element, or of one below it, says besides: KVM's users and virt-install
// write these of their own accord.
static const struct {
    const char *path, *hint;
} hints[] = {
    {"domain/devices/controller", "there is no USB and no SCSI; virt-install takes --controller "
                                  "usb,model=none --graphics none --network none"},
    {"domain/devices/graphics", "a guest has a console and no screen; virt-install takes "
                                "--graphics none"},
    {"domain/devices/interface", "interfaces are ports of the driver domain's switches: "
                                 "type='vhostuser' with <source type='unix' path='…' "
                                 "mode='client'/>; virt-install takes --network none"},
    {"domain/devices/disk", "disks are raw, on virtio: type='file', 'block' or 'vhostuser', "
                            "device='disk'"},
    {"domain/devices/channel", "channels are of type 'unix', with <target "
                               "type='virtio'>; virt-install leaves out SPICE's "
                               "with --graphics none"},
    {"domain/devices/input", "of input devices there is <input type='keyboard' bus='virtio'/>"},
    {"domain/cpu", "a guest has the host's CPU: mode='host-passthrough'"},
    {"domain/os", "a guest is started by its kernel: <type>hvm</type>, <kernel>, <initrd>, "
                  "<cmdline>"},
};

bool refuse(struct refusal *refusal, enum error_code code, const char *format, ...) {
    va_list args;

    va_start(args, format);
    refusal->code = code;
    if (vasprintf(&refusal->sentence, format, args) < 0) {
        refusal->sentence = NULL;
    }
    va_end(args);
    return false;
}

// As refuse, with what there is instead.
static bool unsupported(struct refusal *refusal, const char *path, unsigned line, char *what) {
    const char *hint = NULL;

    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
        size_t length = strlen(hints[i].path);
        if (strncmp(path, hints[i].path, length) == 0 && (!path[length] || path[length] == '/')) {
            hint = hints[i].hint;
        }
    }
    refuse(refusal, ERROR_CONFIG_UNSUPPORTED, "line %u: %s is not supported%s%s", line, what,
           hint ? ": " : "", hint ? hint : "");
    free(what);
    return false;
}

// Whether `value` is one of the words of "a|b c" before the blank.
static bool one_of(const char *words, const char *value) {
    size_t length = strlen(value);

    for (;;) {
        size_t word = strcspn(words, "| ");
        if (word == length && memcmp(words, value, length) == 0) {
            return true;
        }
        if (words[word] != '|') {
            return false;
        }
        words += word + 1;
    }
}

// 1: allowed; 0: no such attribute; -1: not with this value. The name "" is the text.
static int attribute_allowed(const char *allowed, const char *name, const char *value) {
    size_t length = strlen(name);

    while (*allowed) {
        size_t word = strcspn(allowed, "= ");
        if (word == length && memcmp(allowed, name, length) == 0) {
            bool any = allowed[word] != '=' || !allowed[word + 1] || allowed[word + 1] == ' ';
            return any || one_of(allowed + word + 1, value) ? 1 : -1;
        }
        allowed += strcspn(allowed, " ");
        allowed += strspn(allowed, " ");
    }
    return 0;
}

static const struct rule *find_rule(const char *path) {
    static const char devices[] = "domain/devices/";
    const char *below = strncmp(path, devices, strlen(devices)) == 0 ? path + strlen(devices) : "";

    if (strcmp(below + strcspn(below, "/"), "/alias") == 0) { // any device may have one
        path = "domain/devices/*/alias";
    }
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        if (strcmp(rules[i].path, path) == 0) {
            return &rules[i];
        }
    }
    return NULL;
}

bool schema_check(struct xml *node, const char *parent, struct refusal *refusal) {
    char path[PATH_LENGTH];

    snprintf(path, sizeof(path), "%s%s%s", parent, *parent ? "/" : "", node->name);
    const struct rule *rule = find_rule(path);
    if (!rule) {
        return unsupported(refusal, path, node->line,
                           print_string("the element <%s> (%s)", node->name, path));
    }
    if (*rule->allowed == '*') {
        return true;
    }
    for (const struct xml_attribute *a = node->attributes; a; a = a->next) {
        int allowed = attribute_allowed(rule->allowed, a->name, a->value);
        if (allowed <= 0) {
            return unsupported(refusal, path, node->line,
                               print_string("%s%s='%s' of <%s>", allowed ? "" : "the attribute ",
                                            a->name, a->value, path));
        }
    }
    if (node->text && strspn(node->text, " \t\r\n") < strlen(node->text)) {
        int allowed = attribute_allowed(rule->allowed, "", node->text);
        if (allowed <= 0) {
            return unsupported(refusal, path, node->line,
                               print_string("the text '%s' of <%s>", node->text, path));
        }
    } else if (node->text) {
        free(node->text); // layout
        node->text = NULL;
    }
    for (struct xml *child = node->children; child; child = child->next) {
        if (!schema_check(child, path, refusal)) {
            return false;
        }
    }
    return true;
}

void schema_sort(struct xml *node, const char *parent) {
    struct xml *sorted = NULL;

    while (node->children) {
        struct xml *child = node->children, **at = &sorted;
        char path[PATH_LENGTH], other[PATH_LENGTH];

        node->children = child->next;
        snprintf(path, sizeof(path), "%s/%s", parent, child->name);
        while (*at && (snprintf(other, sizeof(other), "%s/%s", parent, (*at)->name),
                       find_rule(other) <= find_rule(path))) {
            at = &(*at)->next;
        }
        child->next = *at;
        *at = child;
        schema_sort(child, path);
    }
    node->children = sorted;
}
