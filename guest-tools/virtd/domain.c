// SPDX-License-Identifier: BSD-2-Clause
// The table of domains.
#include "domain.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
