#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Builds Linux's own KVM selftests for x86, unmodified and static, from Debian's linux-source:
# build.sh OUT_DIR. Does nothing where they are there and newer than this script.
set -eu

package=linux-source-6.1
tests='cpuid_test set_sregs_test userspace_io_test cr4_cpuid_sync_test sync_regs_test
    debug_regs emulator_error_test fix_hypercall_test get_msr_index_features
    max_vcpuid_cap_test mmio_warning_test monitor_mwait_test platform_info_test
    set_boot_cpu_id state_test tsc_msrs_test tsc_scaling_sync ucna_injection_test
    userspace_msr_exit_test xapic_ipi_test xapic_state_test xss_msr_test
    kvm_clock_test kvm_pv_test smm_test pmu_event_filter_test triple_fault_event_test
    vmx_exception_with_invalid_guest_state vmx_msrs_test vmx_pmu_caps_test'
required='cpuid_test set_sregs_test userspace_io_test cr4_cpuid_sync_test sync_regs_test'
# Tests that are not specific to x86.
common='kvm_create_max_vcpus set_memory_region_test kvm_binary_stats_test dirty_log_test
    kvm_page_table_test memslot_modification_stress_test rseq_test steal_time
    access_tracking_perf_test demand_paging_test dirty_log_perf_test hardware_disable_test
    max_guest_memory_test memslot_perf_test system_counter_offset_test'

out=${1:?usage: build.sh OUT_DIR}
mkdir -p "$out"
out=$(cd "$out" && pwd)
complete=yes
for test in $required; do
    [ -x "$out/$test" ] && [ "$out/$test" -nt "$0" ] || complete=no
done
[ "$complete" = no ] || exit 0

work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

# The package is only unpacked: nothing of it needs to be installed.
if ! apt-get -qq download $package 2>download.log; then
    { apt-get -qq update || sudo apt-get -qq update; } 2>>download.log || true
    if ! apt-get -qq download $package 2>>download.log; then
        cat download.log >&2
        echo "build.sh: cannot download Debian's package $package" >&2
        exit 1
    fi
fi
dpkg-deb -x ./*.deb package
tar -xf package/usr/src/$package.tar.xz --wildcards \
    "$package/Makefile" "$package/scripts" "$package/include" "$package/usr/include" \
    "$package/arch/x86" "$package/tools"
rm -rf package ./*.deb

cd $package
jobs=$(nproc)
make -s -j"$jobs" headers ARCH=x86_64 >"$work/headers.log" 2>&1 || {
    tail -20 "$work/headers.log" >&2
    echo "build.sh: the kernel's headers do not build" >&2
    exit 1
}

cd tools/testing/selftests/kvm
targets=
for test in $tests; do
    [ ! -f "x86_64/$test.c" ] || targets="$targets $work/built/x86_64/$test"
done
for test in $common; do
    [ ! -f "$test.c" ] || targets="$targets $work/built/$test"
done
mkdir -p "$work/built"
# Two things of Debian's 6.1 are not ready to be built: dirty_log_test has the later name of a macro,
# and steal_time wants the headers' own stddef.h.
CFLAGS="-DTEST_ASSERT_EQ=ASSERT_EQ -include $work/$package/usr/include/linux/stddef.h"
export CFLAGS
# A test outside the required ones may fail to build; the check below decides.
make -s -k -j"$jobs" OUTPUT="$work/built" LDFLAGS='-static -pthread -no-pie' $targets \
    >"$work/tests.log" 2>&1 || true

for built in $targets; do
    [ ! -x "$built" ] || install -s "$built" "$out/$(basename "$built")"
done
for test in $required; do
    if [ ! -x "$out/$test" ]; then
        tail -20 "$work/tests.log" >&2
        echo "build.sh: $test does not build" >&2
        exit 1
    fi
done
