; SPDX-License-Identifier: BSD-2-Clause
; The world switch: what VMRUN and the exit leave alone (APM vol. 2 15.5, 15.6). VMLOAD and VMSAVE move FS, GS, TR, LDTR
; and the MSRs of SYSCALL and SYSENTER.

bits 64
default rel

%include "arch/x86/guest/guest_registers.inc"

section .text

; void svm_world_switch(struct virt_vcpu *vcpu (rdi), uint64_t vmcb (rsi), uint64_t host_vmcb (rdx))
; RAX and RSP are in the VMCB.
global svm_world_switch
align 64
svm_world_switch:
    PUSH_HOST_REGISTERS
    push rdx
    push rdi
    mov rax, rsi
    LOAD_GUEST_REGISTERS
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
    SAVE_GUEST_REGISTERS
    add rsp, 8
    POP_HOST_REGISTERS
    ret
