# SPDX-License-Identifier: BSD-2-Clause
"""docs/kvm-api.md, made from the kernel's dispatch tables and <linux/kvm.h>.

kvm_api.py writes the file; kvm_api.py --check ends with 1 where it is not what would be written."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs/kvm-api.md"
OTHER_MACHINES = re.compile(
    r"_(S390|PPC|ARM|ARM64|MIPS|RISCV|LOONGARCH|IA64|SPAPR|HTM|BOOKE|SW_TLB|EPR|VCPU_INITIALIZED)(_|$)"
    r"|_(UCONTROL|VM_IPA|FLIC|SKEYS|CMMA|ALLOCATE_HTAB|SMT_INFO|SMMU|RMA|RTAS|RESET_VCPU|SET_ONE_REG|GET_ONE_REG"
    r"|ONE_REG|PVINFO|DIRTY_TLB|XICS|PSCI|PTRAUTH|SVE|MTE)(_|$)")


def macros():
    """Every macro of <linux/kvm.h>, {name: text}."""
    text = subprocess.run(["gcc", "-E", "-dM", "-include", "linux/kvm.h", "-x", "c", "/dev/null"],
                          check=True, capture_output=True, text=True).stdout
    return dict(re.findall(r"^#define (KVM_\w+) (.*)$", text, re.MULTILINE))


def source(path):
    return (ROOT / "core/kvm" / path).read_text()


def rows(path):
    return set(re.findall(r"IOCTL_(?:ROW|PLAIN)\(struct \w+, (KVM_\w+)", source(path)))


def implemented():
    """{ioctl: the objects that answer it}."""
    answers = {}
    for where, names in (("system", set(re.findall(r"case (KVM_\w+):", source("kvm.c")))),
                         ("VM", rows("vm_ioctl.c")),
                         ("vCPU", rows("vcpu_ioctl.c") | {"KVM_RUN"})):
        for name in names:
            answers.setdefault(name, []).append(where)
    return answers


def capabilities():
    """The capabilities with a row, {name: the value as the kernel's source has it}."""
    text = source("capability.c")
    table = text[text.index("capabilities[] = {"):text.index("};")]
    found = re.findall(r"\{(KVM_CAP_\w+),\s*([^{}]*?)\}", table, re.DOTALL)
    values = {name: " ".join(value.split()) for name, value in found}
    for name in re.findall(r"capability == (KVM_CAP_\w+)", text):
        values[name] = "1 where the processor can"
    return values


def enabled():
    """Capabilities that KVM_ENABLE_CAP takes, {name: objects}."""
    result = {name: "VM" for name in re.findall(r"\{(KVM_CAP_\w+), ", source("vm_capability.c"))}
    for name in re.findall(r"cap->cap != (KVM_CAP_\w+)", source("vcpu_ioctl.c")):
        result[name] = "vCPU"
    return result


def document():
    known, answers, values, can_enable = macros(), implemented(), capabilities(), enabled()
    ioctls = sorted(name for name, text in known.items()
                    if re.match(r"_IO[RW]*\(", text) and not OTHER_MACHINES.search(name))
    names = sorted(name for name in known
                   if name.startswith("KVM_CAP_") and re.match(r"\d+$", known[name])
                   and not OTHER_MACHINES.search(name))
    missing = (set(answers) - set(ioctls)) | (set(values) - set(names))
    if missing:
        raise SystemExit(f"kvm_api.py: not in <linux/kvm.h>: {' '.join(sorted(missing))}")
    lines = ["# The KVM API of Ashlar", "",
             "Made by `tests/kvm_api.py` from the dispatch tables in core/kvm and `<linux/kvm.h>`; a unit test compares.", "",
             f"## ioctls ({sum(name in answers for name in ioctls)} of {len(ioctls)})", "",
             "| ioctl | answered by |", "|---|---|"]
    lines += [f"| {name} | {', '.join(answers.get(name, [])) or '- (ENOTTY)'} |" for name in ioctls]
    lines += ["", f"## Capabilities ({sum(name in values for name in names)} of {len(names)})", "",
              "What KVM_CHECK_EXTENSION says, and which object takes the capability in KVM_ENABLE_CAP (EINVAL else).",
              "", "| capability | value | KVM_ENABLE_CAP |", "|---|---|---|"]
    lines += [f"| {name} | {values.get(name, '0').replace('|', 'or')} | {can_enable.get(name, '-')} |" for name in names]
    return "\n".join(lines) + "\n"


def main():
    text = document()
    if "--check" not in sys.argv[1:]:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(text)
        return 0
    if DOCUMENT.exists() and DOCUMENT.read_text() == text:
        return 0
    print("docs/kvm-api.md is not what the kernel's tables say: run tests/kvm_api.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
