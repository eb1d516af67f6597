// SPDX-License-Identifier: BSD-2-Clause
// How a poll method registers whoever polls: poll(2) adds a waiter for its thread, epoll one for
// its item.
#pragma once

struct wait_queue;

struct poll_table {
    void (*add)(struct poll_table *table, struct wait_queue *queue);
};
