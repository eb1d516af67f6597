// SPDX-License-Identifier: BSD-2-Clause
// From a definition to the monitor's command line. A monitor gets no descriptor but standard input,
// which is empty, and its log.
#define _GNU_SOURCE
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain_xml.h"
#include "memory.h"
#include "options.h"

struct arguments {
    char **words;
    unsigned count;
};

static void add(struct arguments *arguments, char *word) {
    arguments->words =
        reallocate(arguments->words, (arguments->count + 2) * sizeof(*arguments->words));
    arguments->words[arguments->count++] = word;
    arguments->words[arguments->count] = NULL;
}

// An option, and its value where the definition has one.
static void add_option(struct arguments *arguments, const char *option, char *value) {
    if (value) {
        add(arguments, copy_string(option));
        add(arguments, value);
    }
}

static bool is(const struct xml *node, const char *path, const char *value) {
    const char *actual = node ? xml_get(node, path) : NULL;

    return actual && strcmp(actual, value) == 0;
}

char *device_value(const struct xml *device) {
    const char *id = device_id(device), *queues = xml_get(device, "driver@queues");

    if (strcmp(device->name, "interface") == 0) {
        const char *mtu = xml_get(device, "mtu@size");

        return print_string("vhost_user=true,socket=%s,mac=%s%s%s,id=%s",
                            xml_get(device, "source@path"), id, mtu ? ",mtu=" : "", mtu ? mtu : "",
                            id);
    }
    if (is(device, "@type", "vhostuser")) {
        return print_string("vhost_user=true,socket=%s,num_queues=%s,id=%s",
                            xml_get(device, "source@path"), queues ? queues : "1", id);
    }
    const char *path = xml_get(device, is(device, "@type", "file") ? "source@file" : "source@dev");
    return print_string("path=%s%s,id=%s", path, xml_find(device, "readonly") ? ",readonly=on" : "",
                        id);
}

static void add_devices(struct arguments *arguments, const struct xml *xml) {
    const struct xml *devices = xml_find(xml, "devices");

    for (const struct xml *device = devices->children; device; device = device->next) {
        if (strcmp(device->name, "disk") == 0) {
            add_option(arguments, "--disk", device_value(device));
        } else if (strcmp(device->name, "interface") == 0) {
            add_option(arguments, "--net", device_value(device));
        } else if (strcmp(device->name, "channel") == 0) {
            add_option(arguments, "--channel",
                       print_string("name=%s,socket=%s", xml_get(device, "target@name"),
                                    xml_get(device, "source@path")));
        }
    }
    if (xml_find(devices, "input")) {
        add(arguments, copy_string("--keyboard"));
    }
    const char *source = xml_get(devices, "rng/backend");
    add_option(arguments, "--rng", source ? print_string("src=%s", source) : copy_string("off"));
    if (!is(devices, "memballoon@model", "none")) {
        add_option(
            arguments, "--balloon",
            print_string(
                "size=%lluK%s%s",
                (unsigned long long)(domain_memory(xml) - domain_current_memory(xml)) & ~3ull,
                is(devices, "memballoon@autodeflate", "on") ? ",deflate_on_oom=on" : "",
                is(devices, "memballoon@freePageReporting", "on") ? ",free_page_reporting=on"
                                                                  : ""));
    }
    add_option(arguments, "--serial", copy_string(xml_find(devices, "serial") ? "api" : "null"));
    if (is(devices, "console/target@type", "virtio")) {
        add_option(arguments, "--console", copy_string("api"));
    } else if (xml_find(devices, "console") && xml_next(xml_find(devices, "console"))) {
        add_option(arguments, "--console", copy_string("null"));
    }
}

char **monitor_arguments(const struct xml *xml, const char *socket_path, bool paused) {
    struct arguments arguments = {0};

    add(&arguments, copy_string(options.vmm));
    add(&arguments, copy_string("--landlock"));
    add_option(&arguments, "--api-socket", copy_string(socket_path));
    add_option(&arguments, "--kernel", copy_string(xml_get(xml, "os/kernel")));
    add_option(&arguments, "--initrd", copy_string(xml_get(xml, "os/initrd")));
    add_option(&arguments, "--cmdline", copy_string(xml_get(xml, "os/cmdline")));
    add_option(&arguments, "--cpus",
               print_string("boot=%u,max=%u", domain_vcpus(xml), domain_max_vcpus(xml)));
    add_option(&arguments, "--memory",
               print_string("%lluK", (unsigned long long)domain_memory(xml)));
    add_devices(&arguments, xml);
    if (paused) {
        add(&arguments, copy_string("--paused"));
    }
    return arguments.words;
}

void monitor_arguments_free(char **arguments) {
    for (unsigned i = 0; arguments[i]; i++) {
        free(arguments[i]);
    }
    free(arguments);
}

pid_t spawn_monitor(const struct xml *xml, const char *socket_path, const char *log_path,
                    bool paused) {
    static char *const environment[] = {"PATH=/bin", NULL};
    char **arguments = monitor_arguments(xml, socket_path, paused);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, standard;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, log_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    posix_spawnattr_init(&attributes);
    sigemptyset(&none);
    sigemptyset(&standard);
    sigaddset(&standard, SIGPIPE);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &standard);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    int error = posix_spawn(&pid, options.vmm, &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    monitor_arguments_free(arguments);
    errno = error;
    return error ? -1 : pid;
}
