// SPDX-License-Identifier: BSD-2-Clause
// Parsing of the command line, and its defaults.
#include "options.h"

#include <ashlar_version.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2 };

static const char usage_text[] =
    "Usage: virtd [option]...\n"
    "Serves libvirt's clients: qemu+unix:///system?socket=PATH, or through a serial line.\n"
    "\n"
    "  --socket PATH      listens there (default /run/virtd/virtd.sock)\n"
    "  --socket-role ROLE what those may: monitor looks, operator also runs domains that are\n"
    "                     defined, admin (default) does all\n"
    "  --serial PATH      serves clients on that terminal\n"
    "  --serial-role ROLE what those may\n"
    "  --audit PATH       log of all calls that may change something (default: standard error)\n"
    "  --vmm PATH         the program that runs a machine (default /bin/vmm)\n"
    "  --state DIRECTORY  definitions (default /var/lib/virtd)\n"
    "  --run DIRECTORY    what runs (default /run/virtd)\n"
    "  --patience SECONDS how long a monitor may take to answer (default 60)\n"
    "  --help, --version\n";

struct options options = {.socket = "/run/virtd/virtd.sock",
                          .socket_role = ROLE_ADMIN,
                          .serial_role = ROLE_ADMIN,
                          .vmm = "/bin/vmm",
                          .state = "/var/lib/virtd",
                          .run = "/run/virtd",
                          .patience = 60};

static enum role parse_role(const char *name) {
    static const char *const roles[] = {
        [ROLE_MONITOR] = "monitor", [ROLE_OPERATOR] = "operator", [ROLE_ADMIN] = "admin"};

    for (enum role role = ROLE_MONITOR; role <= ROLE_ADMIN; role++) {
        if (strcmp(name, roles[role]) == 0) {
            return role;
        }
    }
    fprintf(stderr, "virtd: '%s' is no role: monitor, operator or admin\n", name);
    exit(EXIT_USAGE);
}

void options_parse(int argc, char **argv) {
    static const struct option table[] = {
        {"socket", required_argument, NULL, 's'},
        {"serial", required_argument, NULL, 't'},
        {"socket-role", required_argument, NULL, 'S'},
        {"serial-role", required_argument, NULL, 'T'},
        {"audit", required_argument, NULL, 'a'},
        {"vmm", required_argument, NULL, 'v'},
        {"state", required_argument, NULL, 'd'},
        {"run", required_argument, NULL, 'r'},
        {"patience", required_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "hV", table, NULL)) != -1) {
        switch (option) {
        case 's':
            options.socket = optarg;
            break;
        case 't':
            options.serial = optarg;
            break;
        case 'S':
            options.socket_role = parse_role(optarg);
            break;
        case 'T':
            options.serial_role = parse_role(optarg);
            break;
        case 'a':
            options.audit = optarg;
            break;
        case 'v':
            options.vmm = optarg;
            break;
        case 'd':
            options.state = optarg;
            break;
        case 'r':
            options.run = optarg;
            break;
        case 'p':
            options.patience = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'h':
            fputs(usage_text, stdout);
            exit(0);
        case 'V':
            puts("virtd (Ashlar) " ASHLAR_VERSION);
            exit(0);
        default: // getopt_long has said what is wrong.
            fputs("Try 'virtd --help'.\n", stderr);
            exit(EXIT_USAGE);
        }
    }
}
