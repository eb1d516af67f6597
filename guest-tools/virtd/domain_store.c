// SPDX-License-Identifier: BSD-2-Clause
// UUID.xml: a definition, or what runs. UUID.autostart: an empty file. A file is replaced whole, by
// rename.
#include "domain_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "domain.h"
#include "domain_xml.h"
#include "lifecycle.h"
#include "memory.h"
#include "options.h"

static char *path_of(const char *directory, const struct domain *domain, const char *suffix) {
    char uuid[UUID_TEXT];

    uuid_format(domain->uuid, uuid);
    return print_string("%s/%s.%s", directory, uuid, suffix);
}

static bool write_all(int fd, const uint8_t *data, size_t length) {
    while (length) {
        ssize_t n = write(fd, data, length);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        data += n;
        length -= (size_t)n;
    }
    return true;
}

static bool replace(const char *path, const struct buffer *text) {
    char *draft = print_string("%s.new", path);
    int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool done = fd >= 0 && write_all(fd, text->data, text->length) && fsync(fd) == 0;

    if (fd >= 0) {
        done = close(fd) == 0 && done;
    }
    done = done && rename(draft, path) == 0;
    if (!done) {
        int error = errno;
        unlink(draft);
        errno = error;
    }
    free(draft);
    return done;
}

// `xml` NULL: the file goes.
static bool store(const char *directory, const struct domain *domain, const struct xml *xml) {
    char *path = path_of(directory, domain, "xml");
    struct buffer text = {0};
    bool done;

    if (xml) {
        xml_write(&text, xml, 0);
        done = replace(path, &text);
        buffer_free(&text);
    } else {
        done = unlink(path) == 0 || errno == ENOENT;
    }
    free(path);
    return done;
}

bool store_config(const struct domain *domain) {
    return store(options.state, domain, domain->config);
}

bool store_live(const struct domain *domain) {
    return store(options.run, domain, domain->live);
}

bool store_autostart_flag(const struct domain *domain) {
    char *path = path_of(options.state, domain, "autostart");
    const struct buffer nothing = {0};
    bool done = domain->autostart ? replace(path, &nothing) : unlink(path) == 0 || errno == ENOENT;

    free(path);
    return done;
}

static char *read_file(const char *path, size_t *length) {
    struct buffer text = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;

    while (fd >= 0 && (n = read(fd, buffer_room(&text, 4096), 4096)) > 0) {
        text.length += (size_t)n;
    }
    if (fd >= 0) {
        close(fd);
    }
    *length = text.length;
    return fd >= 0 && n == 0 ? buffer_take_string(&text) : (buffer_free(&text), NULL);
}

static void load_file(const char *path, bool live) {
    enum error_code code;
    char *sentence = NULL;
    size_t length;
    uint8_t uuid[UUID_BYTES];
    char *text = read_file(path, &length);
    // A checked definition no longer says which id it runs by.
    struct xml *raw = text ? xml_parse(text, length, &sentence) : NULL;
    const char *id = raw ? xml_get(raw, "@id") : NULL;
    struct xml *xml = raw ? domain_xml_read(text, length, &code, &sentence) : NULL;

    if (!xml) {
        fprintf(stderr, "virtd: %s is left alone: %s\n", path,
                sentence ? sentence : strerror(errno));
    } else {
        uuid_parse(xml_get(xml, "uuid"), uuid);
        struct domain *domain = domain_by_uuid(uuid);
        domain = domain ? domain : domain_add(xml);
        if (live) {
            domain->live = xml;
            lifecycle_found(domain, id ? atoi(id) : 0);
        } else {
            char *flag = path_of(options.state, domain, "autostart");
            domain->config = xml;
            domain->autostart = access(flag, F_OK) == 0;
            free(flag);
        }
    }
    xml_free(raw);
    free(sentence);
    free(text);
}

static void make_directories(const char *path) {
    char *name = copy_string(path);

    for (char *slash = strchr(name + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(name, 0755);
        *slash = '/';
    }
    mkdir(name, 0700);
    free(name);
}

static void load_directory(const char *directory, bool live) {
    DIR *listing;
    const struct dirent *entry;

    make_directories(directory);
    listing = opendir(directory);
    if (!listing) {
        fprintf(stderr, "virtd: cannot read %s: %s\n", directory, strerror(errno));
        return;
    }
    while ((entry = readdir(listing))) {
        const char *dot = strrchr(entry->d_name, '.');
        if (dot && strcmp(dot, ".xml") == 0) {
            char *path = print_string("%s/%s", directory, entry->d_name);
            load_file(path, live);
            free(path);
        }
    }
    closedir(listing);
}

void store_load(void) {
    load_directory(options.state, false);
    load_directory(options.run, true);
}

void store_autostart(void) {
    char *path = print_string("%s/autostarted", options.run);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    free(path);
    if (fd < 0) {
        return; // by a virtd before this one
    }
    close(fd);
    for (struct domain *domain = domains, *next; domain; domain = next) {
        next = domain->next;
        if (domain->autostart && !domain_active(domain)) {
            lifecycle_start(domain, xml_copy(domain->config), false, NULL, false);
        }
    }
}
