// SPDX-License-Identifier: BSD-2-Clause
// The schema of domain XML: which elements, attributes and values there are, and their order.
#pragma once

#include <stdbool.h>

#include "packet.h"
#include "xml.h"

// What a check has found wrong.
struct refusal {
    enum error_code code;
    char *sentence;
};

// Notes what is wrong. Returns false.
bool refuse(struct refusal *refusal, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Whether the schema has all of a node below `parent`, "" for the document's root. Text that is
// only layout goes.
bool schema_check(struct xml *node, const char *parent, struct refusal *refusal);

// Brings all below the node, whose path is `parent`, into the schema's order, which is libvirt's;
// those of one name keep theirs.
void schema_sort(struct xml *node, const char *parent);
