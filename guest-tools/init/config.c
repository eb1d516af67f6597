// SPDX-License-Identifier: BSD-2-Clause
// The configuration file. The loader has already refused unknown keys and malformed lines.
#include "config.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The initcalls left out read certificates, test themselves, and describe probes and trace points,
// which costs more than all drivers together.
#define DEFAULT_CMDLINE                                                                            \
    "console=ttyS0 quiet cryptomgr.notests=1 nokaslr mitigations=off tsc=reliable "                \
    "initcall_blacklist=load_system_certificate_list,init_kprobe_trace,trace_eval_init,"           \
    "crypto_kdf108_init"

static char *trim(char *text) {
    while (isspace((unsigned char)*text)) {
        text++;
    }
    size_t length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1])) {
        text[--length] = '\0';
    }
    return text;
}

static void set(struct config *config, const char *key, const char *value) {
    const struct {
        const char *key;
        char **value;
    } keys[] = {
        {"program", &config->program},
        {"args", &config->args},
        {"guest.cpus", &config->guest_cpus},
        {"guest.memory", &config->guest_memory},
        {"guest.cmdline", &config->guest_cmdline},
        {"guest.devices", &config->guest_devices},
        {"drivers", &config->drivers},
        {"virtd", &config->virtd},
    };

    if (strcmp(key, "autostart") == 0) {
        config->autostart = strcmp(value, "yes") == 0;
        return;
    }
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (strcmp(key, keys[i].key) == 0 && *value) {
            *keys[i].value = strdup(value);
        }
    }
}

void config_read(struct config *config, const char *path) {
    char *line = NULL;
    size_t capacity = 0;
    FILE *file = fopen(path, "re");

    *config = (struct config){.guest_cpus = "1",
                              .guest_memory = "256",
                              .guest_cmdline = DEFAULT_CMDLINE,
                              .autostart = true};
    if (!file) {
        if (errno != ENOENT) {
            printf("init: cannot read %s: %s\n", path, strerror(errno));
        }
        return;
    }
    while (getline(&line, &capacity, file) >= 0) {
        char *equals = strchr(line, '=');
        char *key = trim(line);
        if (*key == '#' || !equals) {
            continue;
        }
        *equals = '\0';
        set(config, trim(key), trim(equals + 1));
    }
    free(line);
    fclose(file);
}
