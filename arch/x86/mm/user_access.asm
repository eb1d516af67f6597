; SPDX-License-Identifier: BSD-2-Clause
; User memory primitives (user_access.h). A fault inside that nobody can resolve continues at the place that the fixup
; table names for the faulting instruction.

%include "arch/x86/cpu/frame.inc"

bits 64
default rel

section .rodata
global user_access_smap_sites, user_access_fixups
user_access_smap_sites:

section .rodata.fixup progbits alloc noexec nowrite align=8
user_access_fixups:

; The next instruction may fault: continue at %1.
%macro MAY_FAULT 1
%%here:
[section .rodata.fixup]
    dq %%here, %1
__?SECT?__
%endmacro

section .text

; size_t user_access_copy(void *to, const void *from, size_t size)
global user_access_copy
align 16
user_access_copy:
    SMAP_OPEN
    mov rcx, rdx
    and edx, 7
    shr rcx, 3
    MAY_FAULT .words_fault
    rep movsq
    mov ecx, edx
    MAY_FAULT .done
    rep movsb
.done:
    SMAP_CLOSE
    mov rax, rcx
    ret
.words_fault:
    lea rcx, [rdx + rcx * 8]
    ; A word that straddles into the bad page: copy what can be copied of it.
    MAY_FAULT .done
    rep movsb
    jmp .done

; size_t user_access_clear(void *to, size_t size)
global user_access_clear
align 16
user_access_clear:
    SMAP_OPEN
    xor eax, eax
    mov rcx, rsi
    and esi, 7
    shr rcx, 3
    MAY_FAULT .words_fault
    rep stosq
    mov ecx, esi
    MAY_FAULT .done
    rep stosb
.done:
    SMAP_CLOSE
    mov rax, rcx
    ret
.words_fault:
    lea rcx, [rsi + rcx * 8]
    MAY_FAULT .done
    rep stosb
    jmp .done

; int64_t user_access_string(char *to, const char *from, size_t size)
global user_access_string
align 16
user_access_string:
    SMAP_OPEN
    xor eax, eax
.next:
    cmp rax, rdx
    je .done
    MAY_FAULT .fault
    mov cl, [rsi + rax]
    MAY_FAULT .fault
    mov [rdi + rax], cl
    test cl, cl
    jz .done
    inc rax
    jmp .next
.fault:
    mov rax, -1
.done:
    SMAP_CLOSE
    ret

; int user_access_load_32(uint32_t *value, const uint32_t *from) and its kin
global user_access_load_32
align 16
user_access_load_32:
    SMAP_OPEN
    MAY_FAULT access_fault
    mov ecx, [rsi]
    SMAP_CLOSE
    mov [rdi], ecx
    xor eax, eax
    ret

global user_access_load_64
align 16
user_access_load_64:
    SMAP_OPEN
    MAY_FAULT access_fault
    mov rcx, [rsi]
    SMAP_CLOSE
    mov [rdi], rcx
    xor eax, eax
    ret

global user_access_store_32
align 16
user_access_store_32:
    SMAP_OPEN
    MAY_FAULT access_fault
    mov [rdi], esi
    SMAP_CLOSE
    xor eax, eax
    ret

global user_access_store_64
align 16
user_access_store_64:
    SMAP_OPEN
    MAY_FAULT access_fault
    mov [rdi], rsi
    SMAP_CLOSE
    xor eax, eax
    ret

; int user_access_compare_exchange(void *address, uint64_t *expected, uint64_t replacement, unsigned size)
global user_access_compare_exchange
align 16
user_access_compare_exchange:
    mov rax, [rsi]
    SMAP_OPEN
    cmp ecx, 8
    je .eight
    cmp ecx, 4
    je .four
    cmp ecx, 2
    je .two
    MAY_FAULT access_fault
    lock cmpxchg [rdi], dl
    movzx eax, al
    jmp .done
.two:
    MAY_FAULT access_fault
    lock cmpxchg [rdi], dx
    movzx eax, ax
    jmp .done
.four:
    MAY_FAULT access_fault
    lock cmpxchg [rdi], edx
    mov eax, eax
    jmp .done
.eight:
    MAY_FAULT access_fault
    lock cmpxchg [rdi], rdx
.done:
    SMAP_CLOSE
    mov [rsi], rax
    xor eax, eax
    ret

access_fault:
    SMAP_CLOSE
    mov eax, 1
    ret

[section .rodata]
    dq 0
[section .rodata.fixup]
    dq 0
