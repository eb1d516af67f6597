// SPDX-License-Identifier: BSD-2-Clause
// stat of nodes and files.
#pragma once
#include <asm/stat.h>
#include "core/file/node.h"

void node_status(struct node *node, struct stat *status);
