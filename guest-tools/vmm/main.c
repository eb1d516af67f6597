// SPDX-License-Identifier: BSD-2-Clause
// vmm: runs one virtual machine, again and again where its guest reboots.
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "confine.h"
#include "control.h"
#include "error.h"
#include "options.h"
#include "terminal.h"
#include "virtio_channels.h"
#include "vm.h"

static struct vm machine;

static int open_kvm(void) {
    static const struct {
        int cap;
        const char *name;
    } required[] = {
        {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
        {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
        {KVM_CAP_PIT2, "KVM_CAP_PIT2"},
        {KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR"},
        {KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR"},
        {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
        {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
    };
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        fatal_errno("cannot open /dev/kvm");
    }
    int version = ioctl(fd, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION) {
        fatal("/dev/kvm speaks version %d of the KVM API, not %d", version, KVM_API_VERSION);
    }
    for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++) {
        if (ioctl(fd, KVM_CHECK_EXTENSION, required[i].cap) <= 0) {
            fatal("/dev/kvm lacks %s", required[i].name);
        }
    }
    return fd;
}

static void end_on_signal(int signal) {
    (void)signal;
    int saved = errno;
    vm_end(&machine, VM_ENDED);
    errno = saved;
}

static void catch_signals(void) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = end_on_signal};

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        sigaction(signals[i], &action, NULL);
    }
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL); // A console nobody reads is an error of write.
}

int main(int argc, char **argv) {
    static const char *const events[] = {[VM_POWERED_OFF] = "powered-off",
                                         [VM_RESET] = "reboot",
                                         [VM_ENDED] = "killed",
                                         [VM_FAILED] = "crashed"};
    struct options options;
    enum vm_outcome outcome;

    options_parse(&options, argc, argv);
    if (options.landlock) {
        confine(&options);
    }
    int kvm_fd = open_kvm();
    terminal_open(&options);
    virtio_channels_listen(&options);
    control_hold();
    control_open(&options);
    do {
        vm_create(&machine, kvm_fd, &options);
        catch_signals();
        vm_start(&machine, options.paused);
        control_release(&machine);
        outcome = vm_run(&machine);
        control_hold();
        vm_destroy(&machine);
        options.paused = false;
        control_event(events[outcome]);
    } while (outcome == VM_RESET);
    control_release(NULL);
    control_close();
    close(kvm_fd);
    if (outcome == VM_ENDED) {
        warning("ended before the guest powered off");
    }
    return outcome == VM_FAILED ? 1 : 0;
}
