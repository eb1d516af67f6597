// SPDX-License-Identifier: BSD-2-Clause
// The run queue: order, fairness by weight, lag, preemption, fixed priorities, reservations.
// Sources: core/sched/run_core.c core/sched/run_tree.c core/sched/run_group.c
// core/sched/run_policy.c
// Sources: core/sched/run_fair.c
#include "core/sched/run_queue.h"
#include <check.h>
#include <linux/sched.h>
#include <stdlib.h>

#define COUNT 500
#define TICK  1000000u // ns

Suite *run_queue_suite(void);

static struct run_queue queue;
static struct run_entity entity[COUNT];
static uint64_t now;

static void start(void) {
    now = 1000 * TICK;
    run_queue_init(&queue, 0);
    queue.accounted = now;
    for (unsigned i = 0; i < COUNT; i++)
        run_entity_init(&entity[i]);
}

static void policy(struct run_entity *one, struct run_policy wanted) {
    ck_assert_int_eq(run_policy_check(&wanted), 0);
    run_entity_set_policy(one, &wanted);
}

static void add(unsigned count) {
    for (unsigned i = 0; i < count; i++)
        run_queue_add(&queue, &entity[i], now);
}

// Lets a CPU work for `ticks` of 1 ms each.
static void run(unsigned ticks) {
    for (unsigned i = 0; i < ticks; i++) {
        run_queue_pick(&queue, now);
        now += TICK;
        run_queue_charge(&queue, now);
    }
}

static void assert_ticks(const struct run_entity *one, unsigned least, unsigned most) {
    ck_assert_uint_ge(one->run_time, (uint64_t)least * TICK);
    ck_assert_uint_le(one->run_time, (uint64_t)most * TICK);
}

START_TEST(empty_queue_has_nobody) {
    ck_assert_ptr_null(run_queue_pick(&queue, now));
    ck_assert_ptr_null(run_queue_candidate(&queue, 0, 8));
    ck_assert_uint_eq(run_queue_next_event(&queue), RUN_NEVER);
}
END_TEST

START_TEST(weights_share_in_proportion) {
    policy(&entity[1], (struct run_policy){.policy = SCHED_BATCH, .nice = -5});
    policy(&entity[2], (struct run_policy){.policy = SCHED_IDLE});
    add(3);
    run(4000);
    // 1 : 1.25^5 : 3/1024
    assert_ticks(&entity[0], 4000 * 247 / 1000 - 15, 4000 * 247 / 1000 + 15);
    assert_ticks(&entity[1], 4000 * 752 / 1000 - 15, 4000 * 753 / 1000 + 15);
    assert_ticks(&entity[2], 1, 12);
}
END_TEST

START_TEST(nobody_waits_for_long) {
    unsigned waited[10] = {0};
    add(10);
    for (unsigned tick = 0; tick < 3000; tick++) {
        run(1);
        for (unsigned i = 0; i < 10; i++) {
            waited[i] = queue.current == &entity[i] ? 0 : waited[i] + 1;
            ck_assert_uint_le(waited[i], 2 * 10 * 3); // two rounds of 3 ms slices
        }
    }
}
END_TEST

START_TEST(sleeper_is_neither_rewarded_nor_punished) {
    add(2);
    run(100);
    run_queue_remove(&queue, &entity[0], now);
    run(10000); // the other alone: no debt to be paid back
    uint64_t before[2] = {entity[0].run_time, entity[1].run_time};
    run_queue_add(&queue, &entity[0], now);
    run(1000);
    ck_assert_uint_ge(entity[0].run_time - before[0], 480ull * TICK);
    ck_assert_uint_ge(entity[1].run_time - before[1], 480ull * TICK);
}
END_TEST

START_TEST(short_slice_preempts) {
    policy(&entity[1], (struct run_policy){.runtime = TICK / 2});
    policy(&entity[2], (struct run_policy){.runtime = 100ull * TICK});
    add(1);
    run_queue_pick(&queue, now);
    now += TICK / 4;
    ck_assert(run_queue_add(&queue, &entity[1], now));
    ck_assert_ptr_eq(run_queue_pick(&queue, now), &entity[1]);
    ck_assert(!run_queue_add(&queue, &entity[2], now));
}
END_TEST

START_TEST(yield_lets_the_other_run) {
    add(2);
    struct run_entity *first = run_queue_pick(&queue, now);
    run_queue_yield(&queue, now);
    ck_assert_ptr_ne(run_queue_pick(&queue, now), first);
}
END_TEST

START_TEST(a_woken_peer_is_handed_the_cpu) {
    add(20);
    struct run_entity *first = run_queue_pick(&queue, now);
    struct run_entity *peer = first == &entity[19] ? &entity[18] : &entity[19];
    now += TICK;
    run_queue_charge(&queue, now);
    run_queue_prefer(&queue, peer);
    ck_assert_ptr_eq(run_queue_pick(&queue, now), first); // not before it leaves
    run_queue_remove(&queue, first, now);
    ck_assert_ptr_eq(run_queue_pick(&queue, now), peer);
}
END_TEST

START_TEST(slice_ends) {
    add(1);
    run_queue_pick(&queue, now);
    ck_assert_uint_eq(run_queue_next_event(&queue), RUN_NEVER); // alone: no tick
    ck_assert(run_queue_add(&queue, &entity[1], now));
    ck_assert_ptr_eq(run_queue_pick(&queue, now), &entity[0]);
    ck_assert_uint_eq(run_queue_next_event(&queue), now + RUN_SLICE_DEFAULT);
    now += RUN_SLICE_DEFAULT;
    ck_assert_ptr_eq(run_queue_pick(&queue, now), &entity[1]);
}
END_TEST

// The reference: the earliest deadline among those at or before the average.
static struct run_entity *slow_pick(void) {
    __int128 sum = 0, weight = 0;
    for (unsigned i = 0; i < COUNT; i++)
        if (entity[i].place != RUN_NOWHERE) {
            sum += (__int128)(int64_t)(entity[i].virtual_time - queue.base) * entity[i].weight;
            weight += entity[i].weight;
        }
    struct run_entity *best = NULL;
    for (unsigned i = 0; i < COUNT; i++)
        if (entity[i].place == RUN_QUEUED &&
            (__int128)(int64_t)(entity[i].virtual_time - queue.base) * weight <= sum &&
            (!best || (int64_t)(entity[i].virtual_deadline - best->virtual_deadline) < 0))
            best = &entity[i];
    return best;
}

START_TEST(tree_agrees_with_a_plain_search) {
    queue.base = UINT64_MAX - TICK; // wraps
    srand(1);
    for (unsigned i = 0; i < COUNT; i++)
        policy(&entity[i], (struct run_policy){.nice = rand() % 40 - 20});
    for (unsigned step = 0; step < 20000; step++) {
        struct run_entity *one = &entity[rand() % COUNT];
        if (queue.current)
            run_queue_remove(&queue, queue.current, now);
        if (one->place != RUN_NOWHERE)
            run_queue_remove(&queue, one, now);
        else
            run_queue_add(&queue, one, now);
        struct run_entity *expected = slow_pick(), *picked = run_queue_pick(&queue, now);
        if (expected)
            ck_assert_uint_eq(picked->virtual_deadline, expected->virtual_deadline);
        now += (uint64_t)rand() % (2 * RUN_SLICE_DEFAULT);
        run_queue_charge(&queue, now);
    }
    for (unsigned i = 0; i < COUNT; i++)
        if (entity[i].place != RUN_NOWHERE)
            run_queue_remove(&queue, &entity[i], now);
    ck_assert_uint_eq(queue.queued, 0);
    ck_assert_uint_eq(queue.counted, 0);
    ck_assert_uint_eq(queue.weight, 0);
    ck_assert_ptr_null(queue.fair);
}
END_TEST

START_TEST(fixed_priorities_come_first_and_in_order) {
    policy(&entity[1], (struct run_policy){.policy = SCHED_FIFO, .priority = 10});
    policy(&entity[2], (struct run_policy){.policy = SCHED_FIFO, .priority = 10});
    policy(&entity[3], (struct run_policy){.policy = SCHED_FIFO, .priority = 20});
    add(3);
    ck_assert_ptr_eq(run_queue_pick(&queue, now), &entity[1]);
    ck_assert(run_queue_add(&queue, &entity[3], now));
    ck_assert_ptr_eq(run_queue_pick(&queue, now), &entity[3]);
    run_queue_remove(&queue, &entity[3], now);
    ck_assert_ptr_eq(run_queue_pick(&queue, now), &entity[1]); // preempted: still the first
    run(100);
    ck_assert_ptr_eq(queue.current, &entity[1]);
    run_queue_yield(&queue, now);
    ck_assert_ptr_eq(run_queue_pick(&queue, now), &entity[2]);
}
END_TEST

START_TEST(round_robin_takes_turns) {
    for (unsigned i = 0; i < 3; i++)
        policy(&entity[i], (struct run_policy){.policy = SCHED_RR, .priority = 1});
    add(4);
    run(900);
    for (unsigned i = 0; i < 3; i++)
        assert_ticks(&entity[i], 297, 303);
    ck_assert_uint_eq(entity[3].run_time, 0);
}
END_TEST

START_TEST(reservation_gets_its_runtime_and_no_more) {
    static const struct run_policy reservation = {.policy = SCHED_DEADLINE,
                                                  .runtime = 10ull * TICK,
                                                  .deadline = 40ull * TICK,
                                                  .period = 40ull * TICK};
    policy(&entity[0], reservation);
    policy(&entity[1], (struct run_policy){.policy = SCHED_FIFO, .priority = 99});
    add(2);
    run(4000);
    assert_ticks(&entity[0], 1000, 1010);
    ck_assert_uint_eq(entity[0].run_time + entity[1].run_time, 4000ull * TICK);
    // To sleep and come back just before the deadline earns nothing.
    run_queue_remove(&queue, &entity[0], now);
    uint64_t before = entity[0].run_time;
    for (unsigned i = 0; i < 100; i++) {
        run_queue_add(&queue, &entity[0], now);
        run(5);
        run_queue_remove(&queue, &entity[0], now);
        run(5);
    }
    ck_assert_uint_le(entity[0].run_time - before, 270ull * TICK);
}
END_TEST

START_TEST(a_change_of_policy_keeps_the_place) {
    static const struct run_policy fifo = {.policy = SCHED_FIFO, .priority = 1}, normal = {0};
    add(2);
    struct run_entity *first = run_queue_pick(&queue, now);
    run_queue_change(&queue, first, &fifo, NULL, now);
    run(100);
    ck_assert_ptr_eq(queue.current, first);
    ck_assert_uint_eq(queue.counted, 1);
    run_queue_change(&queue, first, &normal, NULL, now);
    run(100);
    ck_assert_uint_eq(queue.counted, 2);
    ck_assert_uint_eq(queue.queued, 1);
    ck_assert_uint_ge(first->run_time, 145ull * TICK);
    ck_assert_uint_le(first->run_time, 155ull * TICK);
}
END_TEST

START_TEST(a_move_takes_the_virtual_time_along) {
    struct run_queue other;
    run_queue_init(&other, 1);
    other.accounted = now;
    add(4);
    run(40);
    run_queue_add(&other, &entity[4], now);
    run_queue_move(&queue, &other, run_queue_candidate(&queue, 1, 8), now);
    ck_assert_uint_eq(other.queued, 2);
    ck_assert_uint_eq(queue.counted + other.counted, 5);
    entity[5].allowed[0] = 1;
    run_queue_add(&other, &entity[5], now);
    ck_assert_ptr_ne(run_queue_candidate(&other, 2, 8), &entity[5]);
}
END_TEST

START_TEST(bad_policies_are_refused) {
    static const struct run_policy bad[] = {
        {.policy = SCHED_FIFO},
        {.policy = SCHED_FIFO, .priority = 100},
        {.policy = SCHED_NORMAL, .priority = 1},
        {.policy = SCHED_NORMAL, .nice = 20},
        {.policy = SCHED_BATCH, .nice = -21},
        {.policy = SCHED_NORMAL, .runtime = 1000},
        {.policy = 4},
        {.policy = SCHED_DEADLINE},
        {.policy = SCHED_DEADLINE, .runtime = 2 * TICK, .deadline = TICK, .period = TICK},
        {.policy = SCHED_DEADLINE, .runtime = TICK, .deadline = 3 * TICK, .period = 2 * TICK},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_int_lt(run_policy_check(&bad[i]), 0);
}
END_TEST

Suite *run_queue_suite(void) {
    Suite *suite = suite_create("run_queue");
    TCase *tests = tcase_create("run_queue");
    tcase_add_checked_fixture(tests, start, NULL);
    tcase_add_test(tests, empty_queue_has_nobody);
    tcase_add_test(tests, weights_share_in_proportion);
    tcase_add_test(tests, nobody_waits_for_long);
    tcase_add_test(tests, sleeper_is_neither_rewarded_nor_punished);
    tcase_add_test(tests, short_slice_preempts);
    tcase_add_test(tests, yield_lets_the_other_run);
    tcase_add_test(tests, a_woken_peer_is_handed_the_cpu);
    tcase_add_test(tests, slice_ends);
    tcase_add_test(tests, tree_agrees_with_a_plain_search);
    tcase_add_test(tests, fixed_priorities_come_first_and_in_order);
    tcase_add_test(tests, round_robin_takes_turns);
    tcase_add_test(tests, reservation_gets_its_runtime_and_no_more);
    tcase_add_test(tests, a_change_of_policy_keeps_the_place);
    tcase_add_test(tests, a_move_takes_the_virtual_time_along);
    tcase_add_test(tests, bad_policies_are_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
