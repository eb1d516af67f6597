// SPDX-License-Identifier: BSD-2-Clause
// From the configuration's keys, of which guest.devices has options of vmm, to domain XML.
#include "definition.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "words.h"

#define GUEST_UUID "a51a4000-0000-4000-8000-000000000001"
#define WORDS_MAX  64

static void put_escaped(FILE *to, const char *text) {
    for (; *text; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", to);
            break;
        case '&':
            fputs("&amp;", to);
            break;
        case '\'':
            fputs("&apos;", to);
            break;
        default:
            fputc(*text, to);
        }
    }
}

// before, text, after; nothing where there is no text.
static void put_with(FILE *to, const char *before, const char *text, const char *after) {
    if (text) {
        fputs(before, to);
        put_escaped(to, text);
        fputs(after, to);
    }
}

enum key { PATH, READONLY, VHOST_USER, SOCKET, NUM_QUEUES, MAC, KEYS };

// The values of "key=value,..."; false: a key that has no element.
static bool parse(char *text, char *values[KEYS]) {
    static char *const names[] = {
        [PATH] = "path",     [READONLY] = "readonly",     [VHOST_USER] = "vhost_user",
        [SOCKET] = "socket", [NUM_QUEUES] = "num_queues", [MAC] = "mac",
        [KEYS] = NULL};

    while (*text) {
        char *value;
        int key = getsubopt(&text, names, &value);

        if (key < 0) {
            return false;
        }
        values[key] = value ? value : "";
    }
    return true;
}

static bool put_disk(FILE *to, char *argument) {
    static char letter = 'a';
    char *values[KEYS] = {0};

    if (!parse(argument, values)) {
        return false;
    }
    fprintf(to, "<disk type='%s' device='disk'>", values[SOCKET] ? "vhostuser" : "file");
    put_with(to, "<driver name='qemu' type='raw' queues='", values[NUM_QUEUES], "'/>");
    put_with(to, "<source type='unix' path='", values[SOCKET], "'/>");
    put_with(to, "<source file='", values[PATH], "'/>");
    fprintf(to, "<target dev='vd%c' bus='virtio'/>", letter++);
    if (values[READONLY] && strcmp(values[READONLY], "on") == 0) {
        fputs("<readonly/>", to);
    }
    fputs("</disk>\n", to);
    return true;
}

static bool put_interface(FILE *to, char *argument) {
    static unsigned number;
    char *values[KEYS] = {0};

    if (!parse(argument, values) || values[PATH] || values[READONLY] || values[NUM_QUEUES]) {
        return false;
    }
    fputs("<interface type='vhostuser'>", to);
    put_with(to, "<mac address='", values[MAC], "'/>");
    put_with(to, "<source type='unix' mode='client' path='", values[SOCKET], "'/>");
    fprintf(to, "<target dev='vnet%u'/><model type='virtio'/></interface>\n", number++);
    return true;
}

static bool put_source_of_entropy(FILE *to, char *argument) {
    if (strncmp(argument, "src=", 4) != 0) {
        return false;
    }
    put_with(to, "<rng model='virtio'><backend model='random'>", argument + 4,
             "</backend></rng>\n");
    return true;
}

// Beside the serial port.
static bool put_console(FILE *to, const char *argument) {
    fputs("<console type='null'><target type='virtio' port='1'/></console>\n", to);
    return strcmp(argument, "null") == 0;
}

static bool put_devices(FILE *to, const char *devices) {
    char *words[WORDS_MAX], *buffer;
    int count = words_split(devices ? devices : "", words, WORDS_MAX, &buffer);
    bool done = count >= 0 && count % 2 == 0;

    for (int i = 0; done && i < count; i += 2) {
        done = (strcmp(words[i], "--disk") == 0 && put_disk(to, words[i + 1])) ||
               (strcmp(words[i], "--net") == 0 && put_interface(to, words[i + 1])) ||
               (strcmp(words[i], "--console") == 0 && put_console(to, words[i + 1])) ||
               (strcmp(words[i], "--rng") == 0 && put_source_of_entropy(to, words[i + 1]));
    }
    free(buffer);
    return done;
}

bool definition_write(const struct config *config, const char *directory) {
    char path[256];

    snprintf(path, sizeof(path), "%s/" GUEST_UUID ".xml", directory);
    FILE *to = fopen(path, "we");
    if (!to) {
        printf("init: cannot write %s: %s\n", path, strerror(errno));
        return false;
    }
    fprintf(to,
            "<domain type='kvm'><name>" GUEST_NAME "</name><uuid>" GUEST_UUID
            "</uuid>\n<memory unit='MiB'>%s</memory><vcpu>%s</vcpu>\n",
            config->guest_memory, config->guest_cpus);
    fputs("<os><type arch='x86_64'>hvm</type><kernel>/guest/vmlinuz</kernel>"
          "<initrd>/guest/initrd.img</initrd>",
          to);
    put_with(to, "<cmdline>", config->guest_cmdline, "</cmdline>");
    fputs("</os>\n<devices><serial type='pty'/><console type='pty'/>\n", to);
    bool done = put_devices(to, config->guest_devices);
    fputs("</devices></domain>\n", to);
    fclose(to);
    if (!done) {
        printf("init: guest.devices: only --disk, --net, --rng and --console null, with keys that "
               "libvirt has "
               "too\n");
    }
    return done;
}
