// SPDX-License-Identifier: BSD-2-Clause
// The connection itself, and what it can list.
#include <stdio.h>
#include <string.h>

#include "capabilities.h"
#include "call.h"
#include "domain.h"
#include "session.h"

// virDrvFeature of libvirt: what the client asks of the server.
enum {
    FEATURE_TYPED_PARAM_STRING = 9,
    FEATURE_PROGRAM_KEEPALIVE = 10,
    FEATURE_REMOTE_EVENT_CALLBACK = 14,
    FEATURE_REMOTE_CLOSE_CALLBACK = 15,
};
// Flags of LIST_ALL_DOMAINS, in pairs of which either or both may be asked for.
enum {
    LIST_ACTIVE = 1 << 0,
    LIST_INACTIVE = 1 << 1,
    LIST_PERSISTENT = 1 << 2,
    LIST_TRANSIENT = 1 << 3,
    LIST_RUNNING = 1 << 4,
    LIST_PAUSED = 1 << 5,
    LIST_SHUTOFF = 1 << 6,
    LIST_OTHER = 1 << 7,
    LIST_MANAGED_SAVE = 1 << 8,
    LIST_NO_MANAGED_SAVE = 1 << 9,
    LIST_AUTOSTART = 1 << 10,
    LIST_NO_AUTOSTART = 1 << 11,
    LIST_SNAPSHOT = 1 << 12,
    LIST_NO_SNAPSHOT = 1 << 13,
    LIST_CHECKPOINT = 1 << 14,
    LIST_NO_CHECKPOINT = 1 << 15,
};

static enum outcome nothing(struct call *call) {
    (void)call;
    return CALL_DONE;
}

static enum outcome zero(struct call *call) {
    xdr_put_u32(&call->reply, 0);
    return CALL_DONE;
}

// An empty list, and its length once more.
static enum outcome empty_list(struct call *call) {
    xdr_put_u32(&call->reply, 0);
    xdr_put_u32(&call->reply, 0);
    return CALL_DONE;
}

static enum outcome auth_list(struct call *call) {
    xdr_put_u32(&call->reply, 1);
    xdr_put_u32(&call->reply, 0); // none is needed
    return CALL_DONE;
}

static enum outcome supports_feature(struct call *call) {
    uint32_t feature = call->arguments[0].u;

    xdr_put_u32(&call->reply, feature == FEATURE_TYPED_PARAM_STRING ||
                                  feature == FEATURE_PROGRAM_KEEPALIVE ||
                                  feature == FEATURE_REMOTE_EVENT_CALLBACK ||
                                  feature == FEATURE_REMOTE_CLOSE_CALLBACK);
    return CALL_DONE;
}

static enum outcome connect_open(struct call *call) {
    session_find(call->session)->opened = true;
    return CALL_DONE;
}

// What the client had open goes with it, but on a serial line the connection remains.
static enum outcome connect_close(struct call *call) {
    session_find(call->session)->opened = false;
    return CALL_DONE;
}

static enum outcome get_type(struct call *call) {
    xdr_put_string(&call->reply, "QEMU"); // what clients of qemu:/// expect
    return CALL_DONE;
}

static enum outcome get_version(struct call *call) {
    xdr_put_u64(&call->reply, HYPERVISOR_VERSION);
    return CALL_DONE;
}

static enum outcome get_library_version(struct call *call) {
    xdr_put_u64(&call->reply, LIBVIRT_VERSION);
    return CALL_DONE;
}

static enum outcome get_uri(struct call *call) {
    xdr_put_string(&call->reply, "qemu:///system");
    return CALL_DONE;
}

static enum outcome get_max_vcpus(struct call *call) {
    xdr_put_u32(&call->reply, VCPUS_MAX);
    return CALL_DONE;
}

static enum outcome get_capabilities(struct call *call) {
    struct buffer text = {0};

    capabilities_print(&text);
    xdr_put_opaque(&call->reply, text.data, (uint32_t)text.length);
    buffer_free(&text);
    return CALL_DONE;
}

// emulator, architecture, machine, virtualization type: absent, or what we have
static enum outcome get_domain_capabilities(struct call *call) {
    const char *architecture = call->arguments[1].string;
    const char *type = call->arguments[3].string;
    struct buffer text = {0};

    if ((architecture && strcmp(architecture, "x86_64") != 0) ||
        (type && strcmp(type, "kvm") != 0)) {
        return call_fail(call, ERROR_INVALID_ARG, "only domains of type kvm on x86_64 run here");
    }
    domain_capabilities_print(&text);
    xdr_put_opaque(&call->reply, text.data, (uint32_t)text.length);
    buffer_free(&text);
    return CALL_DONE;
}

// A filter of two opposite flags: both or none let all pass.
static bool passes(uint32_t flags, uint32_t yes, uint32_t no, bool is) {
    return !(flags & (yes | no)) || (flags & (is ? yes : no));
}

static bool listed(const struct domain *domain, uint32_t flags) {
    uint32_t state = domain->state == STATE_RUNNING   ? LIST_RUNNING
                     : domain->state == STATE_PAUSED  ? LIST_PAUSED
                     : domain->state == STATE_SHUTOFF ? LIST_SHUTOFF
                                                      : LIST_OTHER;
    const uint32_t states = LIST_RUNNING | LIST_PAUSED | LIST_SHUTOFF | LIST_OTHER;

    return passes(flags, LIST_ACTIVE, LIST_INACTIVE, domain_active(domain)) &&
           passes(flags, LIST_PERSISTENT, LIST_TRANSIENT, domain->config) &&
           (!(flags & states) || (flags & state)) &&
           passes(flags, LIST_MANAGED_SAVE, LIST_NO_MANAGED_SAVE, false) &&
           passes(flags, LIST_AUTOSTART, LIST_NO_AUTOSTART, domain->autostart) &&
           passes(flags, LIST_SNAPSHOT, LIST_NO_SNAPSHOT, false) &&
           passes(flags, LIST_CHECKPOINT, LIST_NO_CHECKPOINT, false);
}

// Writes a count and what `put` writes of each domain that the flags let pass; returns the count.
static uint32_t put_list(struct buffer *to, uint32_t flags, uint32_t most,
                         void (*put)(struct buffer *to, const struct domain *domain)) {
    struct buffer list = {0};
    uint32_t count = 0;

    for (const struct domain *domain = domains; domain && count < most; domain = domain->next) {
        if (listed(domain, flags)) {
            put(&list, domain);
            count++;
        }
    }
    xdr_put_u32(to, count);
    buffer_append(to, list.data, list.length);
    buffer_free(&list);
    return count;
}

static void put_id(struct buffer *to, const struct domain *domain) {
    xdr_put_u32(to, (uint32_t)domain->id);
}

static void put_name(struct buffer *to, const struct domain *domain) {
    xdr_put_string(to, domain->name);
}

static enum outcome list_all_domains(struct call *call) {
    xdr_put_u32(&call->reply,
                put_list(&call->reply, call->arguments[1].u, UINT32_MAX, xdr_put_domain));
    return CALL_DONE;
}

static enum outcome list_domains(struct call *call) {
    put_list(&call->reply, LIST_ACTIVE, call->arguments[0].u, put_id);
    return CALL_DONE;
}

static enum outcome list_defined_domains(struct call *call) {
    put_list(&call->reply, LIST_INACTIVE, call->arguments[0].u, put_name);
    return CALL_DONE;
}

static enum outcome count_domains(struct call *call, uint32_t flags) {
    struct buffer list = {0};

    xdr_put_u32(&call->reply, put_list(&list, flags, UINT32_MAX, put_id));
    buffer_free(&list);
    return CALL_DONE;
}

static enum outcome num_of_domains(struct call *call) {
    return count_domains(call, LIST_ACTIVE);
}

static enum outcome num_of_defined_domains(struct call *call) {
    return count_domains(call, LIST_INACTIVE);
}

static enum outcome put_found(struct call *call, const struct domain *domain, const char *key) {
    if (!domain) {
        return call_fail(call, ERROR_NO_DOMAIN, "Domain not found: no domain with matching %s",
                         key);
    }
    xdr_put_domain(&call->reply, domain);
    return CALL_DONE;
}

static enum outcome lookup_by_id(struct call *call) {
    return put_found(call, domain_by_id(call->arguments[0].i), "id");
}

static enum outcome lookup_by_uuid(struct call *call) {
    return put_found(call, domain_by_uuid(call->arguments[0].uuid), "uuid");
}

static enum outcome lookup_by_name(struct call *call) {
    char key[256];

    snprintf(key, sizeof(key), "name '%s'", call->arguments[0].string);
    return put_found(call, domain_by_name(call->arguments[0].string), key);
}

static enum outcome no_network(struct call *call) {
    return call_fail(call, ERROR_NO_NETWORK,
                     "Network not found: no network with matching name '%s'",
                     call->arguments[0].string);
}

static enum outcome no_pool(struct call *call) {
    return call_fail(call, ERROR_NO_STORAGE_POOL,
                     "Storage pool not found: no storage pool with matching name '%s'",
                     call->arguments[0].string);
}

static enum outcome no_node_device(struct call *call) {
    return call_fail(call, ERROR_NO_NODE_DEVICE,
                     "Node device not found: no node device with matching name '%s'",
                     call->arguments[0].string);
}

// Networks, storage pools, interfaces, node devices, filters and secrets: there are none.
const struct procedure connect_calls[] = {
    {1, ROLE_MONITOR, "CONNECT_OPEN", "ou", connect_open},
    {2, ROLE_MONITOR, "CONNECT_CLOSE", "", connect_close},
    {3, ROLE_MONITOR, "CONNECT_GET_TYPE", "", get_type},
    {4, ROLE_MONITOR, "CONNECT_GET_VERSION", "", get_version},
    {5, ROLE_MONITOR, "CONNECT_GET_MAX_VCPUS", "o", get_max_vcpus},
    {7, ROLE_MONITOR, "CONNECT_GET_CAPABILITIES", "", get_capabilities},
    {21, ROLE_MONITOR, "CONNECT_LIST_DEFINED_DOMAINS", "u", list_defined_domains},
    {22, ROLE_MONITOR, "DOMAIN_LOOKUP_BY_ID", "u", lookup_by_id},
    {23, ROLE_MONITOR, "DOMAIN_LOOKUP_BY_NAME", "s", lookup_by_name},
    {24, ROLE_MONITOR, "DOMAIN_LOOKUP_BY_UUID", "U", lookup_by_uuid},
    {25, ROLE_MONITOR, "CONNECT_NUM_OF_DEFINED_DOMAINS", "", num_of_defined_domains},
    {36, ROLE_MONITOR, "CONNECT_LIST_DEFINED_NETWORKS", "u", zero},
    {37, ROLE_MONITOR, "CONNECT_LIST_DOMAINS", "u", list_domains},
    {38, ROLE_MONITOR, "CONNECT_LIST_NETWORKS", "u", zero},
    {46, ROLE_MONITOR, "NETWORK_LOOKUP_BY_NAME", "s", no_network},
    {50, ROLE_MONITOR, "CONNECT_NUM_OF_DEFINED_NETWORKS", "", zero},
    {51, ROLE_MONITOR, "CONNECT_NUM_OF_DOMAINS", "", num_of_domains},
    {52, ROLE_MONITOR, "CONNECT_NUM_OF_NETWORKS", "", zero},
    {60, ROLE_MONITOR, "CONNECT_SUPPORTS_FEATURE", "u", supports_feature},
    {66, ROLE_MONITOR, "AUTH_LIST", "", auth_list},
    {71, ROLE_MONITOR, "CONNECT_NUM_OF_STORAGE_POOLS", "", zero},
    {73, ROLE_MONITOR, "CONNECT_NUM_OF_DEFINED_STORAGE_POOLS", "", zero},
    {84, ROLE_MONITOR, "STORAGE_POOL_LOOKUP_BY_NAME", "s", no_pool},
    {110, ROLE_MONITOR, "CONNECT_GET_URI", "", get_uri},
    {111, ROLE_MONITOR, "NODE_NUM_OF_DEVICES", "ou", zero},
    {112, ROLE_MONITOR, "NODE_LIST_DEVICES", "ouu", zero},
    {113, ROLE_MONITOR, "NODE_DEVICE_LOOKUP_BY_NAME", "s", no_node_device},
    {149, ROLE_MONITOR, "CONNECT_IS_SECURE", "", zero},
    {157, ROLE_MONITOR, "CONNECT_GET_LIB_VERSION", "", get_library_version},
    {273, ROLE_MONITOR, "CONNECT_LIST_ALL_DOMAINS", "uu", list_all_domains},
    {281, ROLE_MONITOR, "CONNECT_LIST_ALL_STORAGE_POOLS", "uu", empty_list},
    {283, ROLE_MONITOR, "CONNECT_LIST_ALL_NETWORKS", "uu", empty_list},
    {284, ROLE_MONITOR, "CONNECT_LIST_ALL_INTERFACES", "uu", empty_list},
    {285, ROLE_MONITOR, "CONNECT_LIST_ALL_NODE_DEVICES", "uu", empty_list},
    {286, ROLE_MONITOR, "CONNECT_LIST_ALL_NWFILTERS", "uu", empty_list},
    {287, ROLE_MONITOR, "CONNECT_LIST_ALL_SECRETS", "uu", empty_list},
    {342, ROLE_MONITOR, "CONNECT_GET_DOMAIN_CAPABILITIES", "oooou", get_domain_capabilities},
    {360, ROLE_MONITOR, "CONNECT_REGISTER_CLOSE_CALLBACK", "", nothing},
    {361, ROLE_MONITOR, "CONNECT_UNREGISTER_CLOSE_CALLBACK", "", nothing},
    {401, ROLE_MONITOR, "CONNECT_LIST_ALL_NWFILTER_BINDINGS", "uu", empty_list},
    {0},
};
