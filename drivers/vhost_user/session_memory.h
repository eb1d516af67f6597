// SPDX-License-Identifier: BSD-2-Clause
// The memory that a front end shares with its session. It changes only while no ring is served.
#pragma once

#include "drivers/vhost_user/session.h"

// Maps a region, which lies in fd; the device is granted it, too. 0 or -errno.
int session_memory_add(struct vhost_user_session *session, const struct vhost_user_region *region,
                       int fd);
void session_memory_remove(struct vhost_user_session *session, size_t slot);

// The guest's address of what the front end names by its own. False where it is not shared.
bool session_memory_find(const struct vhost_user_session *session, uint64_t user, uint64_t *guest);
