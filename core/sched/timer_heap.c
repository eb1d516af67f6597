// SPDX-License-Identifier: BSD-2-Clause
// The pairing heap of timers (Fredman, Sedgewick, Sleator, Tarjan 1986): insert in O(1), remove in
// O(log n) amortized.
#include "core/sched/timer_heap.h"
#include <stddef.h>

static struct timer *meld(struct timer *a, struct timer *b) {
    if (!a || !b)
        return a ? a : b;
    if (b->deadline < a->deadline) {
        struct timer *swap = a;
        a = b;
        b = swap;
    }
    b->previous = a;
    b->next = a->child;
    if (a->child)
        a->child->previous = b;
    a->child = b;
    return a;
}

// Melds a list of siblings, in pairs from the left and then from the right.
static struct timer *meld_siblings(struct timer *first) {
    struct timer *pairs = NULL, *root = NULL;
    while (first) {
        struct timer *second = first->next, *rest = second ? second->next : NULL;
        first->next = first->previous = NULL;
        if (second)
            second->next = second->previous = NULL;
        struct timer *pair = meld(first, second);
        pair->next = pairs;
        pairs = pair;
        first = rest;
    }
    while (pairs) {
        struct timer *rest = pairs->next;
        pairs->next = NULL;
        root = meld(root, pairs);
        pairs = rest;
    }
    return root;
}

struct timer *timer_heap_insert(struct timer *root, struct timer *timer) {
    timer->next = timer->child = timer->previous = NULL;
    return meld(root, timer);
}

struct timer *timer_heap_remove(struct timer *root, struct timer *timer) {
    struct timer *children = meld_siblings(timer->child);
    timer->child = NULL;
    if (timer == root)
        return children;
    if (timer->previous->child == timer)
        timer->previous->child = timer->next;
    else
        timer->previous->next = timer->next;
    if (timer->next)
        timer->next->previous = timer->previous;
    timer->next = timer->previous = NULL;
    return meld(root, children);
}
