// SPDX-License-Identifier: BSD-2-Clause
// The files of a control group, as its directory has them.
#pragma once
#include "core/file/text_file.h"

struct cgroup_file {
    struct text_file text; // for the group, of which each has a reference
    unsigned controller;   // whose it is; 0: every group's
    bool in_root;
};

enum { CGROUP_SETTINGS = 10 };
extern const struct cgroup_file cgroup_settings[CGROUP_SETTINGS];

void cgroup_put_object(void *cgroup); // cgroup_put
