// SPDX-License-Identifier: BSD-2-Clause
// Intrusive doubly linked list with a head node.
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define LIST_INIT(head)                                                                            \
    { &(head), &(head) }
#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))
#define list_for_each(node, head)                                                                  \
    for (struct list *node = (head)->next; node != (head); node = node->next)
// `entry`: each structure whose `member` is in the list.
#define list_for_each_entry(type, entry, head, member)                                             \
    for (type *entry = container_of((head)->next, type, member); &entry->member != (head);         \
         entry = container_of(entry->member.next, type, member))
// Safe against removal of `node` itself.
#define list_for_each_safe(node, head)                                                             \
    for (struct list *node = (head)->next, *node##_next = node->next; node != (head);              \
         node = node##_next, node##_next = node->next)

static inline void list_init(struct list *head) {
    head->next = head->prev = head;
}

static inline bool list_empty(const struct list *head) {
    return head->next == head;
}

static inline void list_add_after(struct list *position, struct list *node) {
    node->next = position->next;
    node->prev = position;
    position->next->prev = node;
    position->next = node;
}

static inline void list_push_front(struct list *head, struct list *node) {
    list_add_after(head, node);
}

static inline void list_push_back(struct list *head, struct list *node) {
    list_add_after(head->prev, node);
}

// Leaves `node` pointing at itself, so removing twice is harmless.
static inline void list_remove(struct list *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}
