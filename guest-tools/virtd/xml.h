// SPDX-License-Identifier: BSD-2-Clause
// XML documents as trees. Comments, processing instructions and blank text go; document types are
// refused.
#pragma once

#include <stddef.h>

#include "buffer.h"

struct xml_attribute {
    struct xml_attribute *next;
    char *name, *value;
};

struct xml {
    struct xml *parent, *next, *children;
    char *name;
    char *text; // NULL: none
    struct xml_attribute *attributes;
    unsigned line;
};

// Returns NULL and a sentence, which the caller frees, where the text is not one whole document.
struct xml *xml_parse(const char *text, size_t length, char **error);
struct xml *xml_copy(const struct xml *node);
void xml_free(struct xml *node); // unlinks it from its parent
void xml_write(struct buffer *to, const struct xml *node, unsigned depth);

// Paths: "os/kernel" is an element, the first of its name; "vcpu@current" an attribute, "@id" one
// of the node itself.
struct xml *xml_find(const struct xml *node, const char *path);
struct xml *xml_next(const struct xml *node); // the next sibling of the same name
// The text of an element ("" where it has none) or an attribute's value; NULL: absent.
const char *xml_get(const struct xml *node, const char *path);
// Makes what is missing on the way. The value NULL removes.
void xml_set(struct xml *node, const char *path, const char *value);
// Appends a child that has no parent yet.
void xml_insert(struct xml *parent, struct xml *child);
// Appends a child; `text` may be NULL.
struct xml *xml_add(struct xml *parent, const char *name, const char *text);
