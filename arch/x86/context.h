// SPDX-License-Identifier: BSD-2-Clause
// A thread's registers: the trap frame of user mode, the kernel context switch, and the FPU state.
#pragma once
#include <stdint.h>
#include <asm/sigcontext.h>

// Laid out so that the six system-call arguments stand in order at the start. Built by every entry
// from user mode at the top of the thread's kernel stack (stub.asm must agree; static asserts in
// context.c).
struct trap_frame {
    uint64_t rdi, rsi, rdx, r10, r8, r9;
    uint64_t rax, rcx, r11, rbx, rbp, r12, r13, r14, r15;
    uint64_t vector; // or the system-call number (orig_rax); -1: not in a system call
    uint64_t error;
    uint64_t rip, cs, rflags, rsp, ss;
};

// x87/SSE/AVX... registers. The kernel never uses them, so they are switched only with the thread,
// or when KVM_RUN goes from user to guest. Area: XSAVE standard format, fpu_area_size() bytes,
// 64-byte aligned.
struct fpu_state {
    struct _xstate *area;
    uint64_t xcr0; // what XCR0 holds while these registers are loaded (host: fpu_host_xcr0())
    uint64_t xss;
};

int fpu_state_init(struct fpu_state *state); // allocates the area, power-on content. 0 or -ENOMEM
void fpu_state_destroy(struct fpu_state *state);
uint32_t fpu_area_size(void);
uint64_t fpu_host_xcr0(void);
// Makes an area that came from outside (signal frame, KVM_SET_XSAVE) loadable: only features of
// state->xcr0, no reserved bits.
void fpu_state_sanitize(struct fpu_state *state);
// Saves the registers into `from` (NULL: drop) and loads `to` (NULL: nothing).
void fpu_switch(struct fpu_state *from, struct fpu_state *to);

struct thread;
// Saves callee-saved registers and RSP of `from`, continues `to`. Also switches RSP0/SYSCALL stack,
// FS/GS base and FPU. Interrupts off.
void context_switch(struct thread *from, struct thread *to);
// While cpu->guest_msrs_loaded is set, KERNEL_GS_BASE is a guest's: virt has put the user's value
// into thread->gs_base before, and writes thread_current()->gs_base back in virt_user_return.
// Prepares a new thread's kernel stack (and sets thread->frame to its top) so that the first
// context_switch to it calls entry(argument).
void context_prepare(struct thread *thread, void (*entry)(void *argument), void *argument);

// FS and GS base of the current thread's user mode (arch_prctl): read from and written to the CPU
// and the thread.
uint64_t context_fs_base(void);
uint64_t context_gs_base(void);
void context_set_fs_base(uint64_t base);
void context_set_gs_base(uint64_t base);

// A system call that rewrites the frame as a whole (rt_sigreturn, execve) sets frame->vector =
// TRAP_FRAME_FULL, so that the way out restores every register; otherwise rbx, rbp and r12-r15 are
// those of the caller and only rax, the arguments, rip and rsp are reloaded.
#define TRAP_FRAME_FULL UINT64_MAX

// Leaves the kernel for user mode with thread_current()->frame (full IRETQ).
_Noreturn void context_return_to_user(void);
