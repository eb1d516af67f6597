// SPDX-License-Identifier: BSD-2-Clause
// A request to each monitor and a connection to the driver domain, all at once.
#define _GNU_SOURCE
#include "statistics.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "domain.h"
#include "domain_xml.h"
#include "loop.h"
#include "memory.h"
#include "vmm.h"

enum { PATIENCE_MS = 8000, CHUNK = 16384 };

struct sample {
    struct sample *next;
    uint8_t uuid[UUID_BYTES];
    char *answer;
};

struct snapshot {
    unsigned outstanding;
    bool done_called;
    struct timer patience;
    struct watch drivers; // the driver domain; fd -1: it has answered, or there is none
    struct buffer drivers_text;
    struct sample *samples;
    void (*done)(const struct snapshot *snapshot, void *context);
    void *context;
};

static void finish(struct snapshot *snapshot) {
    if (!snapshot->done_called) {
        snapshot->done_called = true;
        timer_stop(&snapshot->patience);
        snapshot->done(snapshot, snapshot->context);
    }
    if (snapshot->outstanding) {
        return; // who answers late finds it here
    }
    while (snapshot->samples) {
        struct sample *sample = snapshot->samples;
        snapshot->samples = sample->next;
        free(sample->answer);
        free(sample);
    }
    buffer_free(&snapshot->drivers_text);
    free(snapshot);
}

static void arrived(struct snapshot *snapshot) {
    if (--snapshot->outstanding == 0) {
        finish(snapshot);
    }
}

static void expired(struct timer *timer) {
    finish((struct snapshot *)((char *)timer - offsetof(struct snapshot, patience)));
}

static void take_answer(struct domain *domain, const char *answer, const char *error,
                        void *context) {
    struct snapshot *snapshot = context;

    (void)error;
    if (answer) {
        struct sample *sample = allocate(sizeof(*sample));
        memcpy(sample->uuid, domain->uuid, UUID_BYTES);
        sample->answer = copy_string(answer);
        sample->next = snapshot->samples;
        snapshot->samples = sample;
    }
    arrived(snapshot);
}

static void take_drivers(struct watch *watch, uint32_t events) {
    struct snapshot *snapshot =
        (struct snapshot *)((char *)watch - offsetof(struct snapshot, drivers));
    struct buffer *text = &snapshot->drivers_text;
    ssize_t n = recv(watch->fd, buffer_room(text, CHUNK), CHUNK, MSG_DONTWAIT);

    (void)events;
    if (n > 0) {
        text->length += (size_t)n;
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        loop_remove(watch);
        close(watch->fd);
        arrived(snapshot);
    }
}

static void ask_drivers(struct snapshot *snapshot) {
    const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = DRIVERS_SOCKET};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    snapshot->drivers = (struct watch){.fd = fd, .ready = take_drivers};
    snapshot->outstanding++;
    loop_add(&snapshot->drivers, EPOLLIN);
}

void statistics_gather(struct domain *domain,
                       void (*done)(const struct snapshot *snapshot, void *context),
                       void *context) {
    struct snapshot *snapshot = allocate(sizeof(*snapshot));

    *snapshot = (struct snapshot){
        .outstanding = 1, .patience = {.expired = expired}, .done = done, .context = context};
    ask_drivers(snapshot);
    for (struct domain *each = domains; each; each = each->next) {
        if ((!domain || each == domain) && each->vmm && !each->vmm->starting) {
            snapshot->outstanding++;
            vmm_request(each, "statistics", take_answer, snapshot);
        }
    }
    timer_start(&snapshot->patience, PATIENCE_MS);
    arrived(snapshot);
}

// --- what monitors say --------------------------------------------------------------------------

static const char *answer_of(const struct snapshot *snapshot, const struct domain *domain) {
    for (const struct sample *sample = snapshot->samples; sample; sample = sample->next) {
        if (memcmp(sample->uuid, domain->uuid, UUID_BYTES) == 0) {
            return sample->answer;
        }
    }
    return "";
}

uint64_t snapshot_number(const struct snapshot *snapshot, const struct domain *domain,
                         uint64_t fallback, const char *format, ...) {
    char key[128];
    va_list args;

    va_start(args, format);
    vsnprintf(key, sizeof(key), format, args);
    va_end(args);
    answer_number(answer_of(snapshot, domain), key, &fallback);
    return fallback;
}

void snapshot_each_counter(const struct snapshot *snapshot, const struct domain *domain,
                           unsigned vcpu,
                           void (*visit)(const char *name, uint64_t value, void *context),
                           void *context) {
    char prefix[32], name[64];
    int length = snprintf(prefix, sizeof(prefix), "vcpu.%u.", vcpu);
    unsigned long long value;

    for (const char *line = answer_of(snapshot, domain); *line;
         line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, prefix, (size_t)length) == 0 &&
            sscanf(line + length, "%63[^=\n]=%llu", name, &value) == 2 &&
            strcmp(name, "time") != 0 && strcmp(name, "wait") != 0 && strcmp(name, "cpu") != 0) {
            visit(name, value, context);
        }
    }
}

uint64_t snapshot_cpu_time(const struct snapshot *snapshot, const struct domain *domain) {
    uint64_t time = 0;

    for (unsigned i = 0; domain->vmm && i < domain->vmm->vcpus; i++) {
        time += snapshot_number(snapshot, domain, 0, "vcpu.%u.time", i);
    }
    return time;
}

uint64_t snapshot_memory(const struct snapshot *snapshot, const struct domain *domain) {
    uint64_t kib = domain_current_memory(domain_xml(domain));

    return snapshot_number(snapshot, domain, kib * 1024, "balloon.current") / 1024;
}

// --- devices -------------------------------------------------------------------------------------

const struct xml *first_device(const struct domain *domain, const char *device) {
    const struct xml *devices = xml_find(domain_xml(domain), "devices");

    return devices ? xml_find(devices, device) : NULL;
}

const char *device_source(const struct xml *device) {
    static const char *const paths[] = {"source@path", "source@file", "source@dev"};

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (xml_get(device, paths[i])) {
            return xml_get(device, paths[i]);
        }
    }
    return "";
}

bool device_is_called(const struct xml *device, const char *name) {
    const char *target = xml_get(device, "target@dev"), *mac = xml_get(device, "mac@address");

    return (target && strcmp(target, name) == 0) || (mac && strcasecmp(mac, name) == 0) ||
           strcmp(device_source(device), name) == 0;
}

// A value of the driver domain: the line that begins with these words.
static double drivers_value(const struct snapshot *snapshot, const char *format, ...) {
    char series[512];
    va_list args;

    va_start(args, format);
    int length = vsnprintf(series, sizeof(series), format, args);
    va_end(args);
    const char *end = (const char *)snapshot->drivers_text.data + snapshot->drivers_text.length;
    const char *line = (const char *)snapshot->drivers_text.data;
    while (line && line < end) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        if (newline && newline - line > length && memcmp(line, series, (size_t)length) == 0) {
            return strtod(line + length, NULL); // ends at the newline
        }
        line = newline ? newline + 1 : NULL;
    }
    return 0;
}

static bool is_vhost_user(const struct xml *device) {
    return strcmp(xml_get(device, "@type"), "vhostuser") == 0;
}

// Among the disks that the monitor serves.
static unsigned number_of(const struct domain *domain, const struct xml *disk) {
    unsigned number = 0;

    for (const struct xml *other = first_device(domain, "disk"); other && other != disk;
         other = xml_next(other)) {
        number += !is_vhost_user(other);
    }
    return number;
}

uint64_t snapshot_block_errors(const struct snapshot *snapshot, const struct domain *domain,
                               const struct xml *disk) {
    static const struct {
        const char *monitors, *operation;
    } sources[] = {{"rd", "read"}, {"wr", "write"}, {"fl", "flush"}};
    uint64_t sum = 0;

    for (unsigned i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        sum += is_vhost_user(disk)
                   ? (uint64_t)drivers_value(
                         snapshot, "drivers_disk_errors_total{disk=\"%s\",operation=\"%s\"} ",
                         device_source(disk), sources[i].operation)
                   : snapshot_number(snapshot, domain, 0, "block.%u.%s.errors",
                                     number_of(domain, disk), sources[i].monitors);
    }
    return sum;
}

void snapshot_block(const struct snapshot *snapshot, const struct domain *domain,
                    const struct xml *disk, uint64_t counters[BLOCK_COUNTERS]) {
    static const struct {
        const char *monitors, *metric, *operation;
        double unit;
    } sources[BLOCK_COUNTERS] = {
        {"rd.reqs", "requests", "read", 1},   {"rd.bytes", "bytes", "read", 1},
        {"rd.times", "seconds", "read", 1e9}, {"wr.reqs", "requests", "write", 1},
        {"wr.bytes", "bytes", "write", 1},    {"wr.times", "seconds", "write", 1e9},
        {"fl.reqs", "requests", "flush", 1},  {"fl.times", "seconds", "flush", 1e9},
    };
    const unsigned number = number_of(domain, disk);

    for (unsigned i = 0; i < BLOCK_COUNTERS; i++) {
        counters[i] =
            is_vhost_user(disk)
                ? (uint64_t)(sources[i].unit *
                             drivers_value(
                                 snapshot, "drivers_disk_%s_total{disk=\"%s\",operation=\"%s\"} ",
                                 sources[i].metric, device_source(disk), sources[i].operation))
                : snapshot_number(snapshot, domain, 0, "block.%u.%s", number, sources[i].monitors);
    }
}

void snapshot_net(const struct snapshot *snapshot, const struct xml *interface,
                  uint64_t counters[NET_COUNTERS]) {
    static const char *const names[NET_COUNTERS] = {"rx_bytes",   "rx_packets", "rx_errors",
                                                    "rx_dropped", "tx_bytes",   "tx_packets",
                                                    "tx_errors",  "tx_dropped"};

    for (unsigned i = 0; i < NET_COUNTERS; i++) {
        counters[i] = (uint64_t)drivers_value(snapshot, "drivers_net_%s_total{port=\"%s\"} ",
                                              names[i], device_source(interface));
    }
}
