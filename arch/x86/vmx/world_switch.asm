; SPDX-License-Identifier: BSD-2-Clause
; The world switch: registers that VMLAUNCH, VMRESUME and the VM exit leave alone (SDM vol. 3 27.3, 28.3).

bits 64
default rel

VMCS_HOST_RSP equ 0x6c14

%include "arch/x86/guest/guest_registers.inc"

section .text

; bool vmx_world_switch(struct virt_vcpu *vcpu (rdi), uint64_t *host_rsp (rsi), bool launched (edx))
global vmx_world_switch
align 64
vmx_world_switch:
    PUSH_HOST_REGISTERS
    push rdi
    cmp rsp, [rsi]
    je .host_rsp_same
    mov [rsi], rsp
    mov eax, VMCS_HOST_RSP
    vmwrite rax, rsp
.host_rsp_same:
    test dl, dl                 ; MOV keeps the flags until the branch
    LOAD_GUEST_REGISTERS
    mov rax, GPR(0)
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
    SAVE_GUEST_REGISTERS
restore_host:
    POP_HOST_REGISTERS
    ret
