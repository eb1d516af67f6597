// SPDX-License-Identifier: BSD-2-Clause
// What the driver domain has counted, for whoever connects to a socket: lines of Prometheus's text
// format, then the end of the stream.
#pragma once

#include <stdio.h>

// Metric families are written whole, one after the other, by each kind of device.
typedef void (*statistics_writer)(FILE *out);

// Listens at a path from now on; writers ends with NULL. 0, or -1 after a message.
int statistics_start(const char *path, const statistics_writer *writers);
