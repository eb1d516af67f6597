// SPDX-License-Identifier: BSD-2-Clause
// Starting a monitor with the arguments that a definition asks for, and nothing else of virtd's.
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "xml.h"

// The arguments, NULL at the end; the caller frees them with monitor_arguments_free.
char **monitor_arguments(const struct xml *xml, const char *socket_path, bool paused);
// The value of --disk or --net for a disk or an interface; the caller frees it.
char *device_value(const struct xml *device);
void monitor_arguments_free(char **arguments);

// Starts options.vmm; what it says goes to the file log_path. Returns its process id, -1: errno
// says why.
pid_t spawn_monitor(const struct xml *xml, const char *socket_path, const char *log_path,
                    bool paused);
