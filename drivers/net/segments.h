// SPDX-License-Identifier: BSD-2-Clause
// TCP frames longer than a wire takes, as guests send them to each other (virtio 1.2, 5.1.6.2), and
// the frames they are cut into for others.
#pragma once

#include "drivers/net/switch.h"

// Takes over what the frame's sender says of it. False where that is not so, or is no TCP.
bool net_frame_set_segments(struct net_frame *frame, const struct virtio_net_hdr *header);

// The one that begins with the payload's byte at `position`, with a checksum to be filled in. NULL
// where there is no memory.
struct net_frame *net_frame_segment(const struct net_frame *frame, uint32_t position);
