// SPDX-License-Identifier: BSD-2-Clause
// The table of domains.
#include "domain.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain_schema.h"
#include "memory.h"
#include "xdr.h"

struct domain *domains;

struct domain *domain_by_uuid(const uint8_t *uuid) {
    struct domain *domain = domains;

    while (domain && memcmp(domain->uuid, uuid, UUID_BYTES) != 0) {
        domain = domain->next;
    }
    return domain;
}

struct domain *domain_by_name(const char *name) {
    struct domain *domain = domains;

    while (domain && strcmp(domain->name, name) != 0) {
        domain = domain->next;
    }
    return domain;
}

struct domain *domain_by_id(int id) {
    struct domain *domain = domains;

    while (domain && (id < 0 || domain->id != id)) {
        domain = domain->next;
    }
    return domain;
}

const struct xml *domain_xml(const struct domain *domain) {
    return domain->live ? domain->live : domain->config;
}

bool domain_active(const struct domain *domain) {
    return domain->id >= 0;
}

void domain_set_state(struct domain *domain, enum domain_state state, unsigned reason) {
    domain->state = state;
    domain->reason = reason;
}

static bool interface_exists(const char *name) {
    for (const struct domain *domain = domains; domain; domain = domain->next) {
        const struct xml *each = domain->live ? xml_find(domain->live, "devices/interface") : NULL;

        for (; each; each = xml_next(each)) {
            const char *target = xml_get(each, "target@dev");
            if (target && strcmp(target, name) == 0) {
                return true;
            }
        }
    }
    return false;
}

void domain_name_interfaces(struct domain *domain) {
    struct xml *each = xml_find(domain->live, "devices/interface");
    char name[16];

    for (; each; each = xml_next(each)) {
        unsigned number = 0;

        if (xml_get(each, "target@dev")) {
            continue;
        }
        do {
            snprintf(name, sizeof(name), "vnet%u", number++);
        } while (interface_exists(name));
        xml_set(each, "target@dev", name);
        schema_sort(each, "domain/devices/interface");
    }
}

struct domain *domain_add(const struct xml *xml) {
    struct domain *domain = allocate(sizeof(*domain));
    struct domain **at = &domains;

    *domain = (struct domain){
        .name = copy_string(xml_get(xml, "name")), .id = -1, .state = STATE_SHUTOFF};
    uuid_parse(xml_get(xml, "uuid"), domain->uuid);
    while (*at) {
        at = &(*at)->next;
    }
    *at = domain;
    return domain;
}

void domain_remove(struct domain *domain) {
    struct domain **at = &domains;

    while (*at != domain) {
        at = &(*at)->next;
    }
    *at = domain->next;
    xml_free(domain->config);
    xml_free(domain->live);
    free(domain->name);
    free(domain);
}

void uuid_format(const uint8_t *uuid, char text[UUID_TEXT]) {
    for (int i = 0; i < UUID_BYTES; i++) {
        text += sprintf(text, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid[i]);
    }
}

static int hex_digit(char c) {
    return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

bool uuid_parse(const char *text, uint8_t *uuid) {
    int digits = 0;

    for (; *text; text++) {
        if (*text == '-') {
            continue;
        }
        if (!isxdigit((unsigned char)*text) || digits == 2 * UUID_BYTES) {
            return false;
        }
        uuid[digits / 2] = (uint8_t)(uuid[digits / 2] << 4 | hex_digit(*text));
        digits++;
    }
    return digits == 2 * UUID_BYTES;
}

void xdr_put_domain(struct buffer *to, const struct domain *domain) {
    xdr_put_string(to, domain->name);
    xdr_put_fixed(to, domain->uuid, UUID_BYTES);
    xdr_put_u32(to, (uint32_t)domain->id);
}
