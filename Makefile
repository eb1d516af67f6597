# SPDX-License-Identifier: BSD-2-Clause
# Builds Ashlar into $(OUT), runs it in an emulator, and tests it. `make help` lists the targets.

OUT ?= out
.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
SHELL := /bin/bash

# Every Debian package that building, running and testing need.
PACKAGES := gcc libc6-dev linux-libc-dev binutils nasm gnu-efi python3 mtools cpio xz-utils \
	bochs bochs-term bochsbios vgabios ovmf qemu-system-x86 seabios syslinux \
	check pkg-config libexpat1-dev libext2fs-dev comerr-dev e2fsprogs libasan8 libubsan1 clang clang-format clang-tidy cppcheck libzydis-dev spin gnuplot-nox

CC := gcc
NASM := nasm
PYTHON := python3

# make V=1 shows the commands.
ifeq ($(V),1)
Q :=
say = @true
else
Q := @
say = @printf '  %-5s %s\n' '$(1)' '$(2:$(OUT)/%=%)'
endif

WARNINGS := -Wall -Wextra -Werror
# The kernel's functions that stand in a table have its arguments, needed or not.
KERNEL_WARNINGS := -Wno-unused-parameter
C_COMMON := -std=gnu17 -O2 -I. -I$(OUT)/include -MMD -MP $(WARNINGS)

# --- the packages ----------------------------------------------------------------------------------------------------

DEPS := $(OUT)/packages.stamp
$(DEPS): Makefile tests/machine/install-packages.sh
	@mkdir -p $(@D)
	@tests/machine/install-packages.sh $(PACKAGES)
	@touch $@

# --- the version, for <ashlar_version.h> ------------------------------------------------------------------------------

VERSION := $(or $(shell git describe --always --dirty 2>/dev/null),unknown)
VERSION_HEADER := $(OUT)/include/ashlar_version.h
$(VERSION_HEADER): FORCE
	@mkdir -p $(@D)
	@echo '#define ASHLAR_VERSION "$(VERSION)"' | cmp -s - $@ || \
		echo '#define ASHLAR_VERSION "$(VERSION)"' > $@

# --- the loader ------------------------------------------------------------------------------------------------------

BOOT_SOURCES := $(wildcard boot/*.c) core/config.c core/format.c core/string.c core/file/cpio.c
BOOT_OBJECTS := $(BOOT_SOURCES:%.c=$(OUT)/boot-obj/%.o)
BOOT_CFLAGS := $(C_COMMON) -ffreestanding -fpic -fshort-wchar -mno-red-zone -maccumulate-outgoing-args \
	-mgeneral-regs-only -fno-stack-protector -fno-asynchronous-unwind-tables -DGNU_EFI_USE_MS_ABI \
	-isystem /usr/include/efi -isystem /usr/include/efi/x86_64
# gnu-efi's linker script folds .rodata and .bss into .data.
EFI_SECTIONS := .text .sdata .data .dynamic .dynsym .rel .rela .rel.* .rela.* .reloc

$(OUT)/boot-obj/%.o: %.c | $(DEPS) $(VERSION_HEADER)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(BOOT_CFLAGS) -c $< -o $@

$(OUT)/loader.so: $(BOOT_OBJECTS)
	$(call say,LD,$@)
	$(Q)ld -nostdlib -znocombreloc -shared -Bsymbolic --no-undefined -T /usr/lib/elf_x86_64_efi.lds \
		/usr/lib/crt0-efi-x86_64.o $^ -L/usr/lib -lgnuefi -lefi -o $@

$(OUT)/BOOTX64.EFI: $(OUT)/loader.so
	$(call say,COPY,$@)
	$(Q)objcopy $(foreach section,$(EFI_SECTIONS),-j '$(section)') --target=efi-app-x86_64 --subsystem=10 $< $@

# --- the kernel ------------------------------------------------------------------------------------------------------

KERNEL_C := $(shell find arch core -path core/process/vdso/user -prune -o -name '*.c' -print | sort)
KERNEL_ASM := $(shell find arch core -name '*.asm' | sort)
KERNEL_OBJECTS := $(KERNEL_C:%.c=$(OUT)/kernel-obj/%.o) $(KERNEL_ASM:%.asm=$(OUT)/kernel-obj/%.asm.o)
KERNEL_CFLAGS := $(C_COMMON) $(KERNEL_WARNINGS) -g -ffreestanding -mgeneral-regs-only -mcmodel=kernel \
	-mno-red-zone -fno-pic -fno-pie -fno-stack-protector -fno-asynchronous-unwind-tables -fno-common -fno-strict-aliasing
# The exit path crosses borders between files; the linker may fold calls over them.
KERNEL_LTO := -flto=auto -fno-fat-lto-objects
$(OUT)/kernel-obj/%.o: %.c | $(DEPS) $(VERSION_HEADER)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(KERNEL_CFLAGS) $(KERNEL_LTO) -c $< -o $@

$(OUT)/kernel-obj/%.asm.o: %.asm | $(DEPS)
	@mkdir -p $(@D)
	$(call say,NASM,$@)
	$(Q)$(NASM) -f elf64 -g -F dwarf -I . -I $(OUT)/ -MD $(@:.o=.d) -MP -MT $@ $< -o $@

# What the kernel maps into every program: a shared object of its own.
$(OUT)/vdso.so: core/process/vdso/user/clock.c core/process/vdso/user/vdso.lds | $(DEPS) $(VERSION_HEADER)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(C_COMMON) -MF $(OUT)/vdso.d -MT $@ -fPIC -shared -nostdlib -ffreestanding -fvisibility=hidden \
		-fno-stack-protector -fasynchronous-unwind-tables -mno-sse -Wl,-T,core/process/vdso/user/vdso.lds -Wl,--no-undefined \
		-Wl,-soname,linux-vdso.so.1 -Wl,--hash-style=both -Wl,--build-id=none -Wl,--eh-frame-hdr -Wl,-z,max-page-size=4096 \
		-s $< -o $@
$(OUT)/kernel-obj/core/process/vdso/image.asm.o: $(OUT)/vdso.so

# The list of objects: a file that is gone must bring a new link.
$(OUT)/kernel.objects: FORCE
	@mkdir -p $(@D)
	@echo '$(KERNEL_OBJECTS)' | cmp -s - $@ || echo '$(KERNEL_OBJECTS)' > $@

$(OUT)/kernel.debug: $(KERNEL_OBJECTS) linker.ld $(OUT)/kernel.objects
	$(call say,LD,$@)
	$(Q)$(CC) $(KERNEL_CFLAGS) $(KERNEL_LTO) -nostdlib -static -Wl,-z,noexecstack -Wl,-z,max-page-size=4096 \
		-Wl,--build-id=none -Wl,-T,linker.ld $(KERNEL_OBJECTS) -o $@

$(OUT)/kernel.elf: $(OUT)/kernel.debug
	$(call say,COPY,$@)
	$(Q)objcopy --strip-all $< $@

# --- programs of ring 3 ----------------------------------------------------------------------------------------------

PROGRAM_CFLAGS := $(C_COMMON)
GUEST_TOOLS := $(sort $(patsubst guest-tools/%/,%,$(dir $(wildcard guest-tools/*/*.c))))
BINARIES := $(GUEST_TOOLS:%=$(OUT)/bin/%) $(OUT)/bin/drivers
TEST_PROGRAMS := $(patsubst tests/programs/%.c,$(OUT)/tests/%,$(wildcard tests/programs/*.c))
BENCH := $(OUT)/tests/bench $(OUT)/tests/bench_io $(OUT)/tests/guest_io

$(OUT)/program-obj/%.o: %.c | $(DEPS) $(VERSION_HEADER)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(PROGRAM_CFLAGS) -c $< -o $@

define program_rule
$(1): $(patsubst %.c,$(OUT)/program-obj/%.o,$(2))
	@mkdir -p $$(@D)
	$$(call say,CC,$$@)
	$$(Q)$(CC) -static -s -pthread $$^ $(3) -o $$@
endef
# What vsh and virtd share.
VSH_SOURCES := $(patsubst %,guest-tools/virtd/%.c,buffer memory packet xdr)
# What the driver domain and vmm share.
VIRTIO_SOURCES := $(wildcard drivers/virtio/*.c drivers/sandbox/*.c) drivers/block/raw_file.c drivers/block/virtio_block.c \
	drivers/vhost_user/message.c drivers/clock.c
$(foreach tool,$(GUEST_TOOLS),$(eval $(call program_rule,$(OUT)/bin/$(tool),$(wildcard guest-tools/$(tool)/*.c) \
	$(if $(filter vmm,$(tool)),$(VIRTIO_SOURCES)) $(if $(filter vsh,$(tool)),$(VSH_SOURCES)),$(if $(filter virtd,$(tool)),-lexpat))))
$(eval $(call program_rule,$(OUT)/bin/drivers,$(wildcard drivers/*.c drivers/*/*.c),-lext2fs -lcom_err))
# A program's other files are in a directory of its name. The drivers of disk controllers are what `disks` tests.
DISK_SOURCES := $(wildcard $(patsubst %,drivers/%/*.c,pci disks nvme ata ahci ide virtio_pci virtio_blk)) \
	drivers/machine_disks.c drivers/clock.c
$(foreach program,$(TEST_PROGRAMS),$(eval $(call program_rule,$(program),$(program:$(OUT)/tests/%=tests/programs/%.c) \
	$(wildcard $(program:$(OUT)/tests/%=tests/programs/%)/*.c) $(if $(filter %/disks,$(program)),$(DISK_SOURCES)))))
SUITE := $(OUT)/tests/suite
$(eval $(call program_rule,$(SUITE),tests/selftests/suite.c))
$(eval $(call program_rule,$(OUT)/tests/bench,tests/bench/bench.c))
$(eval $(call program_rule,$(OUT)/tests/bench_io,tests/bench/io/host.c))
$(eval $(call program_rule,$(OUT)/tests/guest_io,tests/bench/io/guest.c))

GUEST_IMAGE := $(if $(wildcard guest-tools/guest-image.sh),$(OUT)/guest/guest.stamp)
$(OUT)/guest/guest.stamp: guest-tools/guest-image.sh | $(DEPS)
	@mkdir -p $(@D)
	guest-tools/guest-image.sh $(@D)
	@touch $@

SELFTESTS := $(if $(wildcard tests/selftests/build.sh),$(OUT)/selftests/selftests.stamp)
$(OUT)/selftests/selftests.stamp: tests/selftests/build.sh | $(DEPS)
	@mkdir -p $(@D)
	tests/selftests/build.sh $(@D)
	@touch $@

# The host to compare with, for HOST=linux.
LINUX_HOST := $(OUT)/linux-host/vmlinuz
$(LINUX_HOST): tests/selftests/linux-host.sh | $(DEPS)
	tests/selftests/linux-host.sh $(@D)

# --- what is built ---------------------------------------------------------------------------------------------------

SYSTEM := $(OUT)/BOOTX64.EFI $(OUT)/kernel.elf $(BINARIES)

.PHONY: all run run-machine image test unit fuzz simulate model docs machine-test bench count selftests selftests-table lint format clean deps help FORCE
all: $(SYSTEM) $(GUEST_IMAGE) $(TEST_PROGRAMS) $(BENCH)

help:
	@echo 'make                  build everything into $(OUT)/'
	@echo 'make run              boot to the shell of a Linux guest; GUEST_CPUS= GUEST_MEMORY= GUEST_CMDLINE='
	@echo '                      GUEST_DISK=image, raw, is its disk and is written to'
	@echo 'make run PROGRAM=path ARGS="..." FILES="a b"'
	@echo '                      boot with a static Linux program; its exit status is that of make'
	@echo '                      both: CPUS=2 MEMORY=512 (MiB) MACHINE=kvm|bochs|tcg TIMEOUT= (seconds)'
	@echo "                      VIRTD_PORT= the TCP port for libvirt's clients"
	@echo 'make image            $(OUT)/ashlar.img, a GPT disk image for a USB stick'
	@echo "make selftests        Linux's KVM selftests, a row each; TESTS= names some, LIMIT= seconds for each,"
	@echo "                      HOST=linux on Linux's own KVM"
	@echo 'make simulate         the scheduler on simulated machines; SEEDS=100 for the largest ones'
	@echo 'make model            spin checks how threads sleep and are woken; make docs plots docs/scheduler.png'
	@echo 'make selftests-table  docs/kvm-selftests.md from the rows of both hosts on MACHINE=bochs and MACHINE=tcg'
	@echo 'make fuzz             each fuzzer for FUZZ_SECONDS=600, then the KVM API in the machine, from FUZZ_SEED=1 on'
	@echo "make bench            what exits, disk requests and frames cost; HOST=linux on Linux's own KVM"
	@echo 'make test             lint, unit tests, fuzzers, machine tests; make count, make clean'

deps: $(DEPS)

# --- running ---------------------------------------------------------------------------------------------------------

CPUS ?= 2
MEMORY ?= 512
export OUT CPUS MEMORY MACHINE TIMEOUT VIRTD_PORT PROGRAM ARGS FILES HOST TESTS LIMIT GUEST_CPUS GUEST_MEMORY GUEST_CMDLINE GUEST_DISK

# make itself can end with 0, 1 or 2 only; a function loaded into it lets it end with the program's own status.
$(OUT)/exit_status.so: tests/machine/exit_status.c | $(DEPS)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -std=gnu17 -O2 $(WARNINGS) -shared -fPIC $< -o $@

RUN_STATUS := $(OUT)/run.status.$(shell echo $$PPID)
run-machine: $(SYSTEM) $(if $(PROGRAM),,$(GUEST_IMAGE)) $(OUT)/exit_status.so
	@$(PYTHON) tests/machine/run.py; echo $$? > $(RUN_STATUS)

run: run-machine
	$(eval load $(OUT)/exit_status.so)$(exit-with-status $(RUN_STATUS))

image: $(SYSTEM) $(GUEST_IMAGE)
	$(PYTHON) tests/machine/image.py $(OUT)/ashlar.img

bench: $(SYSTEM) $(BENCH) $(GUEST_IMAGE) $(if $(filter linux,$(HOST)),$(LINUX_HOST))
	@$(PYTHON) tests/machine/bench.py

# --- tests -----------------------------------------------------------------------------------------------------------

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
HOST_CFLAGS := $(C_COMMON) $(KERNEL_WARNINGS) -g -O1 $(SANITIZE)

# The sources that a test needs: the .c beside each header it includes, and those it names in a line `// Sources: ...`.
sources_of = $(sort $(shell sed -nE 's:^\#include "(\.\./)*((arch|core|boot|drivers)/.*)\.h"$$:\2.c:p; s:^// Sources\: (.*)$$:\1:p' \
	$(1) /dev/null | xargs -rn1 | xargs -r ls -d 2>/dev/null))

UNIT_TESTS := $(sort $(wildcard tests/unit/test_*.c))
UNIT_FILES := $(sort $(wildcard tests/unit/*.c))
VIRTD_SOURCES := $(filter-out %/main.c,$(wildcard guest-tools/virtd/*.c))
UNIT_SOURCES := $(call sources_of,$(UNIT_FILES) $(wildcard tests/unit/*.h)) $(VIRTD_SOURCES)
UNIT_OBJECTS := $(UNIT_FILES:%.c=$(OUT)/unit-obj/%.o)
UNIT_CFLAGS = $(HOST_CFLAGS) -I$(OUT)/unit $(shell pkg-config --cflags check)

$(OUT)/unit/suites.inc: FORCE
	@mkdir -p $(@D)
	@printf 'SUITE(%s)\n' $(UNIT_TESTS:tests/unit/test_%.c=%) | cmp -s - $@ || \
		printf 'SUITE(%s)\n' $(UNIT_TESTS:tests/unit/test_%.c=%) > $@

$(OUT)/unit-obj/%.o: %.c | $(DEPS) $(VERSION_HEADER) $(OUT)/unit/suites.inc
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(UNIT_CFLAGS) -c $< -o $@

# An archive: only what the tests call is linked, so a test may replace a function of the kernel by its own. (q: two
# of its files may have one name.)
$(OUT)/unit/kernel.a: $(UNIT_SOURCES:%.c=$(OUT)/unit-obj/%.o)
	@mkdir -p $(@D)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar qcs $@ $^

$(OUT)/unit/unit: $(UNIT_OBJECTS) $(OUT)/unit/kernel.a
	$(call say,CC,$@)
	$(Q)$(CC) $(SANITIZE) $(UNIT_OBJECTS) $(OUT)/unit/kernel.a $$(pkg-config --libs check) -lexpat -lext2fs -lcom_err -pthread -o $@

unit: $(OUT)/unit/unit
	$(OUT)/unit/unit

FUZZERS := $(patsubst tests/fuzz/%.c,$(OUT)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_CFLAGS := -std=gnu17 -g -O1 -I. -I$(OUT)/include -MMD -MP $(WARNINGS) $(KERNEL_WARNINGS) \
	-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all

FUZZ_SOURCES := $(sort $(UNIT_SOURCES) $(call sources_of,$(wildcard tests/fuzz/*.c)))
FUZZ_FAKES := $(patsubst %.c,$(OUT)/fuzz-obj/%.o,$(wildcard tests/unit/fake_*.c))

$(OUT)/fuzz-obj/%.o: %.c | $(DEPS) $(VERSION_HEADER)
	@mkdir -p $(@D)
	$(call say,CLANG,$@)
	$(Q)clang $(FUZZ_CFLAGS) -c $< -o $@

$(OUT)/fuzz/kernel.a: $(FUZZ_SOURCES:%.c=$(OUT)/fuzz-obj/%.o)
	@mkdir -p $(@D)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar qcs $@ $^

$(FUZZERS): $(OUT)/fuzz/%: $(OUT)/fuzz-obj/tests/fuzz/%.o $(OUT)/fuzz/kernel.a
	$(call say,CLANG,$@)
	$(Q)clang -fsanitize=fuzzer,address,undefined $(filter %.o,$^) $(OUT)/fuzz/kernel.a -lZydis -lexpat -o $@
$(OUT)/fuzz/fuzz_file_calls: $(FUZZ_FAKES)

# By hand, and for long; `make test` has short runs of the same.
FUZZ_SECONDS ?= 600
fuzz: $(FUZZERS) $(SYSTEM) $(OUT)/tests/fuzz_kvm
	@for fuzzer in $(FUZZERS); do \
		echo "$$fuzzer"; $$fuzzer -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=$(OUT)/fuzz/ 2> $$fuzzer.log || \
		{ tail -40 $$fuzzer.log; exit 1; }; done
	@PROGRAM=$(OUT)/tests/fuzz_kvm ARGS="$(FUZZ_SECONDS) $(FUZZ_SEED)" $(PYTHON) tests/machine/run.py < /dev/null

# The scheduler's own code on simulated machines.
SIMULATOR := $(OUT)/simulator/simulator
SIMULATOR_OBJECTS := $(patsubst %.c,$(OUT)/simulator-obj/%.o,$(wildcard tests/simulator/*.c core/sched/run_*.c))
SIMULATOR_CFLAGS := $(C_COMMON) -g -DRUN_CPUS=1024 -DRUN_STEPS
$(OUT)/simulator-obj/%.o: %.c | $(DEPS) $(VERSION_HEADER)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(SIMULATOR_CFLAGS) -c $< -o $@
$(SIMULATOR): $(SIMULATOR_OBJECTS)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $^ -lm -o $@

simulate: $(SIMULATOR)
	$(SIMULATOR) $(OUT)/simulator $(SEEDS)

model: $(DEPS)
	$(PYTHON) tests/models/check.py $(OUT)/models

docs: $(SIMULATOR)
	$(SIMULATOR) $(OUT)/simulator > $(OUT)/simulator/log
	gnuplot -e 'rows="$(OUT)/simulator"; out="docs/scheduler.png"' tests/simulator/plots.gp

selftests: $(SYSTEM) $(SELFTESTS) $(SUITE) $(if $(filter linux,$(HOST)),$(LINUX_HOST))
	@$(PYTHON) tests/machine/selftests.py

machine-test: all $(SELFTESTS) $(SUITE)
	$(PYTHON) tests/machine/test.py

test: all $(SELFTESTS) $(SUITE) $(OUT)/unit/unit $(FUZZERS) $(SIMULATOR)
	@$(PYTHON) tests/run.py

count:
	@$(PYTHON) tests/count.py

# --- lint ------------------------------------------------------------------------------------------------------------

ALL_C := $(sort $(shell find arch boot core drivers guest-tools tests -name '*.c'))
ALL_H := $(sort $(shell find arch boot core drivers guest-tools tests -name '*.h'))
LINT_STAMPS := $(ALL_C:%.c=$(OUT)/lint/%.tidy)
lint_flags = $(filter-out -MMD -MP -maccumulate-outgoing-args,$(strip \
	$(if $(filter arch/% core/%,$(1)),$(KERNEL_CFLAGS),$(if $(filter boot/%,$(1)),$(BOOT_CFLAGS),\
	$(if $(filter tests/unit/%,$(1)),$(UNIT_CFLAGS),\
	$(if $(filter tests/simulator/%,$(1)),$(SIMULATOR_CFLAGS),$(PROGRAM_CFLAGS)))))))

$(OUT)/lint/%.tidy: %.c .clang-tidy $(ALL_H) | $(DEPS) $(VERSION_HEADER) $(OUT)/unit/suites.inc
	@mkdir -p $(@D)
	@clang-tidy --quiet $< -- $(call lint_flags,$<) 2> $@.log || { cat $@.log; exit 1; }
	@touch $@

$(OUT)/lint/format.stamp: $(ALL_C) $(ALL_H) .clang-format | $(DEPS)
	@mkdir -p $(@D)
	clang-format --dry-run -Werror $(ALL_C) $(ALL_H)
	@touch $@

# comparePointers: the linker's symbols around a section are different objects only to cppcheck.
$(OUT)/lint/cppcheck.stamp: $(ALL_C) $(ALL_H) | $(DEPS)
	@mkdir -p $(@D)
	cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr --suppress=missingIncludeSystem \
		--suppress=comparePointers \
		--enable=warning,portability -I. $(ALL_C)
	@touch $@

lint: $(OUT)/lint/format.stamp $(OUT)/lint/cppcheck.stamp $(LINT_STAMPS)

format:
	clang-format -i $(ALL_C) $(ALL_H)

clean:
	rm -rf $(OUT)

-include $(shell find $(OUT) -name '*.d' -type f 2>/dev/null)
