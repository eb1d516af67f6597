// SPDX-License-Identifier: BSD-2-Clause
// The files that disks are, as libvirt's volumes of one pool; virt-install asks for them by path.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "call.h"
#include "domain.h"
#include "xml.h"

#define POOL "files"
enum { VOLUME_FILE = 0, VOLUME_BLOCK = 1, POOL_RUNNING = 2 };

struct volume {
    int type;
    uint64_t capacity, allocation; // bytes
};

// What there is at a path. False: the call has failed.
static bool find(struct call *call, const char *path, struct volume *volume) {
    struct stat status;

    if (stat(path, &status) < 0 || (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))) {
        call_fail(call, ERROR_NO_STORAGE_VOLUME, "no storage vol with matching path '%s'", path);
        return false;
    }
    *volume = (struct volume){.type = S_ISBLK(status.st_mode) ? VOLUME_BLOCK : VOLUME_FILE,
                              .capacity = (uint64_t)status.st_size,
                              .allocation = (uint64_t)status.st_blocks * 512};
    if (volume->type == VOLUME_BLOCK) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
        volume->capacity = volume->allocation = end > 0 ? (uint64_t)end : 0;
        if (fd >= 0) {
            close(fd);
        }
    }
    return true;
}

static enum outcome lookup_by_path(struct call *call) {
    const char *path = call->arguments[0].string, *slash = strrchr(path, '/');
    struct volume volume;

    if (!find(call, path, &volume)) {
        return CALL_FAILED;
    }
    xdr_put_string(&call->reply, POOL);
    xdr_put_string(&call->reply, slash ? slash + 1 : path);
    xdr_put_string(&call->reply, path); // the key
    return CALL_DONE;
}

// The arguments of a volume: its pool, name, and key, which is the path.
static enum outcome get_info(struct call *call) {
    struct volume volume;

    if (!find(call, call->arguments[2].string, &volume)) {
        return CALL_FAILED;
    }
    xdr_put_u32(&call->reply, (uint32_t)volume.type);
    xdr_put_u64(&call->reply, volume.capacity);
    xdr_put_u64(&call->reply, volume.allocation);
    return CALL_DONE;
}

static void set_bytes(struct xml *xml, const char *path, uint64_t bytes) {
    char text[24];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
    xml_set(xml, path, text);
    xml_set(xml_find(xml, path), "@unit", "bytes");
}

static enum outcome get_xml_desc(struct call *call) {
    const char *path = call->arguments[2].string;
    struct buffer text = {0};
    struct volume volume;

    if (!find(call, path, &volume)) {
        return CALL_FAILED;
    }
    struct xml *xml = xml_add(NULL, "volume", NULL);
    xml_set(xml, "@type", volume.type == VOLUME_BLOCK ? "block" : "file");
    xml_set(xml, "name", call->arguments[1].string);
    xml_set(xml, "key", path);
    set_bytes(xml, "capacity", volume.capacity);
    set_bytes(xml, "allocation", volume.allocation);
    xml_set(xml, "target/path", path);
    xml_set(xml, "target/format@type", "raw");
    xml_write(&text, xml, 0);
    xdr_put_opaque(&call->reply, text.data, (uint32_t)text.length);
    buffer_free(&text);
    xml_free(xml);
    return CALL_DONE;
}

static enum outcome get_path(struct call *call) {
    xdr_put_string(&call->reply, call->arguments[2].string);
    return CALL_DONE;
}

// --- the pool ----------------------------------------------------------------------------------

static const uint8_t pool_uuid[UUID_BYTES] = "files of virtd";

static enum outcome put_pool(struct call *call) {
    xdr_put_string(&call->reply, POOL);
    xdr_put_fixed(&call->reply, pool_uuid, UUID_BYTES);
    return CALL_DONE;
}

static enum outcome get_pool_info(struct call *call) {
    struct statvfs status = {0};

    statvfs("/", &status);
    xdr_put_u32(&call->reply, POOL_RUNNING);
    xdr_put_u64(&call->reply, (uint64_t)status.f_blocks * status.f_frsize);
    xdr_put_u64(&call->reply, (uint64_t)(status.f_blocks - status.f_bfree) * status.f_frsize);
    xdr_put_u64(&call->reply, (uint64_t)status.f_bavail * status.f_frsize);
    return CALL_DONE;
}

static enum outcome get_pool_xml_desc(struct call *call) {
    char uuid[UUID_TEXT], text[256];

    uuid_format(pool_uuid, uuid);
    snprintf(text, sizeof(text),
             "<pool type='dir'>\n  <name>" POOL "</name>\n  <uuid>%s</uuid>\n"
             "  <target>\n    <path>/</path>\n  </target>\n</pool>\n",
             uuid);
    xdr_put_string(&call->reply, text);
    return CALL_DONE;
}

const struct procedure storage_calls[] = {
    {86, ROLE_MONITOR, "STORAGE_POOL_LOOKUP_BY_VOLUME", "sss", put_pool},
    {87, ROLE_MONITOR, "STORAGE_POOL_GET_INFO", "sU", get_pool_info},
    {88, ROLE_MONITOR, "STORAGE_POOL_GET_XML_DESC", "sUu", get_pool_xml_desc},
    {97, ROLE_MONITOR, "STORAGE_VOL_LOOKUP_BY_PATH", "s", lookup_by_path},
    {98, ROLE_MONITOR, "STORAGE_VOL_GET_INFO", "sss", get_info},
    {99, ROLE_MONITOR, "STORAGE_VOL_GET_XML_DESC", "sssu", get_xml_desc},
    {100, ROLE_MONITOR, "STORAGE_VOL_GET_PATH", "sss", get_path},
    {0},
};
