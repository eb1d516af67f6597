// SPDX-License-Identifier: BSD-2-Clause
// Reading of key=value lists.
#include "device_options.h"

#include <stdlib.h>
#include <string.h>

#define QUEUES_MAX       16u
#define NET_QUEUES_MAX   14u // and the control queue
#define MTU_MIN          68u // RFC 791
#define MTU_MAX          65535u
#define CHANNEL_NAME_MAX 63u // of libvirt's too

static bool parse_switch(const char *option, const char *key, const char *value) {
    static const char *const yes[] = {"on", "true"}, *const no[] = {"off", "false"};

    for (size_t i = 0; value && i < 2; i++) {
        if (strcmp(value, yes[i]) == 0 || strcmp(value, no[i]) == 0) {
            return strcmp(value, yes[i]) == 0;
        }
    }
    usage_error("%s: %s must be on or off", option, key);
}

static const char *parse_text(const char *option, const char *key, const char *value) {
    if (!value || !*value) {
        usage_error("%s: %s needs a value", option, key);
    }
    return value;
}

static unsigned parse_count(const char *option, const char *key, const char *value, unsigned most) {
    char *end = NULL;
    unsigned long count = value ? strtoul(value, &end, 10) : 0;

    if (!value || end == value || *end || count < 1 || count > most) {
        usage_error("%s: %s must be 1 to %u", option, key, most);
    }
    return (unsigned)count;
}

static void check_socket(const char *option, bool vhost_user, const char *socket) {
    if (vhost_user != (socket != NULL)) {
        usage_error("%s: vhost_user=true and socket=PATH go together", option);
    }
}

void parse_disk(struct options *options, char *argument) {
    enum { PATH, READONLY, VHOST_USER, SOCKET, NUM_QUEUES, PACKED, ID };
    static char *const keys[] = {"path",       "readonly", "vhost_user", "socket",
                                 "num_queues", "packed",   "id",         NULL};
    struct disk_options disk = {.queues = 1, .fd = -1};
    bool vhost_user = false;
    char *value;

    while (*argument) {
        switch (getsubopt(&argument, keys, &value)) {
        case PATH:
            disk.path = parse_text("--disk", "path", value);
            break;
        case READONLY:
            disk.read_only = parse_switch("--disk", "readonly", value);
            break;
        case VHOST_USER:
            vhost_user = parse_switch("--disk", "vhost_user", value);
            break;
        case SOCKET:
            disk.socket = parse_text("--disk", "socket", value);
            break;
        case NUM_QUEUES:
            disk.queues = parse_count("--disk", "num_queues", value, QUEUES_MAX);
            break;
        case PACKED:
            disk.packed = parse_switch("--disk", "packed", value);
            break;
        case ID:
            disk.id = parse_text("--disk", "id", value);
            break;
        default:
            usage_error("--disk: '%s' is not known", value);
        }
    }
    check_socket("--disk", vhost_user, disk.socket);
    if (!disk.path == !disk.socket) {
        usage_error("--disk: needs either path=FILE or vhost_user=true,socket=PATH");
    }
    if (options->disk_count == OPTIONS_DISKS_MAX) {
        usage_error("--disk: more than %d", OPTIONS_DISKS_MAX);
    }
    options->disks[options->disk_count++] = disk;
}

static int hex_byte(const char *text) {
    char digits[3] = {text[0], text[0] ? text[1] : '\0', '\0'};
    char *end;
    unsigned long byte = strtoul(digits, &end, 16);

    return end == digits + 2 ? (int)byte : -1;
}

static void parse_mac(uint8_t mac[6], const char *text) {
    bool good = text && strlen(text) == 17;

    for (int i = 0; good && i < 6; i++) {
        int byte = hex_byte(text + 3 * i);

        good = byte >= 0 && (i == 5 || text[3 * i + 2] == ':');
        mac[i] = (uint8_t)byte;
    }
    if (!good || mac[0] & 1) { // a group address is nobody's own
        usage_error("--net: mac must be an address such as 52:54:00:12:34:56");
    }
}

void parse_net(struct options *options, char *argument) {
    enum { VHOST_USER, SOCKET, MAC, MTU, NUM_QUEUES, ID };
    static char *const keys[] = {"vhost_user", "socket", "mac", "mtu", "num_queues", "id", NULL};
    struct net_options net = {.mac = {0x52, 0x54, 0, 0, 0, (uint8_t)options->net_count},
                              .queues = 2};
    bool vhost_user = false;
    char *value;

    while (*argument) {
        switch (getsubopt(&argument, keys, &value)) {
        case VHOST_USER:
            vhost_user = parse_switch("--net", "vhost_user", value);
            break;
        case SOCKET:
            net.socket = parse_text("--net", "socket", value);
            break;
        case MAC:
            parse_mac(net.mac, value);
            break;
        case MTU:
            net.mtu = (uint16_t)parse_count("--net", "mtu", value, MTU_MAX);
            break;
        case NUM_QUEUES:
            net.queues = parse_count("--net", "num_queues", value, NET_QUEUES_MAX);
            break;
        case ID:
            net.id = parse_text("--net", "id", value);
            break;
        default:
            usage_error("--net: '%s' is not known", value);
        }
    }
    check_socket("--net", vhost_user, net.socket);
    if (!net.socket || net.queues % 2) {
        usage_error("--net: needs vhost_user=true,socket=PATH, and an even num_queues");
    }
    if (net.mtu && net.mtu < MTU_MIN) {
        usage_error("--net: mtu must be %u to %u", MTU_MIN, MTU_MAX);
    }
    if (options->net_count == OPTIONS_NETS_MAX) {
        usage_error("--net: more than %d", OPTIONS_NETS_MAX);
    }
    options->nets[options->net_count++] = net;
}

void parse_channel(struct options *options, char *argument) {
    enum { NAME, SOCKET };
    static char *const keys[] = {"name", "socket", NULL};
    struct channel_options channel = {.listener = -1};
    char *value;

    while (*argument) {
        switch (getsubopt(&argument, keys, &value)) {
        case NAME:
            channel.name = parse_text("--channel", "name", value);
            break;
        case SOCKET:
            channel.socket = parse_text("--channel", "socket", value);
            break;
        default:
            usage_error("--channel: '%s' is not known", value);
        }
    }
    if (!channel.name || !channel.socket || strlen(channel.name) > CHANNEL_NAME_MAX) {
        usage_error("--channel: needs name=NAME, of at most %u bytes, and socket=PATH",
                    CHANNEL_NAME_MAX);
    }
    if (options->channel_count == OPTIONS_CHANNELS_MAX) {
        usage_error("--channel: more than %d", OPTIONS_CHANNELS_MAX);
    }
    options->channels[options->channel_count++] = channel;
}

void parse_rng(struct options *options, char *argument) {
    static char *const keys[] = {"src", NULL};
    char *value;

    if (strcmp(argument, "off") == 0) {
        options->rng = NULL;
        return;
    }
    while (*argument) {
        if (getsubopt(&argument, keys, &value) != 0) {
            usage_error("--rng: '%s' is not known", value);
        }
        options->rng = parse_text("--rng", "src", value);
    }
}

void parse_balloon(struct options *options, char *argument) {
    enum { SIZE, DEFLATE_ON_OOM, FREE_PAGE_REPORTING };
    static char *const keys[] = {"size", "deflate_on_oom", "free_page_reporting", NULL};
    char *value;

    options->balloon = (struct balloon_options){.present = true};
    while (*argument) {
        switch (getsubopt(&argument, keys, &value)) {
        case SIZE:
            options->balloon.bytes =
                parse_size("--balloon", parse_text("--balloon", "size", value));
            break;
        case DEFLATE_ON_OOM:
            options->balloon.deflate_on_oom = parse_switch("--balloon", "deflate_on_oom", value);
            break;
        case FREE_PAGE_REPORTING:
            options->balloon.free_page_reporting =
                parse_switch("--balloon", "free_page_reporting", value);
            break;
        default:
            usage_error("--balloon: '%s' is not known", value);
        }
    }
}
