// SPDX-License-Identifier: BSD-2-Clause
// The run queue: order, fairness by weight, lag, preemption, search.
#include "core/sched/run_queue.h"
#include <check.h>
#include <stdlib.h>

#define COUNT 500
#define TICK  1000000u // ns

Suite *run_queue_suite(void);

// Runs the queue for `ticks` of 1 ms each, as a scheduler would; run_time tells who ran.
static void run(struct run_queue *queue, unsigned ticks) {
    struct run_entity *running = NULL;
    for (unsigned i = 0; i < ticks; i++) {
        if (running)
            run_queue_put(queue, running);
        running = run_queue_pick(queue);
        ck_assert_ptr_nonnull(running);
        run_queue_account(queue, running, TICK);
    }
    if (running)
        run_queue_put(queue, running);
}

START_TEST(empty_queue_has_nobody) {
    struct run_queue queue;
    run_queue_init(&queue);
    ck_assert_ptr_null(run_queue_pick(&queue));
    ck_assert_ptr_null(run_queue_find(&queue, 1, NULL, NULL));
}
END_TEST

START_TEST(equal_weights_share_equally) {
    struct run_queue queue;
    struct run_entity entity[5];
    run_queue_init(&queue);
    for (unsigned i = 0; i < 5; i++) {
        run_entity_init(&entity[i], RUN_WEIGHT_DEFAULT);
        run_queue_add(&queue, &entity[i]);
    }
    run(&queue, 5000);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_uint_ge(entity[i].run_time, 990ull * TICK);
        ck_assert_uint_le(entity[i].run_time, 1010ull * TICK);
    }
}
END_TEST

START_TEST(weights_share_in_proportion) {
    struct run_queue queue;
    struct run_entity light, heavy;
    run_queue_init(&queue);
    run_entity_init(&light, 512);
    run_entity_init(&heavy, 3 * 512);
    run_queue_add(&queue, &light);
    run_queue_add(&queue, &heavy);
    run(&queue, 4000);
    ck_assert_uint_ge(light.run_time, 980ull * TICK);
    ck_assert_uint_le(light.run_time, 1020ull * TICK);
}
END_TEST

START_TEST(nobody_waits_for_long) {
    struct run_queue queue;
    struct run_entity entity[10];
    unsigned waited[10] = {0};
    run_queue_init(&queue);
    for (unsigned i = 0; i < 10; i++) {
        run_entity_init(&entity[i], RUN_WEIGHT_DEFAULT);
        run_queue_add(&queue, &entity[i]);
    }
    for (unsigned tick = 0; tick < 3000; tick++) {
        struct run_entity *running = run_queue_pick(&queue);
        run_queue_account(&queue, running, TICK);
        run_queue_put(&queue, running);
        for (unsigned i = 0; i < 10; i++) {
            waited[i] = running == &entity[i] ? 0 : waited[i] + 1;
            ck_assert_uint_le(waited[i], 2 * 10 * 3); // two rounds of 3 ms slices
        }
    }
}
END_TEST

START_TEST(sleeper_is_neither_rewarded_nor_punished) {
    struct run_queue queue;
    struct run_entity sleeper, busy;
    run_queue_init(&queue);
    run_entity_init(&sleeper, RUN_WEIGHT_DEFAULT);
    run_entity_init(&busy, RUN_WEIGHT_DEFAULT);
    run_queue_add(&queue, &sleeper);
    run_queue_add(&queue, &busy);
    run(&queue, 100);
    run_queue_remove(&queue, &sleeper);
    run(&queue, 10000); // busy alone: no debt to be paid back
    uint64_t busy_before = busy.run_time, sleeper_before = sleeper.run_time;
    run_queue_add(&queue, &sleeper);
    run(&queue, 1000);
    ck_assert_uint_ge(busy.run_time - busy_before, 480ull * TICK);
    ck_assert_uint_ge(sleeper.run_time - sleeper_before, 480ull * TICK);
}
END_TEST

START_TEST(short_slice_preempts) {
    struct run_queue queue;
    struct run_entity batch, interactive;
    run_queue_init(&queue);
    run_entity_init(&batch, RUN_WEIGHT_DEFAULT);
    run_entity_init(&interactive, RUN_WEIGHT_DEFAULT);
    interactive.slice = TICK / 2;
    run_queue_add(&queue, &batch);
    struct run_entity *running = run_queue_pick(&queue);
    run_queue_account(&queue, running, TICK / 4);
    run_queue_add(&queue, &interactive);
    ck_assert(run_queue_preempts(&queue, &interactive, running));
    ck_assert(!run_queue_preempts(&queue, running, &interactive));
}
END_TEST

START_TEST(yield_lets_the_other_run) {
    struct run_queue queue;
    struct run_entity a, b;
    run_queue_init(&queue);
    run_entity_init(&a, RUN_WEIGHT_DEFAULT);
    run_entity_init(&b, RUN_WEIGHT_DEFAULT);
    run_queue_add(&queue, &a);
    run_queue_add(&queue, &b);
    struct run_entity *first = run_queue_pick(&queue);
    run_queue_yield(&queue, first);
    run_queue_put(&queue, first);
    ck_assert_ptr_ne(run_queue_pick(&queue), first);
}
END_TEST

START_TEST(slice_ends) {
    struct run_queue queue;
    struct run_entity a;
    run_queue_init(&queue);
    run_entity_init(&a, 2 * RUN_WEIGHT_DEFAULT);
    run_queue_add(&queue, &a);
    run_queue_pick(&queue);
    ck_assert_uint_eq(run_queue_slice_left(&a), RUN_SLICE_DEFAULT);
    ck_assert(!run_queue_account(&queue, &a, RUN_SLICE_DEFAULT - 2));
    ck_assert_uint_le(run_queue_slice_left(&a), 2);
    ck_assert(run_queue_account(&queue, &a, 2));
    ck_assert_uint_eq(run_queue_slice_left(&a), RUN_SLICE_DEFAULT);
}
END_TEST

static bool is_entity(struct run_entity *entity, void *argument) {
    return entity == argument;
}

// The reference: the earliest deadline among those at or before the average.
static struct run_entity *slow_pick(struct run_entity *entity, unsigned count) {
    __int128 sum = 0, weight = 0;
    for (unsigned i = 0; i < count; i++)
        if (entity[i].counted) {
            sum += (__int128)(int64_t)entity[i].virtual_time * entity[i].weight;
            weight += entity[i].weight;
        }
    struct run_entity *best = NULL;
    for (unsigned i = 0; i < count; i++)
        if (entity[i].queued && (__int128)(int64_t)entity[i].virtual_time * weight <= sum &&
            (!best || entity[i].virtual_deadline < best->virtual_deadline))
            best = &entity[i];
    return best;
}

START_TEST(tree_agrees_with_a_plain_search) {
    struct run_queue queue;
    static struct run_entity entity[COUNT];
    run_queue_init(&queue);
    queue.base = 1ull << 40;
    srand(1);
    for (unsigned i = 0; i < COUNT; i++)
        run_entity_init(&entity[i], 100 + (uint32_t)rand() % 5000);
    for (unsigned step = 0; step < 20000; step++) {
        struct run_entity *one = &entity[rand() % COUNT];
        if (one->counted)
            run_queue_remove(&queue, one);
        else
            run_queue_add(&queue, one);
        if (!queue.queued)
            continue;
        struct run_entity *expected = slow_pick(entity, COUNT), *running = run_queue_pick(&queue);
        ck_assert_ptr_nonnull(running);
        if (expected)
            ck_assert_uint_eq(running->virtual_deadline, expected->virtual_deadline);
        run_queue_account(&queue, running, (uint64_t)rand() % (2 * RUN_SLICE_DEFAULT));
        run_queue_put(&queue, running);
    }
    for (unsigned i = 0; i < COUNT; i++)
        if (entity[i].counted) {
            ck_assert_ptr_eq(run_queue_find(&queue, COUNT, is_entity, &entity[i]), &entity[i]);
            run_queue_remove(&queue, &entity[i]);
        }
    ck_assert_uint_eq(queue.queued, 0);
    ck_assert_uint_eq(queue.counted, 0);
    ck_assert_uint_eq(queue.weight, 0);
    ck_assert_ptr_null(queue.root);
}
END_TEST

Suite *run_queue_suite(void) {
    Suite *suite = suite_create("run_queue");
    TCase *tests = tcase_create("run_queue");
    tcase_add_test(tests, empty_queue_has_nobody);
    tcase_add_test(tests, equal_weights_share_equally);
    tcase_add_test(tests, weights_share_in_proportion);
    tcase_add_test(tests, nobody_waits_for_long);
    tcase_add_test(tests, sleeper_is_neither_rewarded_nor_punished);
    tcase_add_test(tests, short_slice_preempts);
    tcase_add_test(tests, yield_lets_the_other_run);
    tcase_add_test(tests, slice_ends);
    tcase_add_test(tests, tree_agrees_with_a_plain_search);
    suite_add_tcase(suite, tests);
    return suite;
}
