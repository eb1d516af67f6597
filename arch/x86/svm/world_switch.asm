; SPDX-License-Identifier: BSD-2-Clause
; The world switch: what VMRUN and the exit leave alone (APM vol. 2 15.5, 15.6). VMLOAD and VMSAVE move FS, GS, TR, LDTR
; and the MSRs of SYSCALL and SYSENTER.

bits 64
default rel

; struct virt_vcpu begins with gpr[16] in hardware order; RAX and RSP are in the VMCB.
%define GPR(n) [rdi + 8 * n]

section .text

; void svm_world_switch(struct virt_vcpu *vcpu (rdi), uint64_t vmcb (rsi), uint64_t host_vmcb (rdx))
global svm_world_switch
align 64
svm_world_switch:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    push rdx
    push rdi
    mov rax, rsi
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
    ; From CLGI to STGI neither interrupt nor NMI meets the guest's TR and GS. With IF set at VMRUN a physical interrupt
    ; ends the guest whatever its own IF says (V_INTR_MASKING, APM vol. 2 15.21.1).
    clgi
    sti
    vmload
    vmrun
    vmsave
    mov rax, [rsp + 8]
    vmload
    cli
    stgi
    push rdi
    mov rdi, [rsp + 8]
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
    add rsp, 16
    ; No guest value stays in a register that C may speculate with; the callee-saved ones follow below.
    xor eax, eax
    xor ecx, ecx
    xor edx, edx
    xor esi, esi
    xor edi, edi
    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
    xor r11d, r11d
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
