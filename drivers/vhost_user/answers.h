// SPDX-License-Identifier: BSD-2-Clause
// What a back end answers to each message.
#pragma once

#include "drivers/vhost_user/session.h"

// Carries out a request and answers it where an answer is wanted. The fds that it does not take are
// the caller's to close. -errno ends the session.
int vhost_user_answer(struct vhost_user_session *session, struct vhost_user_message *message);
