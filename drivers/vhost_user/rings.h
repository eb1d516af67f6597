// SPDX-License-Identifier: BSD-2-Clause
// The rings of a session: from the front end's word that they are there to buffers served. On the
// session's thread only.
#pragma once

#include "drivers/vhost_user/session.h"

// Begins to serve a ring of which everything is known by now, where the one before left it.
// 0 or -errno.
int ring_start(struct vhost_user_session *session, unsigned index);

// Serves what there is in a ring, up to a bound; queue->busy says whether there is more.
void ring_serve(struct vhost_user_session *session, unsigned index);

// Waits for what is under way. The ring's position is in queue->base then.
void ring_stop(struct vhost_user_session *session, unsigned index);
void rings_stop(struct vhost_user_session *session);

// While the memory changes: rings stop and go on where they stood; `running`, all false, has room
// for VHOST_USER_QUEUES_MAX. One whose memory is gone is not served any more.
void rings_pause(struct vhost_user_session *session, bool *running);
void rings_resume(struct vhost_user_session *session, const bool *running);

// A ring's kick, call or error gets another in its place, -1: none.
void ring_replace_fd(int *fd, int by);
void ring_signal_fd(int fd);
