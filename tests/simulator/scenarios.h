// SPDX-License-Identifier: BSD-2-Clause
// Loads for the simulated machine, and what must hold under them.
#pragma once
#include <stdbool.h>
#include <stdio.h>

// One expectation: a line of output, and a failure to be counted where `good` is false.
void expect(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Cost of a decision against the size of a queue and of a machine; rows for the plots.
void measure_queue_cost(FILE *rows);
void measure_machine_cost(FILE *rows);
// Shares within 1 % over 100 periods, on one CPU and on many; `most`: on the largest machine, too.
void check_shares(bool most);
void plot_three_on_two(FILE *rows);
void check_groups(void);
void check_limits(void);
void check_reservations(void);
// An interactive thread beside more and more hogs.
void check_latency(FILE *rows);
// Threads that try to get more than their share, herds, pairs that wake each other.
void check_adversaries(void);
// Two hyper-threads of a core never run two cookies, and all get on.
void check_cores(void);
void check_topology(void);
// A single thread, and nobody: no timer.
void check_silence(void);
// Everything at once, many seeds.
void check_storm(unsigned cpus, unsigned threads, unsigned seed);
