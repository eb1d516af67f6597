// SPDX-License-Identifier: BSD-2-Clause
// Trees out of expat's events, and back to text in libvirt's layout.
#include "xml.h"

#include <expat.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

enum { DEPTH_MAX = 64 };

// --- trees -------------------------------------------------------------------------------------

void xml_insert(struct xml *parent, struct xml *child) {
    struct xml **at = &parent->children;

    while (*at) {
        at = &(*at)->next;
    }
    *at = child;
    child->parent = parent;
}

struct xml *xml_add(struct xml *parent, const char *name, const char *text) {
    struct xml *node = allocate(sizeof(*node));

    *node = (struct xml){.name = copy_string(name), .text = copy_string(text)};
    if (parent) {
        xml_insert(parent, node);
        node->line = parent->line;
    }
    return node;
}

static void free_attribute(struct xml_attribute **at) {
    struct xml_attribute *attribute = *at;

    *at = attribute->next;
    free(attribute->name);
    free(attribute->value);
    free(attribute);
}

static void free_tree(struct xml *node) {
    struct xml *next;

    for (struct xml *child = node->children; child; child = next) {
        next = child->next;
        free_tree(child);
    }
    while (node->attributes) {
        free_attribute(&node->attributes);
    }
    free(node->name);
    free(node->text);
    free(node);
}

void xml_free(struct xml *node) {
    if (node && node->parent) {
        struct xml **at = &node->parent->children;
        while (*at != node) {
            at = &(*at)->next;
        }
        *at = node->next;
    }
    if (node) {
        free_tree(node);
    }
}

static void set_attribute(struct xml *node, const char *name, const char *value) {
    struct xml_attribute **at = &node->attributes;

    while (*at && strcmp((*at)->name, name) != 0) {
        at = &(*at)->next;
    }
    if (!value) {
        if (*at) {
            free_attribute(at);
        }
        return;
    }
    char *copy = copy_string(value); // it may be the old value itself
    if (*at) {
        free((*at)->value);
    } else {
        *at = allocate(sizeof(**at));
        (*at)->name = copy_string(name);
    }
    (*at)->value = copy;
}

struct xml *xml_copy(const struct xml *node) {
    struct xml *copy = xml_add(NULL, node->name, node->text);
    struct xml **at = &copy->children;

    copy->line = node->line;
    for (const struct xml_attribute *a = node->attributes; a; a = a->next) {
        set_attribute(copy, a->name, a->value);
    }
    for (const struct xml *child = node->children; child; child = child->next) {
        *at = xml_copy(child);
        (*at)->parent = copy;
        at = &(*at)->next;
    }
    return copy;
}

static struct xml *child_named(const struct xml *node, const char *name, size_t length) {
    struct xml *child = node->children;

    while (child && (strncmp(child->name, name, length) != 0 || child->name[length])) {
        child = child->next;
    }
    return child;
}

// Walks to the element of a path; *path is left at "@attribute" or the end.
static struct xml *walk(struct xml *node, const char **path, bool make) {
    while (node && **path && **path != '@') {
        size_t length = strcspn(*path, "/@");
        struct xml *child = child_named(node, *path, length);
        if (!child && make) {
            char *name = print_string("%.*s", (int)length, *path);
            child = xml_add(node, name, NULL);
            free(name);
        }
        node = child;
        *path += length;
        *path += **path == '/';
    }
    return node;
}

struct xml *xml_find(const struct xml *node, const char *path) {
    return walk((struct xml *)node, &path, false);
}

struct xml *xml_next(const struct xml *node) {
    struct xml *next = node->next;

    while (next && strcmp(next->name, node->name) != 0) {
        next = next->next;
    }
    return next;
}

const char *xml_get(const struct xml *node, const char *path) {
    node = walk((struct xml *)node, &path, false);
    if (!node || *path != '@') {
        return !node ? NULL : node->text ? node->text : "";
    }
    for (const struct xml_attribute *a = node->attributes; a; a = a->next) {
        if (strcmp(a->name, path + 1) == 0) {
            return a->value;
        }
    }
    return NULL;
}

void xml_set(struct xml *node, const char *path, const char *value) {
    node = walk(node, &path, value != NULL);
    if (!node) {
        return;
    }
    if (*path == '@') {
        set_attribute(node, path + 1, value);
    } else if (!value) {
        xml_free(node);
    } else {
        char *copy = copy_string(value);
        free(node->text);
        node->text = copy;
    }
}

// --- reading -----------------------------------------------------------------------------------

struct reading {
    XML_Parser parser;
    struct xml *root, *at;
    struct buffer text; // of the element `at`, as far as it was read
    unsigned depth;
    const char *refusal;
};

static void refuse(struct reading *reading, const char *refusal) {
    reading->refusal = refusal;
    XML_StopParser(reading->parser, XML_FALSE);
}

// Text beside elements is layout, or refused: only elements without children have text.
static void drop_layout(struct reading *reading) {
    for (size_t i = 0; i < reading->text.length; i++) {
        if (!strchr(" \t\r\n", reading->text.data[i])) {
            refuse(reading, "text beside elements is not accepted");
        }
    }
    buffer_free(&reading->text);
}

static void start_element(void *context, const char *name, const char **attributes) {
    struct reading *reading = context;
    struct xml *node = xml_add(reading->at, name, NULL);

    drop_layout(reading);
    node->line = (unsigned)XML_GetCurrentLineNumber(reading->parser);
    for (; *attributes; attributes += 2) {
        set_attribute(node, attributes[0], attributes[1]);
    }
    if (!reading->root) {
        reading->root = node;
    }
    reading->at = node;
    if (++reading->depth > DEPTH_MAX) {
        refuse(reading, "elements nest too deeply");
    }
}

static void end_element(void *context, const char *name) {
    struct reading *reading = context;
    struct xml *node = reading->at;

    (void)name;
    if (!node->children && reading->text.length) {
        node->text = buffer_take_string(&reading->text);
    }
    drop_layout(reading);
    reading->at = node->parent;
    reading->depth--;
}

static void character_data(void *context, const char *text, int length) {
    struct reading *reading = context;

    buffer_append(&reading->text, text, (size_t)length);
}

static void start_doctype(void *context, const char *name, const char *system, const char *public,
                          int internal) {
    (void)name, (void)system, (void)public, (void)internal;
    refuse(context, "document types are not accepted");
}

struct xml *xml_parse(const char *text, size_t length, char **error) {
    struct reading reading = {.parser = XML_ParserCreate(NULL)};

    if (!reading.parser) {
        *error = print_string("no memory for the XML parser");
        return NULL;
    }
    XML_SetUserData(reading.parser, &reading);
    XML_SetElementHandler(reading.parser, start_element, end_element);
    XML_SetCharacterDataHandler(reading.parser, character_data);
    XML_SetStartDoctypeDeclHandler(reading.parser, start_doctype);
    enum XML_Status status = XML_Parse(reading.parser, text, (int)length, XML_TRUE);
    if (status != XML_STATUS_OK) {
        *error = print_string("line %lu: %s", XML_GetCurrentLineNumber(reading.parser),
                              reading.refusal ? reading.refusal
                                              : XML_ErrorString(XML_GetErrorCode(reading.parser)));
        xml_free(reading.root);
        reading.root = NULL;
    }
    buffer_free(&reading.text);
    XML_ParserFree(reading.parser);
    return reading.root;
}

// --- writing -----------------------------------------------------------------------------------

static void write_escaped(struct buffer *to, const char *text) {
    static const struct {
        char character;
        const char *entity;
    } entities[] = {{'&', "&amp;"},  {'<', "&lt;"},   {'>', "&gt;"},   {'\'', "&apos;"},
                    {'"', "&quot;"}, {'\n', "&#10;"}, {'\r', "&#13;"}, {'\t', "&#9;"}};

    for (; *text; text++) {
        const char *entity = NULL;
        for (size_t i = 0; i < sizeof(entities) / sizeof(entities[0]); i++) {
            entity = *text == entities[i].character ? entities[i].entity : entity;
        }
        buffer_append(to, entity ? entity : text, entity ? strlen(entity) : 1);
    }
}

void xml_write(struct buffer *to, const struct xml *node, unsigned depth) {
    buffer_print(to, "%*s<%s", (int)depth * 2, "", node->name);
    for (const struct xml_attribute *a = node->attributes; a; a = a->next) {
        buffer_print(to, " %s='", a->name);
        write_escaped(to, a->value);
        buffer_append(to, "'", 1);
    }
    if (node->children) {
        buffer_append(to, ">\n", 2);
        for (const struct xml *child = node->children; child; child = child->next) {
            xml_write(to, child, depth + 1);
        }
        buffer_print(to, "%*s</%s>\n", (int)depth * 2, "", node->name);
    } else if (node->text) {
        buffer_append(to, ">", 1);
        write_escaped(to, node->text);
        buffer_print(to, "</%s>\n", node->name);
    } else {
        buffer_append(to, "/>\n", 3);
    }
}
