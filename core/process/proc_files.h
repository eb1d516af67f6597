// SPDX-License-Identifier: BSD-2-Clause
// /proc/<tid>.
#pragma once

// From now on /proc, which root_init has made, has a directory for each thread that is asked for.
void proc_files_init(void);
// /proc/self/pagemap, where programs are to know it. After root_init.
void pagemap_register(void);
