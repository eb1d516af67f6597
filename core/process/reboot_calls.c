// SPDX-License-Identifier: BSD-2-Clause
// reboot(2): powers the machine off or resets it.
#include <asm/errno.h>
#include <linux/reboot.h>
#include "arch/x86/cpu.h"
#include "core/process/process.h"
#include "core/process/system_call.h"

int64_t sys_reboot(const uint64_t *a) {
    uint32_t magic = (uint32_t)a[1];
    if ((uint32_t)a[0] != LINUX_REBOOT_MAGIC1 ||
        (magic != LINUX_REBOOT_MAGIC2 && magic != LINUX_REBOOT_MAGIC2A &&
         magic != LINUX_REBOOT_MAGIC2B && magic != LINUX_REBOOT_MAGIC2C))
        return -EINVAL;
    if (account_is_limited(process_current()->account)) // init's alone; a program ends its own VM
        return -EPERM;
    switch ((uint32_t)a[2]) {
    case LINUX_REBOOT_CMD_CAD_ON:
    case LINUX_REBOOT_CMD_CAD_OFF:
        return 0; // no keyboard is watched for Ctrl-Alt-Del
    case LINUX_REBOOT_CMD_POWER_OFF:
    case LINUX_REBOOT_CMD_HALT:
        machine_power_off();
    case LINUX_REBOOT_CMD_RESTART:
        machine_reset();
    default:
        return -EINVAL;
    }
}
