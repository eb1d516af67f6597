// SPDX-License-Identifier: BSD-2-Clause
// What a definition says that concerns no device: name, title, description, metadata of programs,
// and what follows an end.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain.h"
#include "domain_store.h"
#include "domain_xml.h"
#include "event.h"
#include "impact.h"
#include "memory.h"

enum { METADATA_DESCRIPTION, METADATA_TITLE, METADATA_ELEMENT }; // virDomainMetadataType

// --- metadata ----------------------------------------------------------------------------------

// The element of <metadata> with that namespace, and its prefix.
static struct xml *find_element(const struct xml *domain, const char *uri, const char **prefix) {
    struct xml *metadata = xml_find(domain, "metadata");

    for (struct xml *node = metadata ? metadata->children : NULL; node; node = node->next) {
        for (const struct xml_attribute *a = node->attributes; a; a = a->next) {
            if (strncmp(a->name, "xmlns:", 6) == 0 && strcmp(a->value, uri) == 0) {
                *prefix = a->name + 6;
                return node;
            }
        }
    }
    return NULL;
}

static char *name_without(const char *name, const char *prefix) {
    size_t length = strlen(prefix);

    return copy_string(strncmp(name, prefix, length) == 0 && name[length] == ':' ? name + length + 1
                                                                                 : name);
}

// Gives the elements of a tree the prefix, where they have none, or takes it from them.
static void set_prefix(struct xml *node, const char *prefix, bool give) {
    char *name = give && !strchr(node->name, ':') ? print_string("%s:%s", prefix, node->name)
                 : give                           ? copy_string(node->name)
                                                  : name_without(node->name, prefix);

    free(node->name);
    node->name = name;
    for (struct xml *child = node->children; child; child = child->next) {
        set_prefix(child, prefix, give);
    }
}

static char *element_text(const struct xml *domain, const char *uri) {
    const char *prefix;
    const struct xml *node = find_element(domain, uri, &prefix);
    struct buffer text = {0};

    if (!node) {
        return NULL;
    }
    struct xml *copy = xml_copy(node);
    char *declaration = print_string("@xmlns:%s", prefix);
    set_prefix(copy, prefix, false);
    xml_set(copy, declaration, NULL);
    xml_write(&text, copy, 0);
    free(declaration);
    xml_free(copy);
    return buffer_take_string(&text);
}

// kind, uri, flags
static enum outcome get_metadata(struct call *call) {
    const struct domain *domain = call->arguments[0].domain;
    const struct xml *xml = call->arguments[3].u & AFFECT_CONFIG && domain->config
                                ? domain->config
                                : domain_xml(domain);
    const char *uri = call->arguments[2].string, *found = NULL;
    char *element = NULL;

    if (call->arguments[1].u == METADATA_ELEMENT && uri) {
        found = element = element_text(xml, uri);
    } else if (call->arguments[1].u <= METADATA_TITLE) {
        found = xml_get(xml, call->arguments[1].u == METADATA_TITLE ? "title" : "description");
    }
    if (!found) {
        return call_fail(call, ERROR_NO_DOMAIN_METADATA, "the domain '%s' has no such metadata",
                         call->subject);
    }
    xdr_put_string(&call->reply, found);
    free(element);
    return CALL_DONE;
}

// A program's element, declared under its prefix; NULL: the call has failed.
static struct xml *read_element(struct call *call, const char *text, const char *prefix,
                                const char *uri) {
    char *sentence = NULL;
    struct xml *element = xml_parse(text, strlen(text), &sentence);

    if (!element) {
        call_fail(call, ERROR_XML, "%s", sentence);
        free(sentence);
        return NULL;
    }
    char *declaration = print_string("@xmlns:%s", prefix);
    set_prefix(element, prefix, true);
    xml_set(element, declaration, uri);
    free(declaration);
    return element;
}

static void change_metadata(struct xml *domain, uint32_t kind, const char *text,
                            const struct xml *element, const char *uri) {
    const char *prefix;

    if (kind != METADATA_ELEMENT) {
        xml_set(domain, kind == METADATA_TITLE ? "title" : "description",
                text && *text ? text : NULL);
        return;
    }
    xml_free(find_element(domain, uri, &prefix));
    if (element) {
        struct xml *metadata = xml_find(domain, "metadata");
        metadata = metadata ? metadata : xml_add(domain, "metadata", NULL);
        xml_insert(metadata, xml_copy(element));
    }
}

// kind, text (absent: removed), prefix, uri, flags
static enum outcome set_metadata(struct call *call) {
    struct domain *domain = call->arguments[0].domain;
    uint32_t kind = call->arguments[1].u, impact = affected(call, call->arguments[5].u);
    const char *text = call->arguments[2].string, *prefix = call->arguments[3].string;
    const char *uri = call->arguments[4].string;
    struct xml *element = NULL;

    if (!impact) {
        return CALL_FAILED;
    }
    if (kind > METADATA_ELEMENT ||
        (kind == METADATA_ELEMENT && (!uri || (text && (!prefix || !*prefix))))) {
        return call_fail(call, ERROR_INVALID_ARG, "metadata of kind %u needs a key and a URI",
                         kind);
    }
    if (kind == METADATA_ELEMENT && text && !(element = read_element(call, text, prefix, uri))) {
        return CALL_FAILED;
    }
    struct xml *trial = xml_copy(domain_xml(domain));
    change_metadata(trial, kind, text, element, uri);
    bool readable = domain_xml_is_readable(trial);
    xml_free(trial);
    if (!readable) {
        xml_free(element);
        return call_fail(call, ERROR_INVALID_ARG, "that cannot stand in a definition");
    }
    if (impact & AFFECT_LIVE) {
        change_metadata(domain->live, kind, text, element, uri);
    }
    if (impact & AFFECT_CONFIG) {
        change_metadata(domain->config, kind, text, element, uri);
    }
    xml_free(element);
    event_metadata(domain, kind, uri);
    return store_impact(call, impact) ? CALL_DONE : CALL_FAILED;
}

// --- the rest ----------------------------------------------------------------------------------

static enum outcome rename_domain(struct call *call) {
    struct domain *domain = call->arguments[0].domain;
    const char *name = call->arguments[1].string;

    if (domain_active(domain) || !domain->config) {
        return call_fail(call, ERROR_OPERATION_INVALID,
                         "only a domain that is defined and does not run can be renamed");
    }
    if (!name || !*name || strpbrk(name, "/\t\r\n") || strlen(name) > 255) {
        return call_fail(call, ERROR_INVALID_ARG, "a name is one line, without '/'");
    }
    if (domain_by_name(name)) {
        return call_fail(call, ERROR_OPERATION_INVALID, "domain with name '%s' already exists",
                         name);
    }
    char *before = copy_string(domain->name);
    xml_set(domain->config, "name", name);
    errno = EINVAL;
    if (!domain_xml_is_readable(domain->config) || !store_config(domain)) {
        int error = errno;
        xml_set(domain->config, "name", before);
        free(before);
        return call_fail(call, ERROR_SYSTEM, "cannot store the definition: %s", strerror(error));
    }
    event_lifecycle(domain, EVENT_UNDEFINED, UNDEFINED_RENAMED);
    free(domain->name);
    domain->name = copy_string(name);
    event_lifecycle(domain, EVENT_DEFINED, DEFINED_RENAMED);
    free(before);
    xdr_put_u32(&call->reply, 0);
    return CALL_DONE;
}

// Which end (virDomainLifecycle), what follows (virDomainLifecycleAction), flags.
static enum outcome set_lifecycle_action(struct call *call) {
    static const char *const ends[] = {"on_poweroff", "on_reboot", "on_crash"};
    static const char *const actions[] = {"destroy", "restart"};
    struct domain *domain = call->arguments[0].domain;
    uint32_t end = call->arguments[1].u, action = call->arguments[2].u;
    uint32_t impact = affected(call, call->arguments[3].u);

    if (!impact) {
        return CALL_FAILED;
    }
    if (end >= 3 || action >= 2) {
        return call_fail(call, ERROR_CONFIG_UNSUPPORTED,
                         "an end is followed by destroy or restart");
    }
    if (impact & AFFECT_LIVE) {
        xml_set(domain->live, ends[end], actions[action]);
    }
    if (impact & AFFECT_CONFIG) {
        xml_set(domain->config, ends[end], actions[action]);
    }
    return store_impact(call, impact) ? CALL_DONE : CALL_FAILED;
}

// Seconds, flags. The driver is asked to report whenever somebody asks here.
static enum outcome set_memory_stats_period(struct call *call) {
    struct domain *domain = call->arguments[0].domain;
    uint32_t impact = affected(call, call->arguments[2].u);
    struct xml *definitions[] = {impact & AFFECT_LIVE ? domain->live : NULL,
                                 impact & AFFECT_CONFIG ? domain->config : NULL};
    char period[12];

    if (!impact) {
        return CALL_FAILED;
    }
    snprintf(period, sizeof(period), "%u", call->arguments[1].u);
    for (unsigned i = 0; i < 2; i++) {
        if (definitions[i] &&
            strcmp(xml_get(definitions[i], "devices/memballoon@model"), "none") == 0) {
            return call_fail(call, ERROR_OPERATION_INVALID, "the domain has no balloon");
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        if (definitions[i]) {
            xml_set(definitions[i], "devices/memballoon/stats@period",
                    call->arguments[1].u ? period : NULL);
        }
    }
    return store_impact(call, impact) ? CALL_DONE : CALL_FAILED;
}

const struct procedure definition_calls[] = {
    {264, ROLE_ADMIN, "DOMAIN_SET_METADATA", "Duooou", set_metadata},
    {265, ROLE_MONITOR, "DOMAIN_GET_METADATA", "Duou", get_metadata},
    {308, ROLE_ADMIN, "DOMAIN_SET_MEMORY_STATS_PERIOD", "Duu", set_memory_stats_period},
    {358, ROLE_ADMIN, "DOMAIN_RENAME", "Dou", rename_domain},
    {390, ROLE_ADMIN, "DOMAIN_SET_LIFECYCLE_ACTION", "Duuu", set_lifecycle_action},
    {0},
};
