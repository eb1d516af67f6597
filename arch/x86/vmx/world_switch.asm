; SPDX-License-Identifier: BSD-2-Clause
; The world switch: registers that VMLAUNCH, VMRESUME and the VM exit leave alone (SDM vol. 3 27.3, 28.3).

bits 64
default rel

VMCS_HOST_RSP equ 0x6c14

; struct virt_vcpu begins with gpr[16] in hardware order.
%define GPR(n) [rdi + 8 * n]

section .text

; bool vmx_world_switch(struct virt_vcpu *vcpu (rdi), uint64_t *host_rsp (rsi), bool launched (edx))
global vmx_world_switch
align 64
vmx_world_switch:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    push rdi
    cmp rsp, [rsi]
    je .host_rsp_same
    mov [rsi], rsp
    mov eax, VMCS_HOST_RSP
    vmwrite rax, rsp
.host_rsp_same:
    test dl, dl                 ; MOV keeps the flags until the branch
    mov rax, GPR(0)
    mov rcx, GPR(1)
    mov rdx, GPR(2)
    mov rbx, GPR(3)
    mov rbp, GPR(5)
    mov rsi, GPR(6)
    mov r8, GPR(8)
    mov r9, GPR(9)
    mov r10, GPR(10)
    mov r11, GPR(11)
    mov r12, GPR(12)
    mov r13, GPR(13)
    mov r14, GPR(14)
    mov r15, GPR(15)
    mov rdi, GPR(7)
    jz .launch
    vmresume
    jmp .failed
.launch:
    vmlaunch
.failed:
    pop rdi
    mov eax, 1
    jmp restore_host

; Host RIP. RSP is what it was at the entry, RFLAGS 2.
global vmx_exit_point
align 64
vmx_exit_point:
    push rdi
    mov rdi, [rsp + 8]
    mov GPR(0), rax
    mov GPR(1), rcx
    mov GPR(2), rdx
    mov GPR(3), rbx
    mov GPR(5), rbp
    mov GPR(6), rsi
    mov GPR(8), r8
    mov GPR(9), r9
    mov GPR(10), r10
    mov GPR(11), r11
    mov GPR(12), r12
    mov GPR(13), r13
    mov GPR(14), r14
    mov GPR(15), r15
    pop qword GPR(7)
    pop rdi
    ; No guest value stays in a register that C may speculate with; the callee-saved ones follow below.
    xor eax, eax
    xor ecx, ecx
    xor edx, edx
    xor esi, esi
    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
    xor r11d, r11d
restore_host:
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
