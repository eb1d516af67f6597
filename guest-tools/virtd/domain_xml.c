// SPDX-License-Identifier: BSD-2-Clause
// What a definition must have beyond the schema, the defaults it gets, and the values it holds.
#define _GNU_SOURCE
#include "domain_xml.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "capabilities.h"
#include "domain.h"
#include "domain_schema.h"
#include "memory.h"
#include "options.h"

// --- values ------------------------------------------------------------------------------------

static bool parse_number(const char *text, uint64_t *value) {
    char *end;

    if (!text || !isdigit((unsigned char)*text)) {
        return false;
    }
    *value = strtoull(text, &end, 10);
    return *end == '\0';
}

static uint64_t number(const struct xml *xml, const char *path) {
    uint64_t value = 0;

    parse_number(xml_get(xml, path), &value);
    return value;
}

static void set_number(struct xml *xml, const char *path, uint64_t value) {
    char text[24];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    xml_set(xml, path, text);
}

static void set_default(struct xml *xml, const char *path, const char *value) {
    if (!xml_get(xml, path)) {
        xml_set(xml, path, value);
    }
}

uint64_t domain_memory(const struct xml *xml) {
    return number(xml, "memory");
}

uint64_t domain_current_memory(const struct xml *xml) {
    return number(xml, "currentMemory");
}

unsigned domain_max_vcpus(const struct xml *xml) {
    return (unsigned)number(xml, "vcpu");
}

unsigned domain_vcpus(const struct xml *xml) {
    return (unsigned)number(xml, xml_get(xml, "vcpu@current") ? "vcpu@current" : "vcpu");
}

void domain_set_vcpus(struct xml *xml, unsigned count) {
    if (count == domain_max_vcpus(xml)) {
        xml_set(xml, "vcpu@current", NULL);
    } else {
        set_number(xml, "vcpu@current", count);
    }
}

bool cpuset_parse(const char *text, uint8_t *map, unsigned bytes) {
    memset(map, 0, bytes);
    while (*text) {
        bool exclude = *text == '^';
        char *end;
        text += exclude;
        if (!isdigit((unsigned char)*text)) {
            return false;
        }
        unsigned long first = strtoul(text, &end, 10), last = first;
        if (*end == '-' && isdigit((unsigned char)end[1])) {
            last = strtoul(end + 1, &end, 10);
        }
        if (last < first || last / 8 >= bytes || (*end && *end != ',')) {
            return false;
        }
        for (unsigned long cpu = first; cpu <= last; cpu++) {
            uint8_t bit = (uint8_t)(1u << cpu % 8);
            map[cpu / 8] = exclude ? map[cpu / 8] & (uint8_t)~bit : map[cpu / 8] | bit;
        }
        text = *end ? end + 1 : end;
    }
    return true;
}

char *cpuset_format(const uint8_t *map, unsigned bytes) {
    struct buffer text = {0};

    for (unsigned cpu = 0; cpu < bytes * 8; cpu++) {
        unsigned last = cpu;
        if (!(map[cpu / 8] >> cpu % 8 & 1)) {
            continue;
        }
        while (last + 1 < bytes * 8 && (map[(last + 1) / 8] >> (last + 1) % 8 & 1)) {
            last++;
        }
        buffer_print(&text, text.length ? ",%u" : "%u", cpu);
        if (last > cpu) {
            buffer_print(&text, "-%u", last);
        }
        cpu = last;
    }
    return buffer_take_string(&text);
}

// --- checks and defaults beyond the schema -----------------------------------------------------

// A memory size, to KiB (libvirt's units: k, K, KiB of 1024; KB of 1000, and so on).
static bool normalize_memory(struct xml *domain, const char *name, struct refusal *refusal) {
    static const struct {
        const char *unit;
        uint64_t bytes;
    } units[] = {{"b", 1},           {"bytes", 1},       {"KB", 1000},
                 {"k", 1ull << 10},  {"K", 1ull << 10},  {"KiB", 1ull << 10},
                 {"MB", 1000000},    {"M", 1ull << 20},  {"MiB", 1ull << 20},
                 {"GB", 1000000000}, {"G", 1ull << 30},  {"GiB", 1ull << 30},
                 {"T", 1ull << 40},  {"TiB", 1ull << 40}};
    struct xml *node = xml_find(domain, name);
    const char *unit = xml_get(node, "@unit");
    uint64_t value, bytes = unit ? 0 : 1024;

    for (size_t i = 0; unit && i < sizeof(units) / sizeof(units[0]); i++) {
        bytes = strcmp(unit, units[i].unit) == 0 ? units[i].bytes : bytes;
    }
    if (!bytes || !parse_number(node->text, &value) || value > UINT64_MAX / bytes ||
        value * bytes < 1024) {
        return refuse(refusal, ERROR_XML, "line %u: <%s> is no amount of memory", node->line, name);
    }
    set_number(domain, name, value * bytes / 1024);
    xml_set(node, "@unit", "KiB");
    return true;
}

static bool check_name(struct xml *domain, struct refusal *refusal) {
    const char *name = xml_get(domain, "name"), *uuid = xml_get(domain, "uuid");
    uint8_t bytes[UUID_BYTES];
    char text[UUID_TEXT];

    if (!name || !*name || strpbrk(name, "/\t\r\n") || strlen(name) > 255) {
        return refuse(refusal, ERROR_XML, "a domain needs a <name>, of one line and without '/'");
    }
    if (!uuid) {
        if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes)) {
            return refuse(refusal, ERROR_INTERNAL, "no random numbers for a uuid");
        }
        bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40); // RFC 4122: version 4
        bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
    } else if (!uuid_parse(uuid, bytes)) {
        return refuse(refusal, ERROR_XML, "line %u: '%s' is no uuid",
                      xml_find(domain, "uuid")->line, uuid);
    }
    uuid_format(bytes, text);
    xml_set(domain, "uuid", text);
    return true;
}

static bool check_memory(struct xml *domain, struct refusal *refusal) {
    if (!xml_find(domain, "memory")) {
        return refuse(refusal, ERROR_XML, "a domain needs <memory>");
    }
    if (!normalize_memory(domain, "memory", refusal) ||
        (xml_find(domain, "currentMemory") &&
         !normalize_memory(domain, "currentMemory", refusal))) {
        return false;
    }
    if (domain_memory(domain) < 16384) {
        return refuse(refusal, ERROR_CONFIG_UNSUPPORTED, "less than 16 MiB of memory");
    }
    set_number(domain, "memory", (domain_memory(domain) + 3) & ~3ull); // pages of 4 KiB
    set_default(domain, "currentMemory", xml_get(domain, "memory"));
    xml_set(domain, "currentMemory@unit", "KiB");
    if (domain_current_memory(domain) > domain_memory(domain)) {
        xml_set(domain, "currentMemory", xml_get(domain, "memory"));
    }
    return true;
}

static bool check_cpuset(const struct xml *node, struct refusal *refusal) {
    const char *set = xml_get(node, "@cpuset");
    uint8_t map[128];

    return !set || cpuset_parse(set, map, sizeof(map)) ||
           refuse(refusal, ERROR_XML, "line %u: cpuset '%s' is no set of CPUs", node->line, set);
}

static bool check_vcpus(struct xml *domain, struct refusal *refusal) {
    struct xml *tune = xml_find(domain, "cputune");
    uint64_t value;

    set_default(domain, "vcpu", "1");
    set_default(domain, "vcpu@placement", "static");
    struct xml *vcpu = xml_find(domain, "vcpu");
    if (!domain_max_vcpus(domain) || domain_max_vcpus(domain) > VCPUS_MAX ||
        !domain_vcpus(domain) || domain_vcpus(domain) > domain_max_vcpus(domain)) {
        return refuse(refusal, ERROR_XML, "line %u: from 1 to %u <vcpu> and no more current ones",
                      vcpu->line, VCPUS_MAX);
    }
    if (!check_cpuset(vcpu, refusal)) {
        return false;
    }
    for (struct xml *node = tune ? tune->children : NULL; node; node = node->next) {
        bool pin = strcmp(node->name, "vcpupin") == 0;
        const char *text = pin ? xml_get(node, "@vcpu") : node->text;
        bool negative = strcmp(node->name, "quota") == 0 && text && *text == '-';
        if (!parse_number(negative ? text + 1 : text, &value) ||
            (pin && (value >= domain_max_vcpus(domain) || !xml_get(node, "@cpuset")))) {
            return refuse(refusal, ERROR_XML, "line %u: <%s> has no such value", node->line,
                          node->name);
        }
        if (!check_cpuset(node, refusal)) {
            return false;
        }
    }
    return true;
}

static bool check_boot(struct xml *domain, struct refusal *refusal) {
    if (!xml_get(domain, "os/type")) {
        return refuse(refusal, ERROR_XML, "a domain needs <os> with <type>hvm</type>");
    }
    set_default(domain, "os/type@arch", "x86_64");
    set_default(domain, "os/type@machine", MACHINE);
    if (!xml_get(domain, "os/kernel")) {
        return refuse(refusal, ERROR_CONFIG_UNSUPPORTED,
                      "line %u: <os> has no <kernel>: there is no firmware to boot a disk by; "
                      "virt-install takes --boot kernel=FILE,initrd=FILE,kernel_args=…",
                      xml_find(domain, "os")->line);
    }
    return true;
}

static bool need(const struct xml *node, const char *path, struct refusal *refusal) {
    const char *value = xml_get(node, path);

    // A comma would begin another option of the monitor's.
    return (value && *value && !strpbrk(value, ",\n")) ||
           refuse(refusal, ERROR_XML, "line %u: <%s> needs %s, without a comma", node->line,
                  node->name, path);
}

static bool check_disk(struct xml *disk, struct refusal *refusal) {
    const char *type = xml_get(disk, "@type");

    if (!type) {
        return need(disk, "@type", refusal);
    }
    const char *source = strcmp(type, "file") == 0    ? "source@file"
                         : strcmp(type, "block") == 0 ? "source@dev"
                                                      : "source@path";
    if (!need(disk, source, refusal) || !need(disk, "target@dev", refusal)) {
        return false;
    }
    const char *target = xml_get(disk, "target@dev");
    for (const struct xml *other = xml_next(disk); other; other = xml_next(other)) {
        const char *name = xml_get(other, "target@dev");
        if (name && strcmp(name, target) == 0) {
            return refuse(refusal, ERROR_XML, "line %u: target '%s' is another disk's too",
                          other->line, target);
        }
    }
    set_default(disk, "@device", "disk");
    if (strcmp(type, "vhostuser") == 0) {
        set_default(disk, "source@type", "unix");
    } else {
        set_default(disk, "driver@name", "qemu");
        set_default(disk, "driver@type", "raw");
    }
    set_default(disk, "target@bus", "virtio");
    return true;
}

static bool check_mac(const char *mac) {
    unsigned byte[6];
    int length = 0;

    return sscanf(mac, "%2x:%2x:%2x:%2x:%2x:%2x%n", &byte[0], &byte[1], &byte[2], &byte[3],
                  &byte[4], &byte[5], &length) == 6 &&
           !mac[length] && length == 17 && !(byte[0] & 1);
}

static bool check_interface(struct xml *interface, struct refusal *refusal) {
    const char *mac = xml_get(interface, "mac@address"), *mtu = xml_get(interface, "mtu@size");
    uint8_t random[3] = {0};
    char text[18];

    if (!need(interface, "source@path", refusal)) {
        return false;
    }
    if (mac && !check_mac(mac)) {
        return refuse(refusal, ERROR_XML, "line %u: '%s' is no station's MAC address",
                      xml_find(interface, "mac")->line, mac);
    }
    if (mtu && (!*mtu || mtu[strspn(mtu, "0123456789")])) {
        return refuse(refusal, ERROR_XML, "line %u: '%s' is no MTU",
                      xml_find(interface, "mtu")->line, mtu);
    }
    if (!mac) {
        if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
            return refuse(refusal, ERROR_INTERNAL, "no random numbers for a MAC address");
        }
        snprintf(text, sizeof(text), "52:54:00:%02x:%02x:%02x", random[0], random[1], random[2]);
        xml_set(interface, "mac@address", text);
    }
    set_default(interface, "model@type", "virtio");
    return true;
}

static bool check_rng(struct xml *rng, struct refusal *refusal) {
    struct xml *backend = xml_find(rng, "backend");

    if (xml_next(rng) || !xml_get(rng, "@model") || !backend || !xml_get(backend, "@model")) {
        return refuse(refusal, ERROR_XML,
                      "line %u: one <rng model='virtio'> with <backend model='random'>", rng->line);
    }
    set_default(rng, "backend", "/dev/urandom");
    if (!*xml_get(rng, "backend")) {
        xml_set(rng, "backend", "/dev/urandom");
    }
    return need(rng, "backend", refusal);
}

static bool has(const struct xml *node, const char *path, const char *value) {
    const char *actual = xml_get(node, path);

    return actual && strcmp(actual, value) == 0;
}

// A serial port is the console too; a console of type serial is a serial port.
static bool check_consoles(struct xml *devices, struct refusal *refusal) {
    struct xml *serial = xml_find(devices, "serial"), *console = xml_find(devices, "console");
    const char *type = console ? xml_get(console, "target@type") : NULL;
    bool virtio = type && strcmp(type, "virtio") == 0;
    struct xml *second = console ? xml_next(console) : NULL;
    bool fits = !second || (has(second, "@type", "null") && has(second, "target@type", "virtio") &&
                            !virtio && !xml_next(second));

    if ((serial && xml_next(serial)) || !fits || (serial && virtio) ||
        (console && has(console, "@type", "null"))) {
        return refuse(refusal, ERROR_CONFIG_UNSUPPORTED,
                      "line %u: a domain has one console, a serial port or a virtio one, and "
                      "perhaps a virtio one of type null behind it",
                      (serial ? serial : console)->line);
    }
    if (serial || (console && !virtio)) {
        set_default(devices, "serial@type", "pty");
        set_default(devices, "serial/target@type", "isa-serial");
        set_default(devices, "serial/target@port", "0");
        set_default(devices, "serial/target/model@name", "isa-serial");
        set_default(devices, "console@type", "pty");
        set_default(devices, "console/target@type", "serial");
        set_default(devices, "console/target@port", "0");
    }
    return true;
}

static bool check_channel(struct xml *channel, struct refusal *refusal) {
    const char *name = xml_get(channel, "target@name");

    if (!has(channel, "@type", "unix") || !has(channel, "target@type", "virtio") ||
        !need(channel, "target@name", refusal) || strchr(name, '/') ||
        (xml_get(channel, "source@path") && !need(channel, "source@path", refusal))) {
        return refusal->sentence ||
               refuse(refusal, ERROR_XML,
                      "line %u: a <channel type='unix'> has a <target type='virtio'> with a name "
                      "without '/'",
                      channel->line);
    }
    xml_set(channel, "target@state", NULL);
    for (const struct xml *other = xml_next(channel); other; other = xml_next(other)) {
        if (has(other, "target@name", name)) {
            return refuse(refusal, ERROR_XML, "line %u: the name '%s' is another channel's too",
                          other->line, name);
        }
    }
    return true;
}

static bool check_input(struct xml *input, struct refusal *refusal) {
    return (!xml_next(input) && xml_get(input, "@type") && xml_get(input, "@bus")) ||
           refuse(refusal, ERROR_XML, "line %u: one <input type='keyboard' bus='virtio'/>",
                  input->line);
}

static bool check_controller(struct xml *controller, struct refusal *refusal) {
    const char *type = xml_get(controller, "@type"), *model = xml_get(controller, "@model");

    if (!type || !model || (strcmp(type, "usb") == 0) != (strcmp(model, "none") == 0)) {
        return refuse(refusal, ERROR_CONFIG_UNSUPPORTED,
                      "line %u: of controllers there is the PCI root, and USB with model='none': "
                      "virt-install takes --controller usb,model=none",
                      controller->line);
    }
    return true;
}

static bool check_devices(struct xml *domain, struct refusal *refusal) {
    static const struct {
        const char *name;
        bool (*check)(struct xml *device, struct refusal *refusal);
    } checks[] = {{"disk", check_disk},       {"interface", check_interface},
                  {"channel", check_channel}, {"input", check_input},
                  {"rng", check_rng},         {"controller", check_controller}};

    set_default(domain, "devices/emulator", options.vmm);
    struct xml *devices = xml_find(domain, "devices");
    if (strcmp(xml_get(devices, "emulator"), options.vmm) != 0) {
        return refuse(refusal, ERROR_CONFIG_UNSUPPORTED, "line %u: the only <emulator> is %s",
                      xml_find(devices, "emulator")->line, options.vmm);
    }
    for (struct xml *device = devices->children; device; device = device->next) {
        xml_set(device, "alias", NULL); // of what ran
        for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
            if (strcmp(device->name, checks[i].name) == 0 && !checks[i].check(device, refusal)) {
                return false;
            }
        }
    }
    if (!xml_get(devices, "memballoon@model")) {
        xml_set(devices, "memballoon@model", "virtio");
    }
    return check_consoles(devices, refusal);
}

static bool check_domain(struct xml *domain, struct refusal *refusal) {
    if (strcmp(domain->name, "domain") != 0) {
        return refuse(refusal, ERROR_XML, "line %u: <%s> where <domain> belongs", domain->line,
                      domain->name);
    }
    if (!schema_check(domain, "", refusal)) {
        return false;
    }
    xml_set(domain, "@id", NULL);
    if (!xml_get(domain, "@type")) {
        return refuse(refusal, ERROR_XML, "line %u: <domain> needs type='kvm'", domain->line);
    }
    if (!check_name(domain, refusal) || !check_memory(domain, refusal) ||
        !check_vcpus(domain, refusal) || !check_boot(domain, refusal)) {
        return false;
    }
    set_default(domain, "clock@offset", "utc");
    set_default(domain, "on_poweroff", "destroy");
    set_default(domain, "on_reboot", "restart");
    set_default(domain, "on_crash", "destroy");
    if (!check_devices(domain, refusal)) {
        return false;
    }
    schema_sort(domain, "domain");
    return true;
}

struct xml *domain_xml_read(const char *text, size_t length, enum error_code *code,
                            char **sentence) {
    struct refusal refusal = {0};
    struct xml *domain = xml_parse(text, length, sentence);

    *code = ERROR_XML;
    if (domain && !check_domain(domain, &refusal)) {
        xml_free(domain);
        *code = refusal.code;
        *sentence = refusal.sentence;
        return NULL;
    }
    return domain;
}

bool domain_xml_is_readable(const struct xml *domain) {
    struct buffer text = {0};
    enum error_code code;
    char *sentence = NULL;

    xml_write(&text, domain, 0);
    struct xml *again = domain_xml_read((char *)text.data, text.length, &code, &sentence);
    bool readable = again != NULL;
    xml_free(again);
    free(sentence);
    buffer_free(&text);
    return readable;
}

const char *device_id(const struct xml *device) {
    return strcmp(device->name, "disk") == 0        ? xml_get(device, "target@dev")
           : strcmp(device->name, "interface") == 0 ? xml_get(device, "mac@address")
                                                    : NULL;
}

struct xml *domain_xml_device(const struct xml *domain, const char *id) {
    struct xml *device = xml_find(domain, "devices")->children;

    while (device && (!device_id(device) || strcasecmp(device_id(device), id) != 0)) {
        device = device->next;
    }
    return device;
}

void domain_xml_insert(struct xml *domain, struct xml *device) {
    struct xml *devices = xml_find(domain, "devices");

    xml_insert(devices, device);
    schema_sort(devices, "domain/devices");
}

// libvirt's names, but for what can be unplugged: events and detach-device-alias call it by its id.
static void set_alias(struct xml *device, unsigned number) {
    static const struct {
        const char *element, *alias;
    } names[] = {{"serial", "serial"}, {"console", "serial"}, {"channel", "channel"},
                 {"input", "input"},   {"rng", "rng"},        {"memballoon", "balloon"}};
    char *alias = device_id(device) ? copy_string(device_id(device)) : NULL;

    for (size_t i = 0; !alias && i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(device->name, names[i].element) == 0) {
            bool virtio = has(device, "target@type", "virtio") && i == 1;
            alias = print_string("%s%u", virtio ? "console" : names[i].alias, number);
        }
    }
    if (alias) {
        xml_set(device, "alias@name", alias);
        free(alias);
    }
}

void domain_xml_set_aliases(struct xml *domain) {
    struct xml *devices = xml_find(domain, "devices"), *before = NULL;
    unsigned number = 0;

    for (struct xml *device = devices->children; device; before = device, device = device->next) {
        number = before && strcmp(before->name, device->name) == 0 ? number + 1 : 0;
        set_alias(device, number);
    }
}

bool domain_xml_plug(const struct xml *domain, struct xml **device, enum error_code *code,
                     char **sentence) {
    struct xml *whole = xml_copy(domain), *added = xml_copy(*device);
    struct refusal refusal = {0};

    xml_insert(xml_find(whole, "devices"), added);
    bool taken = check_domain(whole, &refusal);
    if (taken) {
        xml_free(*device);
        *device = xml_copy(added);
    }
    *code = refusal.code;
    *sentence = refusal.sentence;
    xml_free(whole);
    return taken;
}
