// SPDX-License-Identifier: BSD-2-Clause
// Landlock: what a program may do below which paths, once it has said so of itself (landlock(7)).
// A program's manifest is enforced by it.
#pragma once
#include <linux/landlock.h>
#include <stdint.h>

struct landlock_layer;
struct node;

// A thread's layers, each narrower than those below; NULL: it may do anything. References.
struct landlock_layer *landlock_get(struct landlock_layer *layer);
void landlock_put(struct landlock_layer *layer);

// Whether the current thread may do LANDLOCK_ACCESS_FS_* to `node`, or to a name that is to be
// made in or taken from `directory`; either may be NULL. 0 or -EACCES.
int landlock_check(struct node *node, struct node *directory, uint64_t access);

// Whether it may give the node, whose name is in `from` (NULL: in whatever directory it is now), a
// name in `to`, where it must not gain rights. 0 or -EXDEV.
int landlock_check_refer(struct node *node, struct node *from, struct node *to);
