// SPDX-License-Identifier: BSD-2-Clause
// Disks and network interfaces that come and go.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "domain.h"
#include "domain_xml.h"
#include "event.h"
#include "impact.h"
#include "memory.h"
#include "spawn.h"
#include "vmm.h"

enum { LINE_MAX = 1000 }; // of a request to the monitor

// A call that waits for the monitor, and the device it is about.
struct change {
    struct call *call;
    struct xml *device;
    uint32_t impact;
};

static enum outcome refuse(struct call *call, enum error_code code, char *sentence) {
    call_fail(call, code, "%s", sentence);
    free(sentence);
    return CALL_FAILED;
}

// The device that the call brings; NULL: the call has failed.
static struct xml *read_device(struct call *call) {
    const char *text = call->arguments[1].string;
    char *sentence = NULL;
    struct xml *device = xml_parse(text, strlen(text), &sentence);

    if (!device) {
        refuse(call, ERROR_XML, sentence);
    } else if (strcmp(device->name, "disk") != 0 && strcmp(device->name, "interface") != 0) {
        call_fail(call, ERROR_OPERATION_UNSUPPORTED,
                  "only disks and interfaces can be plugged, not <%s>", device->name);
        xml_free(device);
        return NULL;
    }
    return device;
}

// Adds it to the definitions that are affected, which have been checked to take it.
static bool commit(struct domain *domain, struct call *call, const struct xml *device,
                   uint32_t impact) {
    struct xml *definitions[] = {impact & AFFECT_LIVE ? domain->live : NULL,
                                 impact & AFFECT_CONFIG ? domain->config : NULL};

    for (unsigned i = 0; i < 2; i++) {
        if (definitions[i]) {
            domain_xml_insert(definitions[i], xml_copy(device));
        }
    }
    if (impact & AFFECT_LIVE) {
        domain_name_interfaces(domain);
    }
    call->arguments[0].domain = domain;
    return store_impact(call, impact & (domain->config ? ~0u : (uint32_t)AFFECT_LIVE));
}

static void attached(struct domain *domain, const char *answer, const char *error, void *context) {
    struct change *change = context;

    if (!answer) {
        call_fail(change->call, ERROR_OPERATION_FAILED, "the domain '%s': %s", domain->name, error);
    } else if (commit(domain, change->call, change->device, change->impact)) {
        event_device(domain, EVENT_DEVICE_ADDED, device_id(change->device));
        call_finish(change->call);
    }
    xml_free(change->device);
    free(change);
}

// A disk's file is opened here: the monitor can open nothing any more. False: the call has failed.
static bool open_file(struct call *call, const struct xml *disk, int *file) {
    const char *path = xml_get(disk, "source@file");

    path = path ? path : xml_get(disk, "source@dev");
    *file = -1;
    if (path) {
        *file = open(path, (xml_find(disk, "readonly") ? O_RDONLY : O_RDWR) | O_CLOEXEC);
        if (*file < 0) {
            call_fail(call, ERROR_OPERATION_FAILED, "cannot open %s: %s", path, strerror(errno));
            return false;
        }
    }
    return true;
}

static enum outcome attach_live(struct call *call, struct xml *device, uint32_t impact) {
    char *value = device_value(device);
    char *line =
        print_string("add-%s %s", strcmp(device->name, "disk") == 0 ? "disk" : "net", value);
    enum outcome outcome = CALL_FAILED;
    struct change *change;
    int file;

    if (strlen(line) > LINE_MAX) {
        call_fail(call, ERROR_INVALID_ARG, "the names of <%s> are too long", device->name);
    } else if (open_file(call, device, &file)) {
        change = allocate(sizeof(*change));
        *change = (struct change){call, device, impact};
        vmm_request_with_file(call->arguments[0].domain, line, file, attached, change);
        outcome = CALL_LATER;
    }
    free(line);
    free(value);
    return outcome;
}

static enum outcome attach(struct call *call, uint32_t flags) {
    struct domain *domain = call->arguments[0].domain;
    uint32_t impact = affected(call, flags);
    struct xml *device = impact ? read_device(call) : NULL;
    enum outcome outcome = CALL_FAILED;
    enum error_code code;
    char *sentence = NULL;

    if (!device) {
        return CALL_FAILED;
    }
    if (((impact & AFFECT_LIVE) && !domain_xml_plug(domain->live, &device, &code, &sentence)) ||
        ((impact & AFFECT_CONFIG) && !domain_xml_plug(domain->config, &device, &code, &sentence))) {
        refuse(call, code, sentence);
    } else if (impact & AFFECT_LIVE) {
        outcome = attach_live(call, device, impact);
    } else if (commit(domain, call, device, impact)) {
        outcome = CALL_DONE;
    }
    if (outcome != CALL_LATER) {
        xml_free(device);
    }
    return outcome;
}

static enum outcome attach_device(struct call *call) {
    return attach(call, AFFECT_LIVE);
}

static enum outcome attach_device_flags(struct call *call) {
    return attach(call, call->arguments[2].u);
}

// Removes it from the definition; from what runs it goes when the guest has let go of it.
static bool forget(struct domain *domain, struct call *call, const char *id, uint32_t impact) {
    if (!(impact & AFFECT_CONFIG) || !domain->config) {
        return true;
    }
    xml_free(domain_xml_device(domain->config, id));
    call->arguments[0].domain = domain;
    return store_impact(call, AFFECT_CONFIG);
}

static void detached(struct domain *domain, const char *answer, const char *error, void *context) {
    struct change *change = context;

    if (!answer) {
        call_fail(change->call, ERROR_OPERATION_FAILED, "the domain '%s': %s", domain->name, error);
    } else if (forget(domain, change->call, device_id(change->device), change->impact)) {
        call_finish(change->call);
    }
    xml_free(change->device);
    free(change);
}

static enum outcome detach(struct call *call, const char *id, uint32_t flags) {
    struct domain *domain = call->arguments[0].domain;
    uint32_t impact = affected(call, flags);

    if (!impact) {
        return CALL_FAILED;
    }
    const struct xml *device =
        domain_xml_device(impact & AFFECT_LIVE ? domain->live : domain->config, id);
    if (!device || ((impact & AFFECT_CONFIG) && !domain_xml_device(domain->config, id))) {
        return call_fail(call, ERROR_DEVICE_MISSING, "the domain has no device '%s'", id);
    }
    if (!(impact & AFFECT_LIVE)) {
        return forget(domain, call, id, impact) ? CALL_DONE : CALL_FAILED;
    }
    struct change *change = allocate(sizeof(*change));
    *change = (struct change){call, xml_copy(device), impact};
    char *line = print_string("remove-device %s", device_id(device));
    vmm_request(domain, line, detached, change);
    free(line);
    return CALL_LATER;
}

static enum outcome detach_described(struct call *call, uint32_t flags) {
    struct xml *device = read_device(call);
    enum outcome outcome = CALL_FAILED;

    if (device && !device_id(device)) {
        call_fail(call, ERROR_XML, "<%s> does not say which: by <target dev> or <mac address>",
                  device->name);
    } else if (device) {
        outcome = detach(call, device_id(device), flags);
    }
    xml_free(device);
    return outcome;
}

static enum outcome detach_device(struct call *call) {
    return detach_described(call, AFFECT_LIVE);
}

static enum outcome detach_device_flags(struct call *call) {
    return detach_described(call, call->arguments[2].u);
}

static enum outcome detach_device_alias(struct call *call) {
    return detach(call, call->arguments[1].string, call->arguments[2].u);
}

static enum outcome update_device(struct call *call) {
    return call_fail(call, ERROR_OPERATION_UNSUPPORTED,
                     "a device cannot be changed; detach it and attach another");
}

const struct procedure device_calls[] = {
    {8, ROLE_ADMIN, "DOMAIN_ATTACH_DEVICE", "Ds", attach_device},
    {13, ROLE_ADMIN, "DOMAIN_DETACH_DEVICE", "Ds", detach_device},
    {160, ROLE_ADMIN, "DOMAIN_ATTACH_DEVICE_FLAGS", "Dsu", attach_device_flags},
    {161, ROLE_ADMIN, "DOMAIN_DETACH_DEVICE_FLAGS", "Dsu", detach_device_flags},
    {174, ROLE_ADMIN, "DOMAIN_UPDATE_DEVICE_FLAGS", "Dsu", update_device},
    {392, ROLE_ADMIN, "DOMAIN_DETACH_DEVICE_ALIAS", "Dsu", detach_device_alias},
    {0},
};
