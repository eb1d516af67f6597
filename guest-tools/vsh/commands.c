// SPDX-License-Identifier: BSD-2-Clause
// Commands are rows: most are one call about one domain. Numbers are those of libvirt's protocol.
#include "commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console.h"

enum {
    DEFINE_XML = 11,
    CREATE = 9,
    GET_XML = 14,
    GET_AUTOSTART = 15,
    GET_INFO = 16,
    SET_AUTOSTART = 29,
    IS_PERSISTENT = 151,
    GET_STATE = 212,
    LIST_ALL = 273,
    ALL_STATS = 344,
};
enum { STATE_SHUTOFF = 5, STATE_CRASHED = 6, SHUTOFF_CRASHED = 3, SHUTOFF_FAILED = 6 };

static const char *const states[] = {"no state",    "running",  "idle",   "paused",
                                     "in shutdown", "shut off", "crashed"};

struct command {
    const char *name, *arguments, *help;
    enum command_end (*obey)(struct client *client, const struct command *command, char **words,
                             int count);
    uint32_t procedure; // of a plain call
    unsigned zeros;     // words of arguments behind the domain
    const char *done;   // what is said then
};

static enum command_end failed(const struct client *client) {
    printf("error: %s\n", client->error);
    return COMMAND_FAILED;
}

// A call about a domain, with a number behind it where `more` says so.
static bool call_domain(struct client *client, uint32_t procedure, const struct domain_name *domain,
                        unsigned more, uint32_t number, struct xdr_reader *reply) {
    struct buffer arguments = {0};

    put_domain_name(&arguments, domain);
    for (unsigned i = 0; i < more; i++) {
        xdr_put_u32(&arguments, number);
    }
    bool done = client_call(client, procedure, &arguments, reply);
    buffer_free(&arguments);
    return done;
}

// Whether an option is among the words.
static bool has_option(char **words, int count, const char *option) {
    while (count-- > 1) {
        if (strcmp(words[count], option) == 0) {
            return true;
        }
    }
    return false;
}

static bool get_state(struct client *client, const struct domain_name *domain, uint32_t *state,
                      uint32_t *reason) {
    struct xdr_reader reply;

    if (!call_domain(client, GET_STATE, domain, 1, 0, &reply)) {
        return false;
    }
    *state = xdr_get_u32(&reply);
    *reason = xdr_get_u32(&reply);
    return true;
}

static const char *state_name(uint32_t state) {
    return states[state < sizeof(states) / sizeof(states[0]) ? state : 0];
}

static enum command_end plain(struct client *client, const struct command *command, char **words,
                              int count) {
    struct domain_name domain;
    struct xdr_reader reply;

    (void)count;
    if (!client_lookup(client, words[1], &domain) ||
        !call_domain(client, command->procedure, &domain, command->zeros, 0, &reply)) {
        return failed(client);
    }
    printf("Domain '%s' %s\n", domain.name, command->done);
    return COMMAND_DONE;
}

static enum command_end list(struct client *client, const struct command *command, char **words,
                             int count) {
    enum { ACTIVE = 1, INACTIVE = 2 };
    struct buffer arguments = {0};
    struct xdr_reader reply;
    struct domain_name *domains;
    uint32_t state, reason;

    (void)command;
    xdr_put_u32(&arguments, 1);
    xdr_put_u32(&arguments, has_option(words, count, "--all")        ? ACTIVE | INACTIVE
                            : has_option(words, count, "--inactive") ? INACTIVE
                                                                     : ACTIVE);
    bool done = client_call(client, LIST_ALL, &arguments, &reply);
    buffer_free(&arguments);
    if (!done) {
        return failed(client);
    }
    uint32_t number = xdr_get_u32(&reply);
    if (number > (size_t)(reply.end - reply.at) / 24 ||
        !(domains = calloc(number + 1, sizeof(*domains)))) {
        number = 0;
        domains = NULL;
    }
    for (uint32_t i = 0; i < number; i++) {
        get_domain_name(&reply, &domains[i]);
    }
    printf(" %-4s %-24s %s\n----------------------------------------\n", "Id", "Name", "State");
    for (uint32_t i = 0; i < number; i++) {
        char id[12] = "-";

        if (domains[i].id >= 0) {
            snprintf(id, sizeof(id), "%d", domains[i].id);
        }
        if (get_state(client, &domains[i], &state, &reason)) {
            printf(" %-4s %-24s %s\n", id, domains[i].name, state_name(state));
        }
    }
    free(domains);
    return COMMAND_DONE;
}

static enum command_end attach(struct client *client, const struct domain_name *domain) {
    uint32_t state, reason;

    printf("Connected to domain '%s'; Ctrl-] leaves it\n", domain->name);
    fflush(stdout);
    enum console_end end = console_attach(client, domain);
    // virtd is started anew, and the domain is still there.
    while (end == CONSOLE_LOST && client_reopen(client)) {
        end = console_attach(client, domain);
    }
    switch (end) {
    case CONSOLE_LOST:
    case CONSOLE_FAILED:
        return failed(client);
    case CONSOLE_DETACHED:
        putchar('\n');
        return COMMAND_DETACHED;
    case CONSOLE_ENDED:
        break;
    }
    // A domain that nobody has defined is gone with its end.
    if (!get_state(client, domain, &state, &reason)) {
        return COMMAND_DOMAIN_ENDED;
    }
    bool crashed =
        state == STATE_CRASHED ||
        (state == STATE_SHUTOFF && (reason == SHUTOFF_CRASHED || reason == SHUTOFF_FAILED));
    return crashed ? COMMAND_DOMAIN_CRASHED : COMMAND_DOMAIN_ENDED;
}

static enum command_end console(struct client *client, const struct command *command, char **words,
                                int count) {
    struct domain_name domain;

    (void)command, (void)count;
    return client_lookup(client, words[1], &domain) ? attach(client, &domain) : failed(client);
}

static enum command_end start(struct client *client, const struct command *command, char **words,
                              int count) {
    struct domain_name domain;
    struct xdr_reader reply;

    (void)command;
    if (!client_lookup(client, words[1], &domain) ||
        !call_domain(client, CREATE, &domain, 0, 0, &reply)) {
        return failed(client);
    }
    printf("Domain '%s' started\n", domain.name);
    return has_option(words, count, "--console") ? attach(client, &domain) : COMMAND_DONE;
}

static enum command_end autostart(struct client *client, const struct command *command,
                                  char **words, int count) {
    bool disable = has_option(words, count, "--disable");
    struct domain_name domain;
    struct xdr_reader reply;

    (void)command;
    if (!client_lookup(client, words[1], &domain) ||
        !call_domain(client, SET_AUTOSTART, &domain, 1, !disable, &reply)) {
        return failed(client);
    }
    printf("Domain '%s' %smarked as autostarted\n", domain.name, disable ? "un" : "");
    return COMMAND_DONE;
}

static enum command_end domstate(struct client *client, const struct command *command, char **words,
                                 int count) {
    struct domain_name domain;
    uint32_t state, reason;

    (void)command, (void)count;
    if (!client_lookup(client, words[1], &domain) || !get_state(client, &domain, &state, &reason)) {
        return failed(client);
    }
    puts(state_name(state));
    return COMMAND_DONE;
}

static enum command_end dominfo(struct client *client, const struct command *command, char **words,
                                int count) {
    struct domain_name domain;
    struct xdr_reader reply;

    (void)command, (void)count;
    if (!client_lookup(client, words[1], &domain) ||
        !call_domain(client, GET_INFO, &domain, 0, 0, &reply)) {
        return failed(client);
    }
    uint32_t state = xdr_get_u32(&reply);
    uint64_t maximum = xdr_get_u64(&reply), memory = xdr_get_u64(&reply);
    uint32_t cpus = xdr_get_u32(&reply);
    uint64_t time = xdr_get_u64(&reply);
    printf("%-15s %d\n%-15s %s\n%-15s ", "Id:", domain.id, "Name:", domain.name, "UUID:");
    for (unsigned i = 0; i < sizeof(domain.uuid); i++) {
        printf("%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", domain.uuid[i]);
    }
    printf("\n%-15s %s\n%-15s %u\n%-15s %.1fs\n%-15s %" PRIu64 " KiB\n%-15s %" PRIu64 " KiB\n",
           "State:", state_name(state), "CPU(s):", cpus, "CPU time:", (double)time / 1e9,
           "Max memory:", maximum, "Used memory:", memory);
    if (call_domain(client, IS_PERSISTENT, &domain, 0, 0, &reply)) {
        printf("%-15s %s\n", "Persistent:", xdr_get_u32(&reply) ? "yes" : "no");
    }
    if (call_domain(client, GET_AUTOSTART, &domain, 0, 0, &reply)) {
        printf("%-15s %s\n", "Autostart:", xdr_get_u32(&reply) ? "enable" : "disable");
    }
    return COMMAND_DONE;
}

static enum command_end domstats(struct client *client, const struct command *command, char **words,
                                 int count) {
    struct buffer arguments = {0};
    struct domain_name domain;
    struct xdr_reader reply;

    (void)command;
    if (count > 1 && !client_lookup(client, words[1], &domain)) {
        return failed(client);
    }
    xdr_put_u32(&arguments, count > 1);
    if (count > 1) {
        put_domain_name(&arguments, &domain);
    }
    xdr_put_u32(&arguments, 0); // all there is
    xdr_put_u32(&arguments, 0);
    bool done = client_call(client, ALL_STATS, &arguments, &reply);
    buffer_free(&arguments);
    if (!done) {
        return failed(client);
    }
    for (uint32_t records = xdr_get_u32(&reply); records && !reply.bad; records--) {
        get_domain_name(&reply, &domain);
        printf("Domain: '%s'\n", domain.name);
        for (uint32_t left = xdr_get_u32(&reply); left && !reply.bad; left--) {
            struct parameter parameter = xdr_get_parameter(&reply);

            if (parameter.type == PARAMETER_STRING) {
                printf("  %s=%s\n", parameter.name, parameter.string);
            } else {
                printf("  %s=%" PRIu64 "\n", parameter.name, parameter.value);
            }
        }
    }
    return COMMAND_DONE;
}

static enum command_end define(struct client *client, const struct command *command, char **words,
                               int count) {
    struct buffer arguments = {0}, text = {0};
    struct domain_name domain;
    struct xdr_reader reply;
    FILE *file = fopen(words[1], "re");
    size_t got;

    (void)command, (void)count;
    if (!file) {
        snprintf(client->error, sizeof(client->error), "cannot read %s", words[1]);
        return failed(client);
    }
    while ((got = fread(buffer_room(&text, 4096), 1, 4096, file)) > 0) {
        text.length += got;
    }
    fclose(file);
    xdr_put_opaque(&arguments, text.data, (uint32_t)text.length);
    bool done = client_call(client, DEFINE_XML, &arguments, &reply);
    buffer_free(&arguments);
    buffer_free(&text);
    if (!done) {
        return failed(client);
    }
    get_domain_name(&reply, &domain);
    printf("Domain '%s' defined from %s\n", domain.name, words[1]);
    return COMMAND_DONE;
}

static enum command_end dumpxml(struct client *client, const struct command *command, char **words,
                                int count) {
    struct domain_name domain;
    struct xdr_reader reply;

    (void)command, (void)count;
    if (!client_lookup(client, words[1], &domain) ||
        !call_domain(client, GET_XML, &domain, 1, 0, &reply)) {
        return failed(client);
    }
    fputs(xdr_get_string(&reply), stdout);
    return COMMAND_DONE;
}

static enum command_end quit(struct client *client, const struct command *command, char **words,
                             int count) {
    (void)client, (void)command, (void)words, (void)count;
    return COMMAND_QUIT;
}

static enum command_end help(struct client *client, const struct command *command, char **words,
                             int count);

static const struct command commands[] = {
    {"list", "[--all] [--inactive]", "domains that run, all, or the others", list, 0, 0, NULL},
    {"start", "DOMAIN [--console]", "start one that is defined", start, 0, 0, NULL},
    {"shutdown", "DOMAIN", "ask its operating system to power off", plain, 33, 0,
     "is being shutdown"},
    {"destroy", "DOMAIN", "end it at once", plain, 12, 0, "destroyed"},
    {"reboot", "DOMAIN", "start its operating system anew", plain, 27, 1, "is being rebooted"},
    {"reset", "DOMAIN", "its reset button", plain, 245, 1, "was reset"},
    {"suspend", "DOMAIN", "let it stand still", plain, 34, 0, "suspended"},
    {"resume", "DOMAIN", "let it go on", plain, 28, 0, "resumed"},
    {"console", "DOMAIN", "its console, on this terminal", console, 0, 0, NULL},
    {"dominfo", "DOMAIN", "what it is", dominfo, 0, 0, NULL},
    {"domstate", "DOMAIN", "whether it runs", domstate, 0, 0, NULL},
    {"domstats", "[DOMAIN]", "what it has used", domstats, 0, 0, NULL},
    {"define", "FILE", "define one from XML", define, 0, 0, NULL},
    {"undefine", "DOMAIN", "forget its definition", plain, 35, 0, "has been undefined"},
    {"dumpxml", "DOMAIN", "its definition", dumpxml, 0, 0, NULL},
    {"autostart", "DOMAIN [--disable]", "start it with the host", autostart, 0, 0, NULL},
    {"help", "", "this", help, 0, 0, NULL},
    {"exit", "", "as quit", quit, 0, 0, NULL},
    {"quit", "", "leave vsh, which on the host's own console powers the host off", quit, 0, 0,
     NULL},
};
enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static enum command_end help(struct client *client, const struct command *command, char **words,
                             int count) {
    (void)client, (void)command, (void)words, (void)count;
    for (unsigned i = 0; i < COMMANDS; i++) {
        printf("  %-10s %-22s %s\n", commands[i].name, commands[i].arguments, commands[i].help);
    }
    return COMMAND_DONE;
}

// Whether the command's arguments are as its row says: "WORD" must be there, "[WORD]" may, "[--x]"
// anywhere. Those that are no options come to stand first.
static bool check_arguments(const struct command *command, char **words, int count) {
    int needed = 0, allowed = 0, given = 0;
    char option[32];

    for (const char *at = command->arguments; *at; at += strcspn(at, " "), at += *at == ' ') {
        allowed += strncmp(at, "[--", 3) != 0;
        needed += *at != '[';
    }
    for (int i = 1; i < count; i++) {
        char *word = words[i];
        snprintf(option, sizeof(option), "[%.28s]", word);
        if (strncmp(word, "--", 2) != 0) {
            given++;
            memmove(&words[given + 1], &words[given], (size_t)(i - given) * sizeof(*words));
            words[given] = word;
        } else if (!strstr(command->arguments, option)) {
            allowed = -1;
        }
    }
    return given >= needed && given <= allowed;
}

enum command_end command_obey(struct client *client, char **words, int count) {
    for (unsigned i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, words[0]) != 0) {
            continue;
        }
        if (!check_arguments(&commands[i], words, count)) {
            printf("error: usage: %s %s\n", commands[i].name, commands[i].arguments);
            return COMMAND_FAILED;
        }
        return commands[i].obey(client, &commands[i], words, count);
    }
    printf("error: unknown command: '%s'; help names all\n", words[0]);
    return COMMAND_FAILED;
}
