// SPDX-License-Identifier: BSD-2-Clause
// Two Linux guests at once, one a process, each with memory enough to boot. Both power off by
// themselves; a third, whose VMM is killed in the middle of its boot, disturbs neither.
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "start_program.h"

// A string of its own: in the argument list the pieces would look like forgotten commas.
static char command_line[] =
    "console=ttyS0 quiet cryptomgr.notests=1 nokaslr mitigations=off tsc=reliable "
    "initcall_blacklist=load_system_certificate_list,init_kprobe_trace "
    "rdinit=/bin/busybox -- poweroff -f";

static pid_t start_guest(char *serial) {
    char *arguments[] = {"vmm",      "--kernel",  "vmlinuz",    "--initrd", "initrd.img",
                         "--memory", "96M",       "--cpus",     "1",        "--serial",
                         serial,     "--cmdline", command_line, NULL};

    return start_program("/bin/vmm", arguments);
}

static int ended_well(pid_t child, const char *name) {
    int status;

    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        printf("not ok - the %s guest: status %#x\n", name, status);
        return 0;
    }
    printf("ok - the %s guest powered off\n", name);
    return 1;
}

int main(void) {
    pid_t first = start_guest("file=first.log");
    pid_t victim = start_guest("null");
    int status;

    usleep(300000);
    kill(victim, SIGKILL);
    waitpid(victim, &status, 0);
    pid_t second = start_guest("file=second.log");
    int good = ended_well(first, "first") & ended_well(second, "second");
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        printf("not ok - the killed VMM: status %#x\n", status);
        good = 0;
    }
    return good ? 0 : 1;
}
