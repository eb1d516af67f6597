// SPDX-License-Identifier: BSD-2-Clause
// What is known of a domain.
#include <string.h>

#include "call.h"
#include "domain.h"
#include "domain_xml.h"

enum { XML_INACTIVE = 1 << 1 };

static enum outcome put_one(struct call *call, uint32_t value) {
    xdr_put_u32(&call->reply, value);
    return CALL_DONE;
}

static enum outcome get_xml_desc(struct call *call) {
    const struct domain *domain = call->arguments[0].domain;
    struct buffer text = {0};

    if ((call->arguments[1].u & XML_INACTIVE) && domain->config) {
        xml_write(&text, domain->config, 0);
    } else {
        struct xml *xml = xml_copy(domain_xml(domain));
        if (domain->live) {
            domain_xml_set_aliases(xml);
        }
        xml_write(&text, xml, 0);
        xml_free(xml);
    }
    xdr_put_opaque(&call->reply, text.data, (uint32_t)text.length);
    buffer_free(&text);
    return CALL_DONE;
}

static enum outcome get_state(struct call *call) {
    const struct domain *domain = call->arguments[0].domain;

    xdr_put_u32(&call->reply, domain->state);
    xdr_put_u32(&call->reply, domain->reason);
    return CALL_DONE;
}

static enum outcome get_os_type(struct call *call) {
    xdr_put_string(&call->reply, "hvm");
    return CALL_DONE;
}

static enum outcome is_active(struct call *call) {
    return put_one(call, domain_active(call->arguments[0].domain));
}

static enum outcome is_persistent(struct call *call) {
    return put_one(call, call->arguments[0].domain->config != NULL);
}

static enum outcome get_autostart(struct call *call) {
    return put_one(call, call->arguments[0].domain->autostart);
}

// There are no managed save images, snapshots, checkpoints, I/O threads, messages; and no job runs.
static enum outcome none(struct call *call) {
    return put_one(call, 0);
}

static enum outcome empty_list(struct call *call) {
    xdr_put_u32(&call->reply, 0);
    return put_one(call, 0);
}

static enum outcome get_max_memory(struct call *call) {
    xdr_put_u64(&call->reply, domain_memory(domain_xml(call->arguments[0].domain)));
    return CALL_DONE;
}

static enum outcome get_control_info(struct call *call) {
    xdr_put_u32(&call->reply, 0); // the monitor answers
    xdr_put_u32(&call->reply, 0);
    xdr_put_u64(&call->reply, 0);
    return CALL_DONE;
}

static enum outcome get_job_info(struct call *call) {
    enum { TIMES_AND_SIZES = 11 };

    xdr_put_u32(&call->reply, 0); // none
    for (int i = 0; i < TIMES_AND_SIZES; i++) {
        xdr_put_u64(&call->reply, 0);
    }
    return CALL_DONE;
}

static enum outcome abort_job(struct call *call) {
    return call_fail(call, ERROR_OPERATION_INVALID,
                     "Requested operation is not valid: no job is active on the domain");
}

static enum outcome no_snapshot(struct call *call) {
    return call_fail(call, ERROR_NO_DOMAIN_SNAPSHOT,
                     "Domain snapshot not found: no domain snapshot with matching name '%s'",
                     call->arguments[1].string);
}

const struct procedure domain_calls[] = {
    {14, ROLE_MONITOR, "DOMAIN_GET_XML_DESC", "Du", get_xml_desc},
    {15, ROLE_MONITOR, "DOMAIN_GET_AUTOSTART", "D", get_autostart},
    {17, ROLE_MONITOR, "DOMAIN_GET_MAX_MEMORY", "D", get_max_memory},
    {19, ROLE_MONITOR, "DOMAIN_GET_OS_TYPE", "D", get_os_type},
    {150, ROLE_MONITOR, "DOMAIN_IS_ACTIVE", "D", is_active},
    {151, ROLE_MONITOR, "DOMAIN_IS_PERSISTENT", "D", is_persistent},
    {163, ROLE_MONITOR, "DOMAIN_GET_JOB_INFO", "D", get_job_info},
    {164, ROLE_OPERATOR, "DOMAIN_ABORT_JOB", "D", abort_job},
    {183, ROLE_MONITOR, "DOMAIN_HAS_MANAGED_SAVE_IMAGE", "Du", none},
    {187, ROLE_MONITOR, "DOMAIN_SNAPSHOT_NUM", "Du", none},
    {189, ROLE_MONITOR, "DOMAIN_SNAPSHOT_LOOKUP_BY_NAME", "Dsu", no_snapshot},
    {190, ROLE_MONITOR, "DOMAIN_HAS_CURRENT_SNAPSHOT", "Du", none},
    {202, ROLE_MONITOR, "DOMAIN_IS_UPDATED", "D", none},
    {212, ROLE_MONITOR, "DOMAIN_GET_STATE", "Du", get_state},
    {229, ROLE_MONITOR, "DOMAIN_GET_CONTROL_INFO", "Du", get_control_info},
    {274, ROLE_MONITOR, "DOMAIN_LIST_ALL_SNAPSHOTS", "Duu", empty_list},
    {351, ROLE_MONITOR, "DOMAIN_GET_IOTHREAD_INFO", "Du", empty_list},
    {413, ROLE_MONITOR, "DOMAIN_LIST_ALL_CHECKPOINTS", "Duu", empty_list},
    {426, ROLE_MONITOR, "DOMAIN_GET_MESSAGES", "Du", none},
    {0},
};
