; SPDX-License-Identifier: BSD-2-Clause
; Every way into ring 0 but the VM exit: SYSCALL and the 256 IDT stubs; and the ways back to user mode.
; All build a struct trap_frame (arch/x86/context.h).

%include "arch/x86/cpu/frame.inc"

bits 64
default rel

extern system_call_dispatch, user_return, trap_dispatch, trap_paranoid, trap_bad_return

section .rodata
global trap_smap_sites
trap_smap_sites:

section .text

; SYSCALL: RCX = user RIP, R11 = user RFLAGS, IF, AC, TF, DF cleared by SFMASK.
global system_call_entry
align 64
system_call_entry:
    swapgs
    mov [gs:CPU_USER_STACK], rsp
    mov rsp, [gs:CPU_KERNEL_STACK]
    push SEGMENT_USER_DATA
    push qword [gs:CPU_USER_STACK]
    push r11
    push SEGMENT_USER_CODE
    push rcx
    push 0                      ; error
    push rax                    ; vector: the call's number
    PUSH_REGISTERS
    mov rdi, rsp
    call system_call_dispatch
    CHECK_WORK system_call_slow
    ; SYSRET only when nobody rewrote the frame: it takes RIP from RCX and RFLAGS from R11.
    mov rcx, [rsp + FRAME_RIP]
    cmp rcx, [rsp + FRAME_RCX]
    jne return_full
    cmp qword [rsp + FRAME_VECTOR], -1
    je return_full
    mov r11, [rsp + FRAME_RFLAGS]
    mov rdx, rcx
    shr rdx, 47                 ; SYSRET to a non-canonical RIP faults in ring 0 on Intel (SDM 2B SYSRET)
    jnz return_full
    ; RBX, RBP, R12-R15 are the caller's still: C functions preserve them.
    pop rdi
    pop rsi
    pop rdx
    pop r10
    pop r8
    pop r9
    pop rax
    mov rsp, [rsp + FRAME_RSP - FRAME_RCX]
    swapgs
    o64 sysret

system_call_slow:
    mov rdi, rsp
    call user_return
return_check:
    CHECK_WORK system_call_slow
; Full restore of [rsp] and IRETQ to user mode.
return_full:
    mov rax, [rsp + FRAME_RIP]
    shr rax, 47                 ; IRETQ to a non-canonical RIP would fault in ring 0 with the user's GS
    jnz return_bad
    POP_REGISTERS
    add rsp, 16
    swapgs
    iretq
return_bad:
    mov rdi, rsp
    call trap_bad_return
    jmp return_check

; void context_return_to_frame(struct trap_frame *frame)
global context_return_to_frame
context_return_to_frame:
    mov rsp, rdi
    jmp return_check

; --- traps and interrupts ---
%macro STUB 1
    align 16
    %if %1 = 8 || (%1 >= 10 && %1 <= 14) || %1 = 17 || %1 = 21 || %1 = 29 || %1 = 30
    %else
    push 0
    %endif
    push qword %1               ; sign-extended byte or doubleword
    %if %1 = 1 || %1 = 2 || %1 = 8 || %1 = 18
    jmp near paranoid_entry
    %else
    jmp near trap_entry
    %endif
%endmacro

align 16
global trap_stubs
trap_stubs:
%assign vector 0
%rep 256
    STUB vector
%assign vector vector + 1
%endrep

align 64
trap_entry:
    SMAP_CLOSE
    cld
    PUSH_REGISTERS
    test byte [rsp + FRAME_CS], 3
    jz trap_from_kernel
    swapgs
trap_from_user:
    mov rsi, [rsp + FRAME_VECTOR]
    mov qword [rsp + FRAME_VECTOR], -1
    mov rdi, rsp
    call trap_dispatch
    jmp return_check
trap_from_kernel:
    mov rsi, [rsp + FRAME_VECTOR]
    mov rdi, rsp
    call trap_dispatch
    POP_REGISTERS
    add rsp, 16
    iretq

; #DB, NMI, #DF, #MC: may come where GS is still the user's (the first instructions of system_call_entry), so they run on
; IST stacks of their own, at whose top the CPU's area is written down.
align 64
paranoid_entry:
    SMAP_CLOSE
    cld
    PUSH_REGISTERS
    mov rdi, rsp
    mov rbx, rsp
    mov ecx, MSR_GS_BASE
    rdmsr
    mov r12d, eax
    mov r13d, edx
    mov rsi, [rsp + FRAME_SIZE] ; the pointer above the hardware frame
    mov rdx, rsi
    mov eax, esi
    shr rdx, 32
    wrmsr
    test byte [rsp + FRAME_CS], 3
    jnz .user
.kernel:
    mov rsi, [rbx + FRAME_VECTOR]
    call trap_paranoid
    mov eax, r12d
    mov edx, r13d
    mov ecx, MSR_GS_BASE
    wrmsr
    mov rsp, rbx
    POP_REGISTERS
    add rsp, 16
    iretq
.user:
    cmp qword [rsp + FRAME_VECTOR], 1
    jne .kernel                 ; NMI, #MC: handled here, back to user untouched
    ; A single-step trap of a program: go on as an ordinary trap on the thread's stack.
    mov eax, r12d
    mov edx, r13d
    mov ecx, MSR_GS_BASE
    wrmsr
    swapgs
    mov rdi, [gs:CPU_KERNEL_STACK]
    sub rdi, FRAME_SIZE
    mov rsi, rsp
    mov rdx, rdi
    mov ecx, FRAME_SIZE / 8
    rep movsq
    mov rsp, rdx
    jmp trap_from_user

; --- kernel context ---

; void context_switch_stacks(uintptr_t *save, uintptr_t load)
global context_switch_stacks
align 16
context_switch_stacks:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    mov [rdi], rsp
    mov rsp, rsi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret

; First run of a thread: context_prepare left entry in RBX and its argument in R12.
global context_start
context_start:
    mov rdi, r12
    xor ebp, ebp
    call rbx
    ud2

; void context_call_on_stack(void (*function)(void *), void *argument, uintptr_t stack_top): does not return.
global context_call_on_stack
context_call_on_stack:
    mov rax, rdi
    mov rdi, rsi
    mov rsp, rdx
    xor ebp, ebp
    call rax
    ud2

[section .rodata]
    dq 0
