; SPDX-License-Identifier: BSD-2-Clause
; The vDSO as a file inside the kernel.

section .rodata
global vdso_image, vdso_image_end
align 16
vdso_image:
    incbin "vdso.so"
vdso_image_end:
