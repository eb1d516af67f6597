// SPDX-License-Identifier: BSD-2-Clause
// Fairness, limits, latency and cost of the run queues, on simulated machines.
#include "scenarios.h"
#include <linux/sched.h>
#include <math.h>
#include <stdlib.h>
#include "machine.h"

#define SLICE      ((double)RUN_SLICE_DEFAULT)
#define PERIODS    100
#define MANY       100000
#define LAG_SLICES 3 // run_queue.c's bound on what a thread may be ahead

static void nice(struct actor *actor, int value) {
    struct run_policy policy = {.policy = SCHED_NORMAL, .nice = value};
    run_entity_set_policy(&actor->entity, &policy);
}

static void expect_invariants(const char *what) {
    expect(!machine.violation, "%s: no invariant broken%s%s", what, machine.violation ? ": " : "",
           machine.violation ? machine.violation : "");
}

// -- cost --

// Steps and ns of picks, and of a thread that leaves and comes back, in a queue of n hogs.
static void queue_cost(unsigned n, double *steps, double *ns) {
    machine_make(1, n);
    domain.queues[0]->accounted = 1;
    machine_start();
    machine_run(1 * MS);
    uint64_t before = machine.steps, decisions = machine.decisions, host = machine.host_ns;
    machine_run(10 * S);
    *steps = (double)(machine.steps - before) / (double)(machine.decisions - decisions);
    *ns = (double)(machine.host_ns - host) / (double)(machine.decisions - decisions);
}

// Whether cost grows no faster than a logarithm: by no more than as much again for each squaring.
static bool logarithmic(double small, double n_small, double large, double n_large) {
    return large <= 1.25 * small * log2(n_large) / log2(n_small);
}

void measure_queue_cost(FILE *rows) {
    double first = 0, last = 0;
    unsigned n_last = 0;
    fprintf(rows, "# threads steps ns\n");
    for (unsigned n = 10; n <= MANY; n *= 10) {
        double ns;
        queue_cost(n, &last, &ns);
        n_last = n;
        if (n == 100)
            first = last;
        fprintf(rows, "%u %.2f %.0f\n", n, last, ns);
        printf("  %6u threads on a CPU: %5.1f nodes, %5.0f ns a decision\n", n, last, ns);
    }
    expect(logarithmic(first, 100, last, n_last),
           "cost of a decision grows no faster than the logarithm of the queue: %.1f nodes for 100 "
           "threads, %.1f for %u",
           first, last, n_last);
}

void measure_machine_cost(FILE *rows) {
    double first = 0, last = 0;
    fprintf(rows, "# cpus steps ns\n");
    for (unsigned cpus = 1; cpus <= RUN_CPUS; cpus *= 4) {
        unsigned threads = cpus * (MANY / RUN_CPUS);
        machine_make(cpus, threads);
        for (unsigned i = 0; i < threads; i += 2) { // half of them sleep and wake
            machine.actor[i].work = 2 * MS;
            machine.actor[i].sleep = 50 * MS;
            machine.actor[i].random = true;
        }
        machine_start();
        machine_run(300 * MS);
        last = (double)machine.steps / (double)machine.decisions;
        double ns = (double)machine.host_ns / (double)machine.decisions;
        if (cpus == 4)
            first = last;
        fprintf(rows, "%u %.2f %.0f\n", cpus, last, ns);
        printf("  %4u CPUs, %6u threads: %5.1f nodes and CPUs, %5.0f ns a decision\n", cpus,
               threads, last, ns);
        expect_invariants("machines of all sizes");
    }
    // Nothing looks at all CPUs; only the words of the mask of idle ones are all looked at.
    const unsigned words = RUN_CPU_WORDS;
    expect(last <= 2 * first + words,
           "cost of a decision does not grow with the machine: %.1f steps with 4 CPUs, %.1f", first,
           last);
}

// -- shares --

struct claim {
    double weight, most; // most: in CPUs
    double share;        // in CPUs
};

// What each gets of `cpus`: in proportion to weight, none more than it can use.
static void fill(struct claim *claim, unsigned count, double cpus) {
    double weight = 0;
    for (unsigned i = 0; i < count; i++) {
        claim[i].share = -1;
        weight += claim[i].weight;
    }
    for (bool again = true; again;) {
        again = false;
        for (unsigned i = 0; i < count; i++)
            if (claim[i].share < 0 && claim[i].weight / weight * cpus >= claim[i].most) {
                claim[i].share = claim[i].most;
                cpus -= claim[i].most;
                weight -= claim[i].weight;
                again = weight > 0;
            }
    }
    for (unsigned i = 0; i < count; i++)
        if (claim[i].share < 0)
            claim[i].share = claim[i].weight / weight * cpus;
}

// Runs hogs that all started at 0 for 100 periods, in each of which the one of the least share gets
// at least a slice. The largest error of a share.
static double share_error(struct claim *claim) {
    double least = 1;
    for (unsigned i = 0; i < machine.actors; i++)
        least = fmin(least, claim[i].share);
    double period = fmax(100.0 * MS, SLICE / least), worst = 0;
    machine_run((uint64_t)(PERIODS * period));
    for (unsigned i = 0; i < machine.actors; i++) {
        double ideal = claim[i].share * (double)machine.now;
        worst = fmax(worst, fabs((double)machine_time(&machine.actor[i]) / ideal - 1));
    }
    return worst;
}

// That no hog waited longer than until those ahead of it had their turns: its own lag and a slice
// at its share of the fullest queue, and a slice of the one that runs.
static void expect_bounded_waits(const char *what) {
    double worst = 0, longest = 0;
    for (unsigned i = 0; i < machine.actors; i++) {
        const struct actor *actor = &machine.actor[i];
        double bound = (LAG_SLICES + 1) * (double)actor->entity.slice * (double)machine.widest /
                           actor->entity.weight +
                       2 * SLICE;
        worst = fmax(worst, (double)actor->longest_wait / bound);
        longest = fmax(longest, (double)actor->longest_wait);
    }
    expect(worst <= 1, "%s: nobody waited beyond its bound; the longest %.1f ms, %.0f %% of it",
           what, longest / MS, 100 * worst);
}

static void check_share_of(const char *what, unsigned cpus, unsigned threads, const int *nices) {
    static struct claim claim[MANY];
    machine_make(cpus, threads);
    for (unsigned i = 0; i < threads; i++) {
        int value = nices ? nices[i] : (int)(machine_random() % 11) - 5;
        nice(&machine.actor[i], value);
        claim[i] = (struct claim){run_nice_weight(value), 1, 0};
    }
    fill(claim, threads, cpus);
    machine_start();
    double error = share_error(claim);
    expect(error <= 0.01, "%s: shares within %.2f %% over %u periods", what, 100 * error, PERIODS);
    expect((double)machine_idle() < 0.001 * (double)machine.now * cpus, "%s: no CPU idled", what);
    expect_bounded_waits(what);
    expect_invariants(what);
}

void check_shares(bool most) {
    static const int equal[MANY] = {0}, doubling[] = {6, 3, 0}, awkward[] = {0, 2, 2};
    check_share_of("1 CPU, 5 threads", 1, 5, equal);
    check_share_of("1 CPU, 200 threads of random weight", 1, 200, NULL);
    check_share_of("2 CPUs, 3 threads", 2, 3, equal);
    check_share_of("2 CPUs, weights about 1:2:4", 2, 3, doubling);
    check_share_of("2 CPUs, weights that fit no division", 2, 3, awkward);
    check_share_of("2 CPUs, 16 threads", 2, 16, equal);
    check_share_of("4 CPUs, 6 threads", 4, 6, equal);
    check_share_of("8 CPUs, 100 threads of random weight", 8, 100, NULL);
    check_share_of("64 CPUs, 65 threads", 64, 65, equal);
    check_share_of("64 CPUs, 1024 threads of random weight", 64, 1024, NULL);
    check_share_of("256 CPUs, 2048 threads of random weight", 256, 2048, NULL);
    if (most)
        check_share_of("1,024 CPUs, 100,000 threads", RUN_CPUS, MANY, equal);
}

void plot_three_on_two(FILE *rows) {
    machine_make(2, 3);
    machine_start();
    fprintf(rows, "# ms, and ms that each of three threads on two CPUs is ahead of its share\n");
    for (unsigned ms = 0; ms <= 300; ms++) {
        machine_run(ms * MS);
        fprintf(rows, "%u", ms);
        for (unsigned i = 0; i < 3; i++)
            fprintf(rows, " %.3f", (double)machine_time(&machine.actor[i]) / MS - ms * 2.0 / 3);
        fprintf(rows, "\n");
    }
}

// -- groups --

// Groups of `threads[i]` hogs and cpu.weight `weights[i]`; the last one inside the one before where
// `nested` is set.
static void check_group_shares(const char *what, unsigned cpus, unsigned count,
                               const unsigned *threads, const unsigned *weights) {
    static struct run_group group[8];
    struct claim claim[8];
    unsigned all = 0, next = 0;
    for (unsigned i = 0; i < count; i++)
        all += threads[i];
    machine_make(cpus, all);
    for (unsigned i = 0; i < count; i++) {
        run_group_init(&group[i], NULL);
        run_group_set_weight(&group[i], weights[i]);
        claim[i] = (struct claim){weights[i], fmin(threads[i], cpus), 0};
        for (unsigned j = 0; j < threads[i]; j++)
            machine.actor[next++].entity.group = &group[i];
    }
    fill(claim, count, cpus);
    machine_start();
    machine_run(PERIODS * 100 * MS);
    double worst = 0, worst_member = 0;
    next = 0;
    for (unsigned i = 0; i < count; i++) {
        double ideal = claim[i].share * (double)machine.now;
        worst = fmax(worst, fabs((double)machine_group_time(&group[i]) / ideal - 1));
        for (unsigned j = 0; j < threads[i]; j++) {
            double time = (double)machine_time(&machine.actor[next++]);
            worst_member = fmax(worst_member, fabs(time - ideal / threads[i]));
        }
    }
    expect(worst <= 0.01, "%s: shares of groups within %.2f %%", what, 100 * worst);
    expect(worst_member <= 0.01 * (double)machine.now + SLICE,
           "%s: members equal within %.1f ms of %.0f", what, worst_member / MS,
           (double)machine.now / MS);
    expect_invariants(what);
}

// a: b of two threads and 2 beside it in a; weights 1 of a to 1 of the single thread in c.
static void check_nested_groups(void) {
    struct run_group a, b, c;
    machine_make(1, 4);
    run_group_init(&a, NULL);
    run_group_init(&b, &a);
    run_group_init(&c, NULL);
    run_group_set_weight(&b, 300);
    struct run_group *const of[] = {&b, &b, &a, &c};
    static const double ideal[] = {0.1875, 0.1875, 0.125, 0.5};
    for (unsigned i = 0; i < 4; i++)
        machine.actor[i].entity.group = of[i];
    machine_start();
    machine_run(PERIODS * 100 * MS);
    double worst = 0;
    for (unsigned i = 0; i < 4; i++)
        worst = fmax(
            worst,
            fabs((double)machine_time(&machine.actor[i]) / (ideal[i] * (double)machine.now) - 1));
    expect(worst <= 0.01, "groups in groups: shares within %.2f %%", 100 * worst);
    expect_invariants("groups in groups");
}

// One member works now and then: the group's share is the other's meanwhile.
static void check_partly_idle_group(void) {
    struct run_group group[2];
    machine_make(2, 12);
    for (unsigned i = 0; i < 2; i++)
        run_group_init(&group[i], NULL);
    for (unsigned i = 0; i < 12; i++) {
        machine.actor[i].entity.group = &group[i & 1];
        if (i < 8) {
            machine.actor[i].random = true;
            machine.actor[i].work = 1 * MS;
            machine.actor[i].sleep = 20 * MS;
        }
    }
    machine_start();
    machine_run(PERIODS * 100 * MS);
    double error = fabs((double)machine_group_time(&group[0]) / (double)machine.now - 1);
    expect(error <= 0.01, "members that sleep: shares of groups within %.2f %%", 100 * error);
    expect_invariants("members that sleep");
}

void check_groups(void) {
    check_group_shares("2 CPUs, groups 1:2:4 of 4 threads", 2, 3, (unsigned[]){4, 4, 4},
                       (unsigned[]){100, 200, 400});
    check_group_shares("2 CPUs, groups of 1 and 8 threads", 2, 2, (unsigned[]){1, 8},
                       (unsigned[]){100, 100});
    check_group_shares("4 CPUs, groups of 3, 10 and 50 threads", 4, 3, (unsigned[]){3, 10, 50},
                       (unsigned[]){100, 50, 300});
    check_group_shares("8 CPUs, eight groups", 8, 8, (unsigned[]){1, 2, 3, 4, 5, 6, 7, 8},
                       (unsigned[]){100, 100, 100, 100, 100, 100, 100, 100});
    check_nested_groups();
    check_partly_idle_group();
}

// -- limits --

static void check_limit(const char *what, unsigned cpus, unsigned threads, unsigned others,
                        uint64_t quota, bool sleepers) {
    static struct run_group group;
    double most = 0;
    machine_make(cpus, threads + others);
    run_group_init(&group, NULL);
    run_group_set_bandwidth(&group, quota, RUN_GROUP_PERIOD);
    for (unsigned i = 0; i < threads; i++) {
        struct actor *actor = &machine.actor[i];
        actor->entity.group = &group;
        if (sleepers) {
            actor->random = true;
            actor->work = 700 * US;
            actor->sleep = 300 * US;
        }
    }
    machine_start();
    machine_run(100 * US);
    uint64_t before = 0;
    for (unsigned i = 0; i < PERIODS; i++) {
        machine_run(group.period_end - 1);
        uint64_t used = machine_group_time(&group);
        most = fmax(most, (double)(used - before));
        before = used;
        for (uint64_t end = group.period_end; group.period_end == end;)
            machine_run(machine.now + 100 * US); // until somebody asks and the next one begins
    }
    double all = (double)before, fair = (double)quota * PERIODS;
    expect(most <= (double)quota + SLICE, "%s: at most %.2f ms in a period, of %.0f", what,
           most / MS, (double)quota / MS);
    expect(all <= 1.001 * fair + SLICE && all >= 0.98 * fair,
           "%s: %.1f %% of what the limit lets through", what, 100 * all / fair);
    expect_invariants(what);
}

void check_limits(void) {
    check_limit("25 % of a CPU, alone", 1, 1, 0, 25 * MS, false);
    check_limit("25 % of a CPU, beside hogs", 2, 1, 2, 25 * MS, false);
    check_limit("150 % of 4 CPUs, 8 threads", 4, 8, 2, 150 * MS, false);
    check_limit("50 % of 2 CPUs, 6 threads that sleep", 2, 6, 0, 50 * MS, true);
    check_limit("300 % of 64 CPUs, 100 threads", 64, 100, 0, 300 * MS, false);
}

// -- reservations --

void check_reservations(void) {
    unsigned admitted = 0;
    machine_make(2, 40);
    for (unsigned i = 0; i < 20; i++) {
        struct actor *actor = &machine.actor[i];
        uint64_t period = (10 + machine_random() % 40) * MS;
        struct run_policy policy = {
            .policy = SCHED_DEADLINE, .runtime = period / 6, .deadline = period, .period = period};
        if (run_domain_admit(&domain, &actor->entity, &policy, actor->entity.allowed))
            continue;
        run_entity_set_policy(&actor->entity, &policy);
        admitted++;
    }
    expect(admitted == 10, "reservations of a sixth on two CPUs: %u admitted, the rest refused",
           admitted);
    machine_start();
    machine_run(20 * S);
    double least = 2, most = 0;
    for (unsigned i = 0; i < 20; i++) {
        struct actor *actor = &machine.actor[i];
        const struct run_policy *policy = &actor->entity.policy;
        if (policy->policy != SCHED_DEADLINE)
            continue;
        double got = (double)machine_time(actor) / ((double)machine.now / 6);
        least = fmin(least, got);
        most = fmax(most, got);
    }
    expect(least >= 0.99 && most <= 1.01,
           "each got what it reserved, beside 30 hogs: %.2f to %.2f %%", 100 * least, 100 * most);
    expect_invariants("reservations");
}

// -- latency --

void check_latency(FILE *rows) {
    fprintf(rows,
            "# hogs, the longest and the mean wait in ms of a thread that wakes for 200 us\n");
    for (unsigned hogs = 1; hogs <= 64; hogs *= 2) {
        machine_make(2, hogs + 1);
        struct actor *actor = &machine.actor[hogs];
        actor->work = 200 * US;
        actor->sleep = 9700 * US;
        machine_start();
        machine_run(200 * MS); // until its habits are known
        actor->longest_wait = 0;
        machine_run(20 * S);
        double longest = (double)actor->longest_wait / MS,
               mean = (double)actor->entity.run_delay / (double)actor->waits / MS;
        fprintf(rows, "%u %.3f %.3f\n", hogs, longest, mean);
        expect(
            longest <= (hogs <= 16 ? 1.05 : 3) * SLICE / MS,
            "beside %u hogs on 2 CPUs a thread that wakes waits at most %.2f ms, %.2f on average",
            hogs, longest, mean);
        expect_invariants("latency");
    }
}

// -- adversaries --

void check_adversaries(void) {
    // One gives up the CPU just before its slice ends, one just after, one yields all the time.
    for (unsigned kind = 0; kind < 3; kind++) {
        static const char *const names[] = {"sleeps before its slice ends",
                                            "sleeps after its slice ends", "yields"};
        machine_make(1, 3);
        struct actor *bad = &machine.actor[0];
        bad->work = kind == 2 ? 50 * US
                    : kind    ? RUN_SLICE_DEFAULT + 50 * US
                              : RUN_SLICE_DEFAULT - 50 * US;
        bad->sleep = 1 * US;
        bad->yields = kind == 2;
        machine_start();
        machine_run(10 * S);
        double share = (double)machine_time(bad) / (double)machine.now;
        expect(share <= 1.01 / 3, "one that %s gets %.2f %% beside two hogs", names[kind],
               100 * share);
        expect_invariants(names[kind]);
    }
    // A herd wakes at once.
    machine_make(8, 1000);
    for (unsigned i = 0; i < 1000; i++) {
        machine.actor[i].work = 100 * US;
        machine.actor[i].sleep = 50 * MS;
    }
    machine_start();
    machine_run(5 * S);
    double longest = 0;
    for (unsigned i = 0; i < 1000; i++)
        longest = fmax(longest, (double)machine.actor[i].longest_wait);
    expect(longest <= 1.5 * 1000 / 8 * 100 * US,
           "a herd of 1000 on 8 CPUs is through in %.1f ms of at least 12.5", longest / MS);
    expect_invariants("a herd");
    // Pairs that wake each other, beside hogs.
    machine_make(2, 8);
    for (unsigned i = 0; i < 4; i++) {
        machine.actor[i].work = 20 * US;
        machine.actor[i].peer = &machine.actor[i ^ 1];
    }
    machine_start();
    machine_run(5 * S);
    expect(machine.actor[0].waits > 1000 && machine.actor[2].waits > 1000,
           "pairs that wake each other take turns beside hogs: %lu and %lu times",
           (unsigned long)machine.actor[0].waits, (unsigned long)machine.actor[2].waits);
    expect_invariants("pairs");
    // A fixed priority takes a CPU for itself; all others share the rest.
    machine_make(2, 5);
    struct run_policy fifo = {.policy = SCHED_FIFO, .priority = 50};
    run_entity_set_policy(&machine.actor[0].entity, &fifo);
    machine_start();
    machine_run(10 * S);
    double worst = 0;
    for (unsigned i = 1; i < 5; i++)
        worst = fmax(worst,
                     fabs((double)machine_time(&machine.actor[i]) * 4 / (double)machine.now - 1));
    expect((double)machine_time(&machine.actor[0]) >= 0.999 * (double)machine.now,
           "a fixed priority has its CPU");
    expect(worst <= 0.01, "those below share the other within %.2f %%", 100 * worst);
    expect_invariants("a fixed priority");
    // Fixed priorities on all CPUs leave what the throttle keeps back, and get all the rest.
    machine_make(2, 6);
    for (unsigned i = 0; i < 3; i++)
        run_entity_set_policy(&machine.actor[i].entity, &fifo);
    for (unsigned i = 3; i < 5; i++) // where no fair one waits there is nothing to keep back
        machine.actor[i].entity.allowed[0] = 1ull << (i - 3);
    machine_start();
    double fixed = 0, least = 1;
    uint64_t before[6] = {0};
    for (unsigned period = 0; period < 20; period++) {
        machine_run(machine.now + run_urgent_period);
        double rest = 0;
        for (unsigned i = 0; i < 6; i++) {
            double share = (double)(machine_time(&machine.actor[i]) - before[i]) /
                           (double)run_urgent_period / 2;
            before[i] = machine_time(&machine.actor[i]);
            *(i < 3 ? &fixed : &rest) += share;
        }
        least = fmin(least, rest);
    }
    expect(least >= 0.045 && fixed >= 20 * 0.945,
           "beside more fixed priorities than CPUs the rest gets %.1f %% in each period, they %.1f",
           100 * least, 5 * fixed);
    expect_invariants("throttled priorities");
}

// -- cores --

// Hogs and sleepers of several VMs on cores of two hyper-threads.
static void check_cores_of(unsigned cpus, unsigned threads, unsigned vms, bool sleepers) {
    double least = 1e30;
    char what[80];
    snprintf(what, sizeof what, "%u CPUs in pairs, %u threads of %u VMs%s", cpus, threads, vms,
             sleepers ? ", some sleep" : "");
    machine_make(cpus, threads);
    machine_pair_cores();
    for (unsigned i = 0; i < threads; i++) {
        struct actor *actor = &machine.actor[i];
        actor->entity.cookie = 1 + i % vms;
        if (sleepers && i % 3 == 0) {
            actor->random = true;
            actor->work = 1 * MS;
            actor->sleep = 3 * MS;
        }
    }
    machine_start();
    machine_run(10 * S);
    for (unsigned i = 0; i < threads; i++)
        if (!machine.actor[i].random)
            least = fmin(least, (double)machine_time(&machine.actor[i]) / (double)machine.now *
                                    threads / cpus);
    expect_invariants(what);
    expect(least >= 0.4, "%s: every hog has at least %.0f %% of an equal share", what, 100 * least);
    expect((double)machine_idle() <= 0.55 * (double)machine.now * cpus,
           "%s: %.0f %% idle for the sake of separation", what,
           100 * (double)machine_idle() / (double)machine.now / cpus);
}

void check_cores(void) {
    check_cores_of(2, 2, 2, false);
    check_cores_of(2, 4, 2, false);
    check_cores_of(2, 5, 3, false);
    check_cores_of(4, 4, 2, false);
    check_cores_of(8, 40, 4, false);
    check_cores_of(8, 60, 5, true);
}

// -- topology --

void check_topology(void) {
    unsigned shared = 0;
    machine_make_of(16, 8, 2, 1);
    machine_start();
    machine_run(1 * S);
    for (unsigned cpu = 0; cpu < 16; cpu += 2)
        shared += domain.queues[cpu]->current && domain.queues[cpu + 1]->current;
    expect(!shared, "8 hogs on 8 cores of two hyper-threads: %u cores have two", shared);
    expect_invariants("topology");
    // CPU 6 is busy: the rest of its node first, an idle core before the busy one's other thread.
    static const unsigned order[] = {4, 5, 7, 0, 2, 1, 3};
    bool good = true;
    machine_make_of(8, 2, 2, 2);
    domain.queues[6]->current = &machine.actor[1].entity;
    run_domain_set_idle(&domain, 6, false);
    for (unsigned i = 0; i < sizeof order / sizeof *order; i++) {
        machine.actor[0].entity.cpu = 6;
        good &= run_domain_place(&domain, &machine.actor[0].entity, domain.queues[0], false)->cpu ==
                order[i];
    }
    expect(good,
           "threads that wake beside each other go to idle CPUs of their node and idle cores");
}

// -- silence --

void check_silence(void) {
    machine_make(4, 3);
    machine_start();
    machine_run(1 * S);
    uint64_t timers = machine.timers;
    machine_run(100 * S);
    expect(machine.timers == timers, "3 hogs on 4 CPUs: no timer in 99 s");
    machine_make(4, 0);
    machine_run(100 * S);
    expect(machine.timers == 0, "an idle machine: no timer");
}

// -- everything --

void check_storm(unsigned cpus, unsigned threads, unsigned seed) {
    static struct run_group group[6];
    machine_make(cpus, threads);
    for (unsigned i = 0; i < seed; i++)
        machine_random();
    for (unsigned i = 0; i < 6; i++) {
        run_group_init(&group[i], i % 3 ? &group[i - 1] : NULL);
        run_group_set_weight(&group[i], 1 + machine_random() % 1000);
        if (i & 1)
            run_group_set_bandwidth(&group[i], (5 + machine_random() % 100) * MS, 100 * MS);
    }
    for (unsigned i = 0; i < threads; i++) {
        struct actor *actor = &machine.actor[i];
        uint32_t dice = machine_random();
        nice(actor, (int)(dice % 40) - 20);
        if (dice >> 8 & 1) {
            actor->random = true;
            actor->work = 1 + machine_random() % (5 * MS);
            actor->sleep = 1 + machine_random() % (50 * MS);
        }
        if (dice >> 9 & 1)
            actor->entity.group = &group[(dice >> 10) % 6];
        if ((dice >> 20 & 7) == 0)
            for (unsigned word = 0; word < RUN_CPU_WORDS; word++)
                actor->entity.allowed[word] = 1ull << machine_random() % cpus % 64;
        if ((dice >> 24 & 15) == 0 && actor->work != RUN_NEVER) {
            struct run_policy fixed = {.policy = dice >> 28 & 1 ? SCHED_RR : SCHED_FIFO,
                                       .priority = 1 + (dice >> 29)};
            actor->work = 100 * US;
            run_entity_set_policy(&actor->entity, &fixed);
        }
    }
    machine_start();
    machine_run(5 * S);
    char what[64];
    snprintf(what, sizeof what, "storm %u: %u CPUs, %u threads", seed, cpus, threads);
    expect_invariants(what);
}
