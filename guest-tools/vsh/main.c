// SPDX-License-Identifier: BSD-2-Clause
// vsh: virsh's verbs on the host's own console, by the same protocol.
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ashlar_version.h>

#include "client.h"
#include "commands.h"
#include "terminal.h"

enum { EXIT_USAGE = 2, LINE = 256 };

static const char usage_text[] =
    "Usage: vsh [--connect PATH] [--prompt] [command]...\n"
    "Steers virtd's domains; without a command, from a prompt. 'vsh help' names the commands.\n"
    "\n"
    "  --connect PATH  virtd's socket (default /run/virtd/virtd.sock)\n"
    "  --prompt        a prompt comes when the command's console is left\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0, 1 a command failed or the attached domain crashed, 2 bad usage.\n";

static int status_of(enum command_end end) {
    return end == COMMAND_FAILED || end == COMMAND_DOMAIN_CRASHED;
}

static int read_commands(struct client *client) {
    char line[LINE], *words[COMMAND_WORDS], *rest;
    enum command_end end = COMMAND_DONE;

    while (end != COMMAND_QUIT && terminal_line("vsh # ", line, sizeof(line))) {
        int count = 0;

        for (char *word = strtok_r(line, " \t", &rest); word && count < COMMAND_WORDS;
             word = strtok_r(NULL, " \t", &rest)) {
            words[count++] = word;
        }
        if (count) {
            end = command_obey(client, words, count);
        }
        if (client->lost) {
            client_reopen(client);
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    static const struct option table[] = {
        {"connect", required_argument, NULL, 'c'},
        {"prompt", no_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {0},
    };
    const char *path = "/run/virtd/virtd.sock";
    bool prompt = false;
    struct client client;
    int option;

    while ((option = getopt_long(argc, argv, "+c:hV", table, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 'p':
            prompt = true;
            break;
        case 'h':
            fputs(usage_text, stdout);
            return 0;
        case 'V':
            puts("vsh (Ashlar) " ASHLAR_VERSION);
            return 0;
        default:
            fputs("Try 'vsh --help'.\n", stderr);
            return EXIT_USAGE;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    // Ctrl-C on a terminal nobody has claimed would be for all that runs there.
    signal(SIGTTOU, SIG_IGN);
    setpgid(0, 0);
    tcsetpgrp(STDIN_FILENO, getpgrp());
    if (!client_open(&client, path)) {
        fprintf(stderr, "vsh: %s\n", client.error);
        return 1;
    }
    if (optind == argc) {
        return read_commands(&client);
    }
    enum command_end end = command_obey(&client, argv + optind, argc - optind);
    return prompt && end == COMMAND_DETACHED ? read_commands(&client) : status_of(end);
}
