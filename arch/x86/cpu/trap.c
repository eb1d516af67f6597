// SPDX-License-Identifier: BSD-2-Clause
// Exceptions: a program's become signals, a user copy's are resolved or fixed up, the kernel's own
// are panics.
#include "arch/x86/cpu/trap.h"
#include <asm/errno.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/irq.h"
#include "core/mm/address_space.h"
#include "core/sched/thread.h"

enum vector {
    VECTOR_DB = 1,
    VECTOR_NMI = 2,
    VECTOR_DF = 8,
    VECTOR_PF = 14,
    VECTOR_MF = 16,
    VECTOR_MC = 18,
    VECTOR_XM = 19,
    VECTOR_EXCEPTIONS = 32,
};

enum { PF_WRITE = 2, PF_RESERVED = 8, PF_FETCH = 16 };

struct exception {
    const char *name;
    int signal, code;
};

// Names as in SDM 3A 6.15; signals and codes as Linux gives them on x86-64.
static const struct exception exceptions[VECTOR_EXCEPTIONS] = {
    [0] = {"#DE divide error", SIGFPE, FPE_INTDIV},
    [1] = {"#DB debug", SIGTRAP, TRAP_TRACE},
    [2] = {"NMI", 0, 0},
    [3] = {"#BP breakpoint", SIGTRAP, SI_KERNEL},
    [4] = {"#OF overflow", SIGSEGV, SI_KERNEL},
    [5] = {"#BR bound range", SIGSEGV, SI_KERNEL},
    [6] = {"#UD invalid opcode", SIGILL, ILL_ILLOPN},
    [7] = {"#NM device not available", SIGILL, ILL_COPROC},
    [8] = {"#DF double fault", 0, 0},
    [9] = {"coprocessor overrun", SIGFPE, SI_KERNEL},
    [10] = {"#TS invalid TSS", SIGSEGV, SI_KERNEL},
    [11] = {"#NP segment not present", SIGBUS, SI_KERNEL},
    [12] = {"#SS stack fault", SIGBUS, SI_KERNEL},
    [13] = {"#GP general protection", SIGSEGV, SI_KERNEL},
    [14] = {"#PF page fault", SIGSEGV, SEGV_MAPERR},
    [15] = {"reserved", SIGILL, ILL_ILLOPN},
    [16] = {"#MF x87 error", SIGFPE, FPE_FLTINV},
    [17] = {"#AC alignment check", SIGBUS, BUS_ADRALN},
    [18] = {"#MC machine check", 0, 0},
    [19] = {"#XM SIMD error", SIGFPE, FPE_FLTINV},
    [20] = {"#VE virtualization", SIGILL, ILL_ILLOPN},
    [21] = {"#CP control protection", SIGSEGV, SI_KERNEL},
};

const char *trap_name(unsigned vector) {
    const char *name = vector < VECTOR_EXCEPTIONS ? exceptions[vector].name : NULL;
    return name ? name : "unknown vector";
}

static enum access fault_access(uint64_t error) {
    return error & PF_FETCH ? ACCESS_EXECUTE : error & PF_WRITE ? ACCESS_WRITE : ACCESS_READ;
}

// 0: resolved. Not for addresses of the kernel.
static int resolve_fault(uint64_t address, uint64_t error) {
    struct address_space *space = this_cpu()->space;
    if (!space || address >= USER_END || (error & PF_RESERVED))
        return -EFAULT;
    return address_space_fault(space, address, fault_access(error));
}

static void user_page_fault(const struct trap_frame *frame) {
    uint64_t address = read_cr2(); // before anything else can fault
    int error = resolve_fault(address, frame->error);
    if (!error)
        return;
    // A program is not told what the kernel has mapped.
    struct address_space *space = this_cpu()->space;
    bool mapped = space && address < USER_END && address_space_is_mapped(space, address);
    if (error == -EFAULT)
        signal_fault(SIGSEGV, mapped ? SEGV_ACCERR : SEGV_MAPERR, address);
    else
        signal_fault(SIGBUS, BUS_ADRERR, address);
}

// Which of the unmasked exceptions in a status word fired (SDM 1 8.6, 11.6): bits as in x87 and
// MXCSR.
static int floating_code(unsigned raised) {
    if (raised & 0x01)
        return FPE_FLTINV;
    if (raised & 0x04)
        return FPE_FLTDIV;
    if (raised & 0x08)
        return FPE_FLTOVF;
    if (raised & 0x12)
        return FPE_FLTUND;
    return raised & 0x20 ? FPE_FLTRES : FPE_FLTINV;
}

static int x87_code(void) {
    uint16_t status, control;
    __asm__ volatile("fnstsw %0" : "=m"(status));
    __asm__ volatile("fnstcw %0" : "=m"(control));
    return floating_code(status & ~control & 0x3f);
}

static int simd_code(void) {
    uint32_t mxcsr;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    return floating_code(mxcsr & ~(mxcsr >> 7) & 0x3f);
}

static void user_exception(struct trap_frame *frame, unsigned vector) {
    const struct exception *exception = &exceptions[vector];
    if (vector == VECTOR_PF)
        user_page_fault(frame);
    else if (vector == VECTOR_MF)
        signal_fault(SIGFPE, x87_code(), frame->rip);
    else if (vector == VECTOR_XM)
        signal_fault(SIGFPE, simd_code(), frame->rip);
    else if (exception->signal)
        signal_fault(exception->signal, exception->code,
                     exception->code == SI_KERNEL ? 0 : frame->rip);
    else
        signal_fault(SIGILL, ILL_ILLOPN, frame->rip);
}

struct fixup {
    uint64_t fault, resume;
};

// Where to go on after a fault at rip in a user access; 0: it is none.
static uint64_t fixup_of(uint64_t rip) {
    extern const struct fixup user_access_fixups[];
    for (const struct fixup *fixup = user_access_fixups; fixup->fault; fixup++)
        if (fixup->fault == rip)
            return fixup->resume;
    return 0;
}

static void kernel_exception(struct trap_frame *frame, unsigned vector) {
    uint64_t address = read_cr2();
    uint64_t resume = fixup_of(frame->rip);
    if (!resume)
        panic_trap(frame, vector);
    if (vector == VECTOR_PF && address < USER_END && resolve_fault(address, frame->error) == 0)
        return;
    frame->rip = resume;
}

// From trap_entry.asm: everything but the four paranoid vectors.
void trap_dispatch(struct trap_frame *frame, unsigned vector) {
    if (vector >= VECTOR_EXCEPTIONS)
        irq_dispatch(vector);
    else if (frame->cs & 3)
        user_exception(frame, vector);
    else
        kernel_exception(frame, vector);
}

// NMI, #DF, #MC, and #DB of the kernel: on their own stacks, with the kernel's GS.
void trap_paranoid(struct trap_frame *frame, unsigned vector) {
    if (vector != VECTOR_NMI)
        panic_trap(frame, vector);
    while (panic_in_progress())
        __asm__ volatile("cli; hlt");
}

// The frame's RIP is not canonical, so it cannot even be returned to.
void trap_bad_return(struct trap_frame *frame) {
    uint64_t rip = frame->rip;
    frame->rip = 0; // where nothing is mapped, should the signal be ignored
    frame->vector = TRAP_FRAME_FULL;
    signal_fault(SIGSEGV, SI_KERNEL, rip);
}
