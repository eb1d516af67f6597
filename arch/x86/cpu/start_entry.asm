; SPDX-License-Identifier: BSD-2-Clause
; The kernel's first instructions on the boot CPU, and the trampoline that brings the others from real mode (SIPI) to
; ap_start. The trampoline is copied to a page below 1 MiB; it finds its data at the end of that page.

bits 64
default rel

extern start, ap_start

section .text

; void kernel_entry(struct boot_info *info): on the loader's stack, interrupts off.
global kernel_entry
kernel_entry:
    cld
    cli
    lea rsp, [boot_stack_top]
    xor ebp, ebp
    push rbp
    push rbp
    call start
    ud2

section .bss
align 16
boot_stack:
    resb 16384
boot_stack_top:

section .rodata

TRAMPOLINE_CR3   equ 0xfe0     ; doubleword: page table below 4 GiB
TRAMPOLINE_STACK equ 0xfe8
TRAMPOLINE_CPU   equ 0xff0     ; struct cpu * for ap_start
TRAMPOLINE_ENTRY equ 0xff8     ; ap_start, set by the boot CPU

global ap_trampoline, ap_trampoline_end
align 16
ap_trampoline:
bits 16
    cli
    cld
    mov ax, cs
    mov ds, ax
    movzx ebx, ax
    shl ebx, 4                  ; where this page lies
    lea eax, [ebx + trampoline_gdt - ap_trampoline]
    mov [trampoline_gdt_base - ap_trampoline], eax
    lea eax, [ebx + trampoline_long - ap_trampoline]
    mov [trampoline_far - ap_trampoline], eax
    o32 lgdt [trampoline_gdt_limit - ap_trampoline]
    mov eax, cr4
    or eax, 1 << 5              ; PAE
    mov cr4, eax
    mov eax, [TRAMPOLINE_CR3]
    mov cr3, eax
    mov ecx, 0xc0000080         ; EFER
    rdmsr
    or eax, (1 << 8) | (1 << 11) ; LME, NXE
    wrmsr
    mov eax, cr0
    and eax, ~((1 << 30) | (1 << 29)) ; caches on
    or eax, (1 << 31) | 1
    mov cr0, eax                ; straight into compatibility mode
    jmp dword far [trampoline_far - ap_trampoline]
bits 64
trampoline_long:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov ebx, ebx
    mov rsp, [rbx + TRAMPOLINE_STACK]
    mov rdi, [rbx + TRAMPOLINE_CPU]
    mov rax, [rbx + TRAMPOLINE_ENTRY]
    xor ebp, ebp
    call rax
    ud2
align 8
trampoline_gdt:
    dq 0
    dq 0x00af9b000000ffff       ; 64-bit code
    dq 0x00cf93000000ffff       ; data
trampoline_gdt_limit:
    dw 23
trampoline_gdt_base:
    dd 0
trampoline_far:
    dd 0
    dw 8
ap_trampoline_end:
