// SPDX-License-Identifier: BSD-2-Clause
// Serves a disk to front ends: vhost-user's device type "blk".
#pragma once

#include "drivers/block/block_device.h"

// Serves a connected front end on the calling thread until it goes; closes the socket.
void block_server_run(struct block_device *disk, unsigned queues, int socket);
