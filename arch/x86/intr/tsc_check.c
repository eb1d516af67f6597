// SPDX-License-Identifier: BSD-2-Clause
// TSC comparison by question and answer: what the other CPU reads between two readings here must
// lie between them.
#include "arch/x86/intr/clock.h"
#include <stdatomic.h>
#include "arch/x86/cpu/instruction.h"

enum { ROUNDS = 32 };

static atomic_uint asked, answered; // rounds
static uint64_t answer;

int64_t tsc_check_ask(void) {
    int64_t worst = 0;
    for (unsigned round = 1; round <= ROUNDS; round++) {
        uint64_t before = read_tsc_ordered();
        atomic_store(&asked, round);
        while (atomic_load(&answered) != round)
            cpu_relax();
        uint64_t after = read_tsc_ordered();
        int64_t ahead = (int64_t)(answer - after), behind = (int64_t)(before - answer);
        if (ahead > 0 && ahead > worst)
            worst = ahead;
        if (behind > 0 && -behind < worst)
            worst = -behind;
    }
    atomic_store(&asked, 0);
    return worst;
}

void tsc_check_answer(void) {
    for (unsigned round = 1; round <= ROUNDS; round++) {
        while (atomic_load(&asked) != round)
            cpu_relax();
        answer = read_tsc_ordered();
        atomic_store(&answered, round);
    }
}
