// SPDX-License-Identifier: BSD-2-Clause
// What CPUID tells the guest.
#pragma once

#include <stdbool.h>

// Gives a vCPU everything the system supports, with its own APIC id (index) in one package of cpus
// cores. Returns whether the guest is told that it has MTRRs. Exits with a message on failure.
bool cpuid_set(int kvm_fd, int vcpu_fd, unsigned index, unsigned cpus);
