// SPDX-License-Identifier: BSD-2-Clause
// Defining, starting, steering and ending domains.
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "domain.h"
#include "domain_store.h"
#include "domain_xml.h"
#include "event.h"
#include "lifecycle.h"
#include "memory.h"
#include "vmm.h"

enum { START_PAUSED = 1 << 0, SHUTDOWN_ACPI = 1 << 0, DESTROY_GRACEFUL = 1 << 0 };

// Reads the definition in `text`, and finds the domain that it is about, if there is one. NULL: the
// call has failed.
static struct xml *read_definition(struct call *call, const char *text, struct domain **domain) {
    enum error_code code;
    char *sentence = NULL;
    struct xml *xml = domain_xml_read(text, strlen(text), &code, &sentence);
    uint8_t uuid[UUID_BYTES];

    if (!xml) {
        call_fail(call, code, "%s", sentence ? sentence : "malformed");
        free(sentence);
        return NULL;
    }
    free(call->subject);
    call->subject = copy_string(xml_get(xml, "name"));
    uuid_parse(xml_get(xml, "uuid"), uuid);
    struct domain *same_name = domain_by_name(call->subject);
    *domain = domain_by_uuid(uuid);
    if (same_name != *domain) {
        char other[UUID_TEXT];
        uuid_format(same_name ? same_name->uuid : uuid, other);
        xml_free(xml);
        call_fail(call, ERROR_OPERATION_FAILED, "domain '%s' already exists with uuid %s",
                  same_name ? same_name->name : (*domain)->name, other);
        return NULL;
    }
    return xml;
}

static enum outcome define(struct call *call) {
    struct domain *domain;
    struct xml *xml = read_definition(call, call->arguments[0].string, &domain), *before;

    if (!xml) {
        return CALL_FAILED;
    }
    bool added = !domain;
    domain = added ? domain_add(xml) : domain;
    before = domain->config;
    domain->config = xml;
    if (!store_config(domain)) {
        int error = errno;
        domain->config = before;
        xml_free(xml);
        if (added) {
            domain_remove(domain);
        }
        return call_fail(call, ERROR_SYSTEM, "cannot store the definition: %s", strerror(error));
    }
    xml_free(before);
    event_lifecycle(domain, EVENT_DEFINED, before ? DEFINED_UPDATED : DEFINED_ADDED);
    xdr_put_domain(&call->reply, domain);
    return CALL_DONE;
}

static enum outcome undefine(struct call *call) {
    struct domain *domain = call->arguments[0].domain;

    if (!domain->config) {
        return call_fail(call, ERROR_OPERATION_INVALID, "the domain '%s' is transient",
                         domain->name);
    }
    xml_free(domain->config);
    domain->config = NULL;
    domain->autostart = false;
    store_config(domain);
    store_autostart_flag(domain);
    event_lifecycle(domain, EVENT_UNDEFINED, 0);
    if (!domain_active(domain)) {
        vmm_remove_files(domain);
        domain_remove(domain);
    }
    return CALL_DONE;
}

static enum outcome set_autostart(struct call *call) {
    struct domain *domain = call->arguments[0].domain;
    bool before = domain->autostart;

    if (!domain->config) {
        return call_fail(call, ERROR_OPERATION_INVALID, "the domain '%s' is transient",
                         domain->name);
    }
    domain->autostart = call->arguments[1].u != 0;
    if (!store_autostart_flag(domain)) {
        int error = errno;
        domain->autostart = before;
        return call_fail(call, ERROR_SYSTEM, "cannot store that: %s", strerror(error));
    }
    return CALL_DONE;
}

static enum outcome start(struct call *call, uint32_t flags, bool reply_domain) {
    struct domain *domain = call->arguments[0].domain;

    if (flags & ~(uint32_t)START_PAUSED) {
        return call_fail(call, ERROR_OPERATION_UNSUPPORTED, "flags %#x of a start", flags);
    }
    if (domain_active(domain)) {
        return call_fail(call, ERROR_OPERATION_INVALID, "domain is already running");
    }
    lifecycle_start(domain, xml_copy(domain->config), flags & START_PAUSED, call, reply_domain);
    return CALL_LATER;
}

static enum outcome create(struct call *call) {
    return start(call, 0, false);
}

static enum outcome create_with_flags(struct call *call) {
    return start(call, call->arguments[1].u, true);
}

// A domain that is not stored; virt-install defines it afterwards.
static enum outcome create_xml(struct call *call) {
    uint32_t flags = call->arguments[1].u;
    struct domain *domain;

    if (flags & ~(uint32_t)START_PAUSED) {
        return call_fail(call, ERROR_OPERATION_UNSUPPORTED, "flags %#x of a start", flags);
    }
    struct xml *xml = read_definition(call, call->arguments[0].string, &domain);
    if (!xml) {
        return CALL_FAILED;
    }
    if (domain && domain_active(domain)) {
        xml_free(xml);
        return call_fail(call, ERROR_OPERATION_INVALID, "domain '%s' is already running",
                         call->subject);
    }
    lifecycle_start(domain ? domain : domain_add(xml), xml, flags & START_PAUSED, call, true);
    return CALL_LATER;
}

// --- while it runs -----------------------------------------------------------------------------

static enum outcome not_running(struct call *call) {
    return call_fail(call, ERROR_OPERATION_INVALID,
                     "Requested operation is not valid: domain is not running");
}

static void answered(struct domain *domain, const char *answer, const char *error, void *context) {
    struct call *call = context;

    if (answer) {
        call_finish(call);
    } else {
        call_fail(call, ERROR_OPERATION_FAILED, "the domain '%s': %s", domain->name, error);
    }
}

static enum outcome request(struct call *call, const char *line, vmm_done *done) {
    struct domain *domain = call->arguments[0].domain;

    if (!domain->vmm) {
        return not_running(call);
    }
    vmm_request(domain, line, done, call);
    return CALL_LATER;
}

static enum outcome press_power_button(struct call *call, uint32_t flags, bool restart) {
    if (flags & ~(uint32_t)SHUTDOWN_ACPI) {
        return call_fail(call, ERROR_OPERATION_UNSUPPORTED,
                         "a guest is asked to shut down by ACPI only");
    }
    if (!call->arguments[0].domain->vmm) {
        return not_running(call);
    }
    call->arguments[0].domain->vmm->restart = restart;
    return request(call, "power-button", answered);
}

static enum outcome shut_down(struct call *call) {
    return press_power_button(call, 0, false);
}

static enum outcome shut_down_flags(struct call *call) {
    return press_power_button(call, call->arguments[1].u, false);
}

static enum outcome reboot(struct call *call) {
    return press_power_button(call, call->arguments[1].u, true);
}

static enum outcome reset(struct call *call) {
    return request(call, "reset", answered);
}

static enum outcome inject_nmi(struct call *call) {
    return request(call, "nmi", answered);
}

// Linux's key codes; a client translates names to them.
static enum outcome send_key(struct call *call) {
    enum { CODESET_LINUX = 0, HOLD_MS = 100 };
    const uint32_t codeset = call->arguments[1].u, hold = call->arguments[2].u;
    const uint8_t *keys = call->arguments[3].bytes.data;

    if (codeset != CODESET_LINUX) {
        return call_fail(call, ERROR_OPERATION_UNSUPPORTED,
                         "of key codes only the codeset 'linux' is known");
    }
    char *line = print_string("keys %u", hold ? hold : HOLD_MS);
    for (uint32_t i = 0; i < call->arguments[3].bytes.length; i++) {
        uint32_t key;
        memcpy(&key, keys + 4 * i, sizeof(key));
        char *longer = print_string("%s %u", line, be32toh(key));
        free(line);
        line = longer;
    }
    enum outcome outcome = request(call, line, answered);
    free(line);
    return outcome;
}

// The event says it too, but perhaps after the answer.
static void suspended(struct domain *domain, const char *answer, const char *error, void *context) {
    if (answer) {
        lifecycle_event(domain, "paused");
    }
    answered(domain, answer, error, context);
}

static void resumed(struct domain *domain, const char *answer, const char *error, void *context) {
    if (answer) {
        lifecycle_event(domain, "resumed");
    }
    answered(domain, answer, error, context);
}

static enum outcome suspend(struct call *call) {
    return request(call, "pause", suspended);
}

static enum outcome resume(struct call *call) {
    return request(call, "resume", resumed);
}

// The end of the monitor is the answer. It is asked on until it has ended: one that is killed, too,
// may answer before the signal reaches it.
static void ending(struct domain *domain, const char *answer, const char *error, void *context) {
    struct call *call = context;

    if (answer || strcmp(error, "the machine has ended") == 0) {
        vmm_request(domain, "info", ending, call);
    } else if (strcmp(error, "the monitor has ended") == 0) {
        call_finish(call);
    } else {
        call_fail(call, ERROR_OPERATION_FAILED, "the domain '%s': %s", domain->name, error);
    }
}

static enum outcome destroy(struct call *call) {
    struct domain *domain = call->arguments[0].domain;

    if (!domain->vmm) {
        return not_running(call);
    }
    if (call->arguments[1].u & ~(uint32_t)DESTROY_GRACEFUL) {
        return call_fail(call, ERROR_OPERATION_UNSUPPORTED, "flags %#x of an end",
                         call->arguments[1].u);
    }
    if (call->arguments[1].u) {
        return request(call, "kill", ending);
    }
    domain->vmm->destroyed = true;
    vmm_request(domain, "info", ending, call);
    vmm_kill(domain);
    return CALL_LATER;
}

const struct procedure lifecycle_calls[] = {
    {9, ROLE_OPERATOR, "DOMAIN_CREATE", "D", create},
    {10, ROLE_ADMIN, "DOMAIN_CREATE_XML", "su", create_xml},
    {11, ROLE_ADMIN, "DOMAIN_DEFINE_XML", "s", define},
    {12, ROLE_OPERATOR, "DOMAIN_DESTROY", "D", destroy},
    {27, ROLE_OPERATOR, "DOMAIN_REBOOT", "Du", reboot},
    {28, ROLE_OPERATOR, "DOMAIN_RESUME", "D", resume},
    {29, ROLE_ADMIN, "DOMAIN_SET_AUTOSTART", "Du", set_autostart},
    {33, ROLE_OPERATOR, "DOMAIN_SHUTDOWN", "D", shut_down},
    {34, ROLE_OPERATOR, "DOMAIN_SUSPEND", "D", suspend},
    {35, ROLE_ADMIN, "DOMAIN_UNDEFINE", "D", undefine},
    {196, ROLE_OPERATOR, "DOMAIN_CREATE_WITH_FLAGS", "Du", create_with_flags},
    {210, ROLE_OPERATOR, "DOMAIN_INJECT_NMI", "Du", inject_nmi},
    {226, ROLE_OPERATOR, "DOMAIN_SEND_KEY", "Duunu", send_key},
    {231, ROLE_ADMIN, "DOMAIN_UNDEFINE_FLAGS", "Du", undefine},
    {234, ROLE_OPERATOR, "DOMAIN_DESTROY_FLAGS", "Du", destroy},
    {245, ROLE_OPERATOR, "DOMAIN_RESET", "Du", reset},
    {258, ROLE_OPERATOR, "DOMAIN_SHUTDOWN_FLAGS", "Du", shut_down_flags},
    {350, ROLE_ADMIN, "DOMAIN_DEFINE_XML_FLAGS", "su", define},
    {0},
};
