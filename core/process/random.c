// SPDX-License-Identifier: BSD-2-Clause
// The generator: ChaCha20 keyed by RDSEED or RDRAND and the TSC, with its key replaced after each
// use.
#include "core/process/random.h"
#include <cpuid.h>
#include <stdbool.h>
#include "core/process/chacha20.h"
#include "core/sched/spinlock.h"
#include "core/string.h"

#define SEED_TRIES     10 // SDM vol. 1, 7.3.17: a healthy source answers within ten
#define CPUID_1_RDRAND (1u << 30)
#define CPUID_7_RDSEED (1u << 18)

static struct {
    struct spinlock lock;
    bool seeded;
    uint32_t key[8];
    uint32_t nonce[3];
} generator;

static bool rdseed(uint64_t *value) {
    bool good;
    __asm__ volatile("rdseed %0" : "=r"(*value), "=@ccc"(good)::);
    return good;
}

static bool rdrand(uint64_t *value) {
    bool good;
    __asm__ volatile("rdrand %0" : "=r"(*value), "=@ccc"(good)::);
    return good;
}

static uint64_t from_cpu(bool has_rdseed, bool has_rdrand) {
    uint64_t value = 0;
    for (unsigned i = 0; has_rdseed && i < SEED_TRIES; i++)
        if (rdseed(&value))
            return value;
    for (unsigned i = 0; has_rdrand && i < SEED_TRIES; i++)
        if (rdrand(&value))
            return value;
    return 0;
}

// Mixes the key with 32 bytes of CPU randomness and with time stamps; without RDSEED and RDRAND the
// time stamps are all.
static void seed(void) {
    uint32_t eax, ebx, ecx, edx;
    __cpuid(1, eax, ebx, ecx, edx);
    bool has_rdrand = ecx & CPUID_1_RDRAND, has_rdseed = false;
    if (__get_cpuid_max(0, NULL) >= 7) {
        __cpuid_count(7, 0, eax, ebx, ecx, edx);
        has_rdseed = ebx & CPUID_7_RDSEED;
    }
    for (unsigned i = 0; i < 4; i++) {
        uint64_t value = from_cpu(has_rdseed, has_rdrand);
        generator.key[2 * i] ^= (uint32_t)value;
        generator.key[2 * i + 1] ^= (uint32_t)(value >> 32);
    }
    generator.seeded = true;
}

void random_bytes(void *to, size_t size) {
    uint8_t block[64];
    uint8_t *out = to;
    uint32_t key[8], nonce[3];
    spin_lock(&generator.lock);
    if (!generator.seeded)
        seed();
    uint64_t stamp = __builtin_ia32_rdtsc();
    generator.nonce[0] ^= (uint32_t)stamp;
    generator.nonce[1] ^= (uint32_t)(stamp >> 32);
    generator.nonce[2]++;
    memcpy(nonce, generator.nonce, sizeof nonce);
    // Half of the first block is the next key, so that what was handed out cannot be computed from
    // the state later.
    chacha20_block(generator.key, 0, nonce, block);
    memcpy(generator.key, block, sizeof key);
    memcpy(key, block + 32, sizeof key);
    spin_unlock(&generator.lock);
    for (uint32_t counter = 0; size; counter++) {
        size_t piece = size < sizeof block ? size : sizeof block;
        chacha20_block(key, counter, nonce, block);
        memcpy(out, block, piece);
        out += piece;
        size -= piece;
    }
}
