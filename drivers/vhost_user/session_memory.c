// SPDX-License-Identifier: BSD-2-Clause
#include "drivers/vhost_user/session_memory.h"

#include <errno.h>
#include <sys/mman.h>

#include "drivers/vhost_user/shared_mapping.h"

void session_memory_remove(struct vhost_user_session *session, size_t slot) {
    size_t last = --session->memory.count;
    const struct guest_region *region = &session->memory.regions[slot];

    if (session->mappings[slot].mapped)
        session->device->unmap(session->device->device, region->host, region->size);
    shared_mapping_destroy(session->mappings[slot].mapping, session->mappings[slot].mapping_size);
    session->mappings[slot] = session->mappings[last];
    session->memory.regions[slot] = session->memory.regions[last];
}

int session_memory_add(struct vhost_user_session *session, const struct vhost_user_region *region,
                       int fd) {
    size_t slot = session->memory.count;
    uint64_t end;

    if (slot == VHOST_USER_MEM_SLOTS)
        return -ENOSPC;
    if (fd < 0 || !region->size ||
        __builtin_add_overflow(region->mmap_offset, region->size, &end) ||
        region->guest_address + region->size < region->guest_address ||
        region->user_address + region->size < region->user_address)
        return -EINVAL;
    void *mapping = shared_mapping_create(fd, end, &session->memory_lost);
    if (mapping == MAP_FAILED)
        return -errno;
    session->mappings[slot].user_address = region->user_address;
    session->mappings[slot].mapping = mapping;
    session->mappings[slot].mapping_size = end;
    session->memory.regions[slot] =
        (struct guest_region){.address = region->guest_address,
                              .size = region->size,
                              .host = (uint8_t *)mapping + region->mmap_offset};
    session->mappings[slot].mapped =
        session->device->map &&
        session->device->map(session->device->device, session->memory.regions[slot].host,
                             region->size) == 0;
    session->memory.count++;
    return 0;
}

bool session_memory_find(const struct vhost_user_session *session, uint64_t user, uint64_t *guest) {
    for (size_t i = 0; i < session->memory.count; i++) {
        uint64_t offset = user - session->mappings[i].user_address;

        if (user >= session->mappings[i].user_address && offset < session->memory.regions[i].size) {
            *guest = session->memory.regions[i].address + offset;
            return true;
        }
    }
    return false;
}
