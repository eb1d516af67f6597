// SPDX-License-Identifier: BSD-2-Clause
// EEVDF on a treap ordered by virtual deadline, each node knowing the least virtual time below it:
// the earliest deadline among the eligible is found in one descent.
#include <stddef.h>
#include "core/sched/run_queue.h"

static int64_t scaled(uint64_t ns, uint32_t weight) {
    return (int64_t)(ns * RUN_WEIGHT_DEFAULT / weight);
}

static int64_t slice_of(const struct run_entity *entity) {
    return scaled(entity->slice, entity->weight);
}

static bool before(const struct run_entity *a, const struct run_entity *b) {
    int64_t difference = (int64_t)(a->virtual_deadline - b->virtual_deadline);
    return difference ? difference < 0 : (uintptr_t)a < (uintptr_t)b;
}

static void update_least(struct run_entity *node) {
    uint64_t least = node->virtual_time;
    if (node->left && (int64_t)(node->left->least_virtual_time - least) < 0)
        least = node->left->least_virtual_time;
    if (node->right && (int64_t)(node->right->least_virtual_time - least) < 0)
        least = node->right->least_virtual_time;
    node->least_virtual_time = least;
}

static void split(struct run_entity *root, const struct run_entity *key, struct run_entity **less,
                  struct run_entity **greater) {
    if (!root) {
        *less = *greater = NULL;
        return;
    }
    if (before(root, key)) {
        split(root->right, key, &root->right, greater);
        *less = root;
    } else {
        split(root->left, key, less, &root->left);
        *greater = root;
    }
    update_least(root);
}

static struct run_entity *merge(struct run_entity *less, struct run_entity *greater) {
    if (!less || !greater)
        return less ? less : greater;
    if (less->priority > greater->priority) {
        less->right = merge(less->right, greater);
        update_least(less);
        return less;
    }
    greater->left = merge(less, greater->left);
    update_least(greater);
    return greater;
}

static struct run_entity *insert(struct run_entity *root, struct run_entity *node) {
    if (!root || node->priority > root->priority) {
        split(root, node, &node->left, &node->right);
        update_least(node);
        return node;
    }
    if (before(node, root))
        root->left = insert(root->left, node);
    else
        root->right = insert(root->right, node);
    update_least(root);
    return root;
}

static struct run_entity *erase(struct run_entity *root, const struct run_entity *node) {
    if (!root) // not reached: node is in the tree
        return NULL;
    if (root == node)
        return merge(root->left, root->right);
    if (before(node, root))
        root->left = erase(root->left, node);
    else
        root->right = erase(root->right, node);
    update_least(root);
    return root;
}

static void tree_add(struct run_queue *queue, struct run_entity *entity) {
    queue->random = queue->random * 1664525u + 1013904223u;
    entity->priority = queue->random;
    entity->left = entity->right = NULL;
    queue->root = insert(queue->root, entity);
    entity->queued = true;
    queue->queued++;
}

static void tree_remove(struct run_queue *queue, struct run_entity *entity) {
    queue->root = erase(queue->root, entity);
    entity->queued = false;
    queue->queued--;
}

// Moves `base` to the average so that the products of weights and offsets stay small.
static void rebase(struct run_queue *queue) {
    if (!queue->weight) {
        queue->weighted_offset = 0;
        return;
    }
    int64_t step = queue->weighted_offset / (int64_t)queue->weight;
    queue->base += (uint64_t)step;
    queue->weighted_offset -= step * (int64_t)queue->weight;
}

static void count(struct run_queue *queue, struct run_entity *entity) {
    queue->weight += entity->weight;
    queue->weighted_offset += (int64_t)(entity->virtual_time - queue->base) * entity->weight;
    queue->counted++;
    entity->counted = true;
    rebase(queue);
}

static void uncount(struct run_queue *queue, struct run_entity *entity) {
    queue->weight -= entity->weight;
    queue->weighted_offset -= (int64_t)(entity->virtual_time - queue->base) * entity->weight;
    queue->counted--;
    entity->counted = false;
    rebase(queue);
}

// virtual_time <= average, without dividing.
static bool eligible(const struct run_queue *queue, uint64_t virtual_time) {
    return queue->weighted_offset >= (int64_t)(virtual_time - queue->base) * (int64_t)queue->weight;
}

void run_entity_init(struct run_entity *entity, uint32_t weight) {
    *entity = (struct run_entity){.weight = weight, .slice = RUN_SLICE_DEFAULT};
}

void run_queue_init(struct run_queue *queue) {
    *queue = (struct run_queue){.random = 0x9e3779b9u};
}

void run_queue_add(struct run_queue *queue, struct run_entity *entity) {
    // Joining moves the average towards the newcomer; its lag is enlarged so that it is left with
    // what it had.
    int64_t lag = entity->lag;
    if (queue->weight)
        lag = lag * (int64_t)(queue->weight + entity->weight) / (int64_t)queue->weight;
    entity->virtual_time = queue->base - (uint64_t)lag;
    entity->virtual_deadline = entity->virtual_time + (uint64_t)slice_of(entity);
    count(queue, entity);
    tree_add(queue, entity);
}

void run_queue_remove(struct run_queue *queue, struct run_entity *entity) {
    if (entity->queued)
        tree_remove(queue, entity);
    // Bounded, so that neither a long sleep nor a long run is paid back at once.
    int64_t most = 2 * slice_of(entity);
    int64_t lag = (int64_t)(queue->base - entity->virtual_time);
    entity->lag = lag > most ? most : lag < -most ? -most : lag;
    uncount(queue, entity);
}

struct run_entity *run_queue_pick(struct run_queue *queue) {
    struct run_entity *node = queue->root, *first = node;
    while (node) {
        if (node->left && eligible(queue, node->left->least_virtual_time)) {
            node = node->left;
        } else if (eligible(queue, node->virtual_time)) {
            first = node;
            break;
        } else {
            node = node->right;
        }
    }
    if (!node) // none: the average is pulled down by one that is not in the tree
        while (first && first->left)
            first = first->left;
    if (first)
        tree_remove(queue, first);
    return first;
}

void run_queue_put(struct run_queue *queue, struct run_entity *entity) {
    tree_add(queue, entity);
}

bool run_queue_account(struct run_queue *queue, struct run_entity *entity, uint64_t ns) {
    int64_t advance = scaled(ns, entity->weight);
    entity->run_time += ns;
    entity->virtual_time += (uint64_t)advance;
    queue->weighted_offset += advance * entity->weight;
    rebase(queue);
    if ((int64_t)(entity->virtual_time - entity->virtual_deadline) < 0)
        return false;
    entity->virtual_deadline = entity->virtual_time + (uint64_t)slice_of(entity);
    return true;
}

void run_queue_yield(struct run_queue *queue, struct run_entity *entity) {
    int64_t left = (int64_t)(entity->virtual_deadline - entity->virtual_time);
    entity->virtual_time += (uint64_t)left;
    queue->weighted_offset += left * entity->weight;
    rebase(queue);
    entity->virtual_deadline = entity->virtual_time + (uint64_t)slice_of(entity);
}

bool run_queue_preempts(const struct run_queue *queue, const struct run_entity *entity,
                        const struct run_entity *running) {
    return eligible(queue, entity->virtual_time) &&
           (int64_t)(entity->virtual_deadline - running->virtual_deadline) < 0;
}

uint64_t run_queue_slice_left(const struct run_entity *entity) {
    int64_t left = (int64_t)(entity->virtual_deadline - entity->virtual_time);
    return left > 0 ? (uint64_t)left * entity->weight / RUN_WEIGHT_DEFAULT : 0;
}

static struct run_entity *find(struct run_entity *node, unsigned *most,
                               bool (*wanted)(struct run_entity *, void *), void *argument) {
    if (!node || !*most)
        return NULL;
    struct run_entity *found = find(node->right, most, wanted, argument);
    if (found || !*most)
        return found;
    --*most;
    return wanted(node, argument) ? node : find(node->left, most, wanted, argument);
}

struct run_entity *run_queue_find(const struct run_queue *queue, unsigned most,
                                  bool (*wanted)(struct run_entity *entity, void *argument),
                                  void *argument) {
    return find(queue->root, &most, wanted, argument);
}
