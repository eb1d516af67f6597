// SPDX-License-Identifier: BSD-2-Clause
// The state machine of a domain, driven by what its monitor says.
#include "lifecycle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "call.h"
#include "domain.h"
#include "domain_store.h"
#include "domain_xml.h"
#include "event.h"
#include "memory.h"
#include "resources.h"
#include "vmm.h"

enum { CRASH_DELAY_MS = 1000 };

// A call that waits for its domain to have started.
struct start {
    struct call *call;
    bool paused, reply_domain;
};

static bool policy(const struct domain *domain, const char *name, const char *value) {
    return strcmp(xml_get(domain->live, name), value) == 0;
}

static void change(struct domain *domain, enum domain_state state, unsigned reason,
                   enum lifecycle_event event, unsigned detail) {
    if (domain->state != state) {
        domain_set_state(domain, state, reason);
        event_lifecycle(domain, event, detail);
    }
}

// The last message that the monitor has written: it says why it could not start.
static void read_complaint(const struct domain *domain, char *line, size_t size) {
    char *path = vmm_log_path(domain), text[1024] = "", *last = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0) {
        lseek(fd, -(off_t)(sizeof(text) - 1), SEEK_END); // or, in a short one, the beginning
        ssize_t n = read(fd, text, sizeof(text) - 1);
        text[n > 0 ? n : 0] = '\0';
        close(fd);
    }
    for (char *at = text; (at = strstr(at, "vmm: ")); at++) {
        last = at;
    }
    snprintf(line, size, "%.*s", last ? (int)strcspn(last, "\r\n") : 64,
             last ? last : "the monitor ended");
    free(path);
}

static void set_id(struct domain *domain, int id) {
    char text[16];

    domain->id = id;
    snprintf(text, sizeof(text), "%d", id);
    xml_set(domain->live, "@id", id >= 0 ? text : NULL);
}

static int next_id(void) {
    static int last;

    for (const struct domain *domain = domains; domain; domain = domain->next) {
        last = domain->id > last ? domain->id : last;
    }
    return ++last;
}

// Forgets what ran. A transient domain is gone then.
static void settle(struct domain *domain, unsigned reason, unsigned detail) {
    resources_release(domain);
    vmm_remove_files(domain);
    xml_free(domain->live);
    domain->live = NULL;
    domain->id = -1;
    domain_set_state(domain, STATE_SHUTOFF, reason);
    store_live(domain);
    event_lifecycle(domain, EVENT_STOPPED, detail);
    if (!domain->config) {
        domain_remove(domain);
    }
}

static void started(struct domain *domain, const char *answer, const char *error, void *context) {
    struct start *start = context;
    struct call *call = start->call;
    char complaint[512];

    if (answer) {
        domain->vmm->starting = false;
        domain_set_state(domain, start->paused ? STATE_PAUSED : STATE_RUNNING,
                         start->paused ? PAUSED_USER : RUNNING_BOOTED);
        resources_apply(domain, answer);
        event_lifecycle(domain, EVENT_STARTED, 0);
        if (start->paused) {
            event_lifecycle(domain, EVENT_SUSPENDED, 0);
        }
    }
    if (call && answer) {
        if (start->reply_domain) {
            xdr_put_domain(&call->reply, domain);
        }
        call_finish(call);
    } else if (call) {
        read_complaint(domain, complaint, sizeof(complaint));
        call_fail(call, ERROR_OPERATION_FAILED, "cannot start the domain '%s': %s (%s)",
                  domain->name, complaint, error);
    }
    free(start);
}

// Starts a monitor for what domain->live says.
static bool run(struct domain *domain, struct call *call, bool paused, bool reply_domain,
                unsigned delay) {
    struct start *start;

    domain_set_state(domain, STATE_PAUSED, PAUSED_STARTING_UP);
    vmm_name_channels(domain);
    domain_name_interfaces(domain);
    store_live(domain);
    if (!vmm_spawn(domain, paused, delay)) {
        return false;
    }
    domain->vmm->starting = true;
    start = allocate(sizeof(*start));
    *start = (struct start){.call = call, .paused = paused, .reply_domain = reply_domain};
    vmm_request(domain, "info", started, start);
    return true;
}

void lifecycle_start(struct domain *domain, struct xml *xml, bool paused, struct call *call,
                     bool reply_domain) {
    domain->live = xml;
    set_id(domain, next_id());
    if (!run(domain, call, paused, reply_domain, 0)) {
        if (call) {
            call_fail(call, ERROR_OPERATION_FAILED, "cannot start the domain '%s': %s",
                      domain->name, strerror(errno));
        }
        settle(domain, SHUTOFF_FAILED, STOPPED_FAILED);
    }
}

static void device_removed(struct domain *domain, const char *id) {
    struct xml *device = domain_xml_device(domain->live, id);

    if (device) {
        event_device(domain, EVENT_DEVICE_REMOVED, device_id(device));
        xml_free(device);
        store_live(domain);
    }
}

// A program of the guest has opened the channel, or closed it.
static void set_channel(struct domain *domain, const char *name, bool opened) {
    struct xml *channel = xml_find(domain->live, "devices/channel");

    while (channel && strcmp(xml_get(channel, "target@name"), name) != 0) {
        channel = xml_next(channel);
    }
    if (channel) {
        xml_set(channel, "target@state", opened ? "connected" : "disconnected");
        if (strcmp(name, "org.qemu.guest_agent.0") == 0) {
            event_agent(domain, opened);
        }
    }
}

// Those that are open, by a monitor that no virtd has listened to.
static void find_channels(struct domain *domain, const char *answer) {
    char name[256];

    vmm_name_channels(domain); // none is
    for (; *answer; answer += strcspn(answer, "\n"), answer += *answer == '\n') {
        if (sscanf(answer, "channel=%255[^\n]", name) == 1) {
            set_channel(domain, name, true);
        }
    }
}

// What the guest has let go of while no virtd was there.
static void forget_removed(struct domain *domain, const char *answer) {
    struct xml *next;

    for (struct xml *device = xml_find(domain->live, "devices")->children; device; device = next) {
        char *line = device_id(device) ? print_string("\ndevice=%s\n", device_id(device)) : NULL;

        next = device->next;
        if (line && !strstr(answer, line)) {
            device_removed(domain, device_id(device));
        }
        free(line);
    }
}

static unsigned finding; // monitors that were found and have not answered yet

bool lifecycle_finding(void) {
    return finding;
}

static void found(struct domain *domain, const char *answer, const char *error, void *context) {
    (void)error, (void)context;
    finding--;
    if (answer) {
        bool paused = strstr(answer, "state=paused");
        domain_set_state(domain, paused ? STATE_PAUSED : STATE_RUNNING,
                         paused ? PAUSED_USER : RUNNING_BOOTED);
        resources_apply(domain, answer);
        forget_removed(domain, answer);
        find_channels(domain, answer);
    }
}

void lifecycle_found(struct domain *domain, int id) {
    set_id(domain, id);
    domain_set_state(domain, STATE_RUNNING, 0);
    if (vmm_reconnect(domain)) {
        finding++;
        vmm_request(domain, "info", found, NULL);
    } else {
        settle(domain, SHUTOFF_UNKNOWN, STOPPED_FAILED);
    }
}

// Which vCPUs there are, and by which threads they run.
static void counted(struct domain *domain, const char *answer, const char *error, void *context) {
    (void)error, (void)context;
    if (answer && !domain->vmm->starting) {
        resources_apply(domain, answer);
    }
}

static void panicked(struct domain *domain) {
    domain->vmm->crashed = true;
    change(domain, STATE_CRASHED, 1, EVENT_CRASHED, 0);
    vmm_kill(domain); // on_crash says what follows
}

static void rebooted(struct domain *domain) {
    if (policy(domain, "on_reboot", "restart")) {
        event_reboot(domain);
        vmm_request(domain, "info", counted, NULL);
    } else {
        domain->vmm->powered_off = true;
        vmm_kill(domain);
    }
}

void lifecycle_event(struct domain *domain, const char *name) {
    struct vmm *vmm = domain->vmm;
    static const char removed[] = "device-removed ", kept[] = "device-removal-failed ";
    static const char opened[] = "channel-opened ", closed[] = "channel-closed ";

    if (strncmp(name, removed, strlen(removed)) == 0) {
        device_removed(domain, name + strlen(removed));
    } else if (strncmp(name, kept, strlen(kept)) == 0) {
        event_device(domain, EVENT_DEVICE_REMOVAL_FAILED, name + strlen(kept));
    } else if (strncmp(name, opened, strlen(opened)) == 0) {
        set_channel(domain, name + strlen(opened), true);
    } else if (strncmp(name, closed, strlen(closed)) == 0) {
        set_channel(domain, name + strlen(closed), false);
    } else if (strncmp(name, "cpus ", 5) == 0) {
        vmm_request(domain, "info", counted, NULL);
    } else if (strcmp(name, "powered-off") == 0) {
        vmm->powered_off = true;
        change(domain, STATE_SHUTDOWN, 0, EVENT_SHUTDOWN, SHUTDOWN_FINISHED);
    } else if (strcmp(name, "crashed") == 0) {
        vmm->crashed = true;
    } else if (strcmp(name, "killed") == 0) {
        vmm->destroyed = true;
    } else if (strcmp(name, "panicked") == 0) {
        panicked(domain);
    } else if (strcmp(name, "reboot") == 0) {
        rebooted(domain);
    } else if (strcmp(name, "paused") == 0 && !vmm->starting) {
        change(domain, STATE_PAUSED, PAUSED_USER, EVENT_SUSPENDED, 0);
    } else if (strcmp(name, "resumed") == 0 && !vmm->starting) {
        change(domain, STATE_RUNNING, RUNNING_UNPAUSED, EVENT_RESUMED, 0);
    }
}

void lifecycle_ended(struct domain *domain, const struct vmm *vmm) {
    bool off = vmm->powered_off && !vmm->destroyed;
    bool crashed = !vmm->destroyed && !off;
    bool again =
        !vmm->starting && ((off && (vmm->restart || policy(domain, "on_poweroff", "restart"))) ||
                           (crashed && policy(domain, "on_crash", "restart")));

    // The domain and its id stay over a restart; one that crashes again and again does so slowly.
    if (again && run(domain, NULL, false, false, crashed ? CRASH_DELAY_MS : 0)) {
        event_reboot(domain);
    } else if (vmm->destroyed) {
        settle(domain, SHUTOFF_DESTROYED, STOPPED_DESTROYED);
    } else if (vmm->starting) {
        settle(domain, SHUTOFF_FAILED, STOPPED_FAILED);
    } else if (off) {
        settle(domain, SHUTOFF_SHUTDOWN, STOPPED_SHUTDOWN);
    } else {
        settle(domain, SHUTOFF_CRASHED, STOPPED_CRASHED);
    }
}
