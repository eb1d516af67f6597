// SPDX-License-Identifier: BSD-2-Clause
// What a session notes of each queue's requests in flight, in the record that its front end keeps.
#pragma once

#include "drivers/vhost_user/session.h"

// Bytes of one queue's record, for the features negotiated.
size_t record_size(uint64_t features, uint16_t queue_size);

// A queue that starts: finds its record, goes on where that stands and prepares the replay of what
// a back end before had taken. 0 or -EINVAL.
int record_open(struct vhost_user_session *session, unsigned index);

// The next request to replay, into session->buffer. As virtqueue_pop.
int record_next(struct vhost_user_session *session, struct vhost_user_queue *queue);

// session->buffer was popped, or was not taken after all. 0 or -EPROTO.
int record_begin(struct vhost_user_session *session, struct vhost_user_queue *queue);
void record_cancel(struct vhost_user_session *session, struct vhost_user_queue *queue);

// Gives a buffer back.
void record_push(struct vhost_user_queue *queue, const struct virtqueue_buffer *buffer,
                 uint32_t written);
