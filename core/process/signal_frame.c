// SPDX-License-Identifier: BSD-2-Clause
// Linux's rt_sigframe: <asm/ucontext.h>, <asm/sigcontext.h>; the FPU area follows in XSAVE format
// with Linux's magic words.
#include <asm/errno.h>
#include <asm/processor-flags.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <asm/sigcontext.h>
#include <asm/ucontext.h>
#include <stddef.h>
#include "arch/x86/context.h"
#include "core/mm/address_space.h"
#include "core/mm/user_copy.h"
#include "core/process/signal_frame.h"
#include "core/process/signal_queue.h"
#include "core/sched/thread.h"
#include "core/string.h"

struct rt_sigframe {
    uint64_t return_address;
    struct ucontext context;
    siginfo_t info;
};
_Static_assert(sizeof(struct rt_sigframe) == 440, "as in Linux");
_Static_assert(offsetof(struct ucontext, uc_sigmask) == 296, "as in Linux");

#define RED_ZONE        128 // System V ABI, 3.2.2
#define SW_BYTES_OFFSET offsetof(struct _fpstate, sw_reserved)
#define XSTATE_FP_SSE   3

// What a program may set in RFLAGS by itself.
#define USER_FLAGS                                                                                 \
    (X86_EFLAGS_CF | X86_EFLAGS_PF | X86_EFLAGS_AF | X86_EFLAGS_ZF | X86_EFLAGS_SF |               \
     X86_EFLAGS_TF | X86_EFLAGS_DF | X86_EFLAGS_OF | X86_EFLAGS_RF | X86_EFLAGS_AC)

uint64_t signal_frame_size(void) {
    return sizeof(struct rt_sigframe) + 64 + fpu_area_size() + FP_XSTATE_MAGIC2_SIZE + 16;
}

static bool on_alternate_stack(const struct signal_state *state, uint64_t sp) {
    return !(state->alternate_flags & (SS_DISABLE | SS_AUTODISARM)) &&
           sp > state->alternate_stack && sp - state->alternate_stack <= state->alternate_size;
}

// The CPU's FPU registers are this thread's: the kernel never uses them.
static void save_fpu(struct thread *thread) {
    if (thread->fpu != &thread->user_fpu)
        fpu_switch(thread->fpu, &thread->user_fpu);
    thread->fpu = &thread->user_fpu;
    fpu_switch(&thread->user_fpu, NULL);
}

static int push_fpu(struct thread *thread, uint64_t address) {
    save_fpu(thread);
    uint32_t size = fpu_area_size(), magic2 = FP_XSTATE_MAGIC2;
    struct _fpx_sw_bytes software = {
        .magic1 = FP_XSTATE_MAGIC1,
        .extended_size = size + FP_XSTATE_MAGIC2_SIZE,
        .xfeatures = fpu_host_xcr0(),
        .xstate_size = size,
    };
    if (copy_to_user(address, thread->user_fpu.area, size) ||
        copy_to_user(address + SW_BYTES_OFFSET, &software, sizeof software))
        return -EFAULT;
    return copy_to_user(address + size, &magic2, sizeof magic2);
}

// What is the same in both.
static const struct {
    uint16_t frame, context;
} registers[] = {
#define REGISTER(name)                                                                             \
    { offsetof(struct trap_frame, name), offsetof(struct sigcontext, name) }
    REGISTER(r8),  REGISTER(r9),  REGISTER(r10), REGISTER(r11), REGISTER(r12), REGISTER(r13),
    REGISTER(r14), REGISTER(r15), REGISTER(rdi), REGISTER(rsi), REGISTER(rbp), REGISTER(rbx),
    REGISTER(rdx), REGISTER(rax), REGISTER(rcx), REGISTER(rsp), REGISTER(rip),
#undef REGISTER
};
enum { REGISTERS = sizeof registers / sizeof *registers };

static void save_registers(const struct trap_frame *frame, struct sigcontext *out) {
    for (unsigned i = 0; i < REGISTERS; i++)
        memcpy((char *)out + registers[i].context, (const char *)frame + registers[i].frame, 8);
    out->eflags = frame->rflags;
    out->cs = (uint16_t)frame->cs;
    out->ss = (uint16_t)frame->ss;
    out->err = frame->error;
    out->trapno = frame->vector;
}

static void restore_registers(struct trap_frame *frame, const struct sigcontext *in) {
    for (unsigned i = 0; i < REGISTERS; i++)
        memcpy((char *)frame + registers[i].frame, (const char *)in + registers[i].context, 8);
    frame->rflags = (frame->rflags & ~(uint64_t)USER_FLAGS) | (in->eflags & USER_FLAGS);
}

int signal_frame_push(struct trap_frame *frame, uint64_t handler, uint64_t flags, uint64_t restorer,
                      uint64_t blocked, const struct signal_info *info) {
    struct thread *thread = thread_current();
    struct signal_state *state = &thread->signals;
    uint64_t sp = frame->rsp - RED_ZONE;
    bool switched = flags & SA_ONSTACK && !(state->alternate_flags & SS_DISABLE) &&
                    !on_alternate_stack(state, frame->rsp);
    if (switched)
        sp = state->alternate_stack + state->alternate_size;
    uint64_t fpu = (sp - fpu_area_size() - FP_XSTATE_MAGIC2_SIZE) & ~63ull;
    uint64_t at = ((fpu - sizeof(struct rt_sigframe)) & ~15ull) - 8; // as after a CALL
    if (handler >= USER_END || at >= USER_END)
        return -EFAULT;
    if (on_alternate_stack(state, frame->rsp) && !on_alternate_stack(state, at))
        return -EFAULT; // Linux: overflow of the alternate stack
    struct rt_sigframe out = {.return_address = restorer};
    out.context.uc_flags = UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS | UC_FP_XSTATE;
    out.context.uc_stack.ss_sp = (void *)(uintptr_t)state->alternate_stack;
    out.context.uc_stack.ss_size = state->alternate_size;
    out.context.uc_stack.ss_flags = (int)state->alternate_flags;
    save_registers(frame, &out.context.uc_mcontext);
    out.context.uc_mcontext.oldmask = blocked;
    out.context.uc_mcontext.cr2 = info->code > 0 ? info->value : 0;
    out.context.uc_mcontext.fpstate = (void *)(uintptr_t)fpu;
    out.context.uc_sigmask = blocked;
    signal_info_to_user(info, &out.info);
    if (push_fpu(thread, fpu) || copy_to_user(at, &out, sizeof out))
        return -EFAULT;
    if (state->alternate_flags & SS_AUTODISARM) {
        state->alternate_stack = state->alternate_size = 0;
        state->alternate_flags = SS_DISABLE;
    }
    frame->rdi = (uint64_t)info->signal;
    frame->rsi = at + offsetof(struct rt_sigframe, info);
    frame->rdx = at + offsetof(struct rt_sigframe, context);
    frame->rax = 0;
    frame->rip = handler;
    frame->rsp = at;
    frame->rflags &= ~(uint64_t)(X86_EFLAGS_DF | X86_EFLAGS_RF | X86_EFLAGS_TF);
    return 0;
}

static int pop_fpu(uint64_t address) {
    uint32_t size = fpu_area_size();
    struct _fpx_sw_bytes software;
    struct fpu_state fresh;
    if (!address) // a frame made by hand: the FPU goes back to its initial state
        return thread_reset_fpu();
    if (copy_from_user(&software, address + SW_BYTES_OFFSET, sizeof software))
        return -EFAULT;
    bool extended = software.magic1 == FP_XSTATE_MAGIC1 && software.xstate_size == size;
    // Not into the thread's own area: the copy may fault and wait, and the switch to another thread
    // would save the registers over what has been copied.
    int error = fpu_state_init(&fresh);
    if (!error)
        error = copy_from_user(fresh.area, address, extended ? size : sizeof(struct _fpstate));
    if (error) {
        fpu_state_destroy(&fresh);
        return error;
    }
    if (!extended)
        fresh.area->xstate_hdr.xfeatures = XSTATE_FP_SSE;
    fpu_state_sanitize(&fresh);
    thread_replace_fpu(&fresh);
    return 0;
}

int signal_frame_pop(struct trap_frame *frame) {
    struct thread *thread = thread_current();
    struct signal_state *state = &thread->signals;
    struct rt_sigframe in;
    // The handler's RET has taken the return address.
    if (copy_from_user(&in, frame->rsp - 8, sizeof in) || in.context.uc_mcontext.rip >= USER_END)
        return -EFAULT;
    restore_registers(frame, &in.context.uc_mcontext);
    frame->vector = TRAP_FRAME_FULL;
    signal_mask_set(in.context.uc_sigmask);
    state->restore_blocked = false;
    if (pop_fpu((uint64_t)(uintptr_t)in.context.uc_mcontext.fpstate))
        return -EFAULT;
    if (!on_alternate_stack(state, frame->rsp)) {
        state->alternate_stack = (uint64_t)(uintptr_t)in.context.uc_stack.ss_sp;
        state->alternate_size = in.context.uc_stack.ss_size;
        state->alternate_flags = (uint32_t)in.context.uc_stack.ss_flags;
    }
    return 0;
}
