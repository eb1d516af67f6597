// SPDX-License-Identifier: BSD-2-Clause
// eventfd(2), and its kernel-side users: ioeventfd signals it, irqfd and epoll listen on it.
#pragma once
#include <stdint.h>
#include "core/file/file.h"
#include "core/sched/wait.h"

struct eventfd;
// The eventfd behind an fd with a reference on its file (file_put(*file) when done); NULL: not an
// eventfd.
struct eventfd *eventfd_get(int fd, struct file **file);
// Adds to the counter and wakes; never waits, saturates. Any context but under a wait-queue lock of
// the same eventfd.
void eventfd_signal(struct eventfd *eventfd, uint64_t count);
// Reads and clears without waiting; 0: was empty. Takes no lock and wakes nobody, so a waiter's
// callback may call it (a writer blocked on a full counter is woken by the next read only; as
// Linux' irqfd).
uint64_t eventfd_take(struct eventfd *eventfd);
struct wait_queue *eventfd_queue(struct eventfd *eventfd);
