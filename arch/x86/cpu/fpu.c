// SPDX-License-Identifier: BSD-2-Clause
// x87, SSE, AVX state: XSAVE in the standard format.
#include "arch/x86/cpu/cpu_area.h"
#include <asm/errno.h>
#include "arch/x86/context.h"
#include "arch/x86/cpu/cpu_features.h"
#include "arch/x86/cpu/instruction.h"
#include "core/mm/heap.h"

enum {
    FCW_DEFAULT = 0x37f,
    MXCSR_DEFAULT = 0x1f80,
    MXCSR_WRITABLE = 0xffff,
};

// x87, SSE, AVX, the three of AVX-512. Not MPX, PKRU, AMX: nothing here keeps what they need beside
// the registers.
#define XCR0_WANTED 0xe7ull
#define XCR0_AVX512 0xe0ull

static struct {
    uint64_t xcr0;
    uint32_t size;
} host;

uint32_t fpu_area_size(void) {
    return host.size;
}

uint64_t fpu_host_xcr0(void) {
    return host.xcr0;
}

void fpu_cpu_init(void) {
    if (!host.size) {
        struct cpuid_regs r = read_cpuid(0xd, 0);
        host.xcr0 = (r.eax | (uint64_t)r.edx << 32) & XCR0_WANTED;
        if ((host.xcr0 & XCR0_AVX512) != XCR0_AVX512)
            host.xcr0 &= ~XCR0_AVX512;
    }
    write_xcr0(host.xcr0);
    host.size = read_cpuid(0xd, 0).ebx; // for the features just enabled
    __asm__ volatile("fninit");
}

int fpu_state_init(struct fpu_state *state) {
    state->area = heap_alloc(host.size);
    if (!state->area)
        return -ENOMEM;
    // XSTATE_BV 0 means: initial state, whatever stands in the area; FCW and MXCSR are written for
    // those who read it (KVM_GET_FPU), and MXCSR is always taken from memory.
    state->area->fpstate.cwd = FCW_DEFAULT;
    state->area->fpstate.mxcsr = MXCSR_DEFAULT;
    state->xcr0 = host.xcr0;
    state->xss = 0;
    return 0;
}

void fpu_state_destroy(struct fpu_state *state) {
    heap_free(state->area);
    state->area = NULL;
}

void fpu_state_sanitize(struct fpu_state *state) {
    struct _header *header = &state->area->xstate_hdr;
    state->area->fpstate.mxcsr &= MXCSR_WRITABLE;
    *header = (struct _header){.xfeatures = header->xfeatures & state->xcr0};
}

static void save(struct fpu_state *state) {
    if (cpu_features.xsaveopt)
        __asm__ volatile("xsaveopt64 %0" : "+m"(*state->area) : "a"(-1), "d"(-1) : "memory");
    else
        __asm__ volatile("xsave64 %0" : "+m"(*state->area) : "a"(-1), "d"(-1) : "memory");
}

static void restore(const struct fpu_state *state) {
    __asm__ volatile("xrstor64 %0" ::"m"(*state->area), "a"(-1), "d"(-1) : "memory");
}

// A guest's SSE registers are in use while its XCR0 has only the x87 bit, as reset leaves it; so
// both instructions run under the host's XCR0, and the guest's is there only between them.
void fpu_switch(struct fpu_state *from, struct fpu_state *to) {
    if (from) {
        if (from->xcr0 != host.xcr0)
            write_xcr0(host.xcr0);
        save(from);
    }
    if (to) {
        restore(to);
        if (to->xcr0 != host.xcr0)
            write_xcr0(to->xcr0);
    }
}
