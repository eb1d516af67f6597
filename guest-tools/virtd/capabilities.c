// SPDX-License-Identifier: BSD-2-Clause
// capabilities and domcapabilities, in libvirt's formats (formatcaps.html, formatdomaincaps.html).
#include "capabilities.h"

#include <sys/sysinfo.h>
#include <unistd.h>

#include "options.h"

unsigned host_cpus(void) {
    long count = sysconf(_SC_NPROCESSORS_ONLN);

    return count > 0 ? (unsigned)count : 1;
}

void capabilities_print(struct buffer *to) {
    struct sysinfo info = {0};

    sysinfo(&info);
    buffer_print(to,
                 "<capabilities>\n  <host>\n    <cpu>\n      <arch>x86_64</arch>\n"
                 "      <topology sockets='1' dies='1' cores='%u' threads='1'/>\n    </cpu>\n"
                 "    <topology>\n      <cells num='1'>\n        <cell id='0'>\n"
                 "          <memory unit='KiB'>%llu</memory>\n          <cpus num='%u'>\n",
                 host_cpus(), (unsigned long long)info.totalram * info.mem_unit / 1024,
                 host_cpus());
    for (unsigned i = 0; i < host_cpus(); i++) {
        buffer_print(to,
                     "            <cpu id='%u' socket_id='0' die_id='0' core_id='%u' "
                     "siblings='%u'/>\n",
                     i, i, i);
    }
    buffer_print(to,
                 "          </cpus>\n        </cell>\n      </cells>\n    </topology>\n"
                 "  </host>\n  <guest>\n    <os_type>hvm</os_type>\n    <arch name='x86_64'>\n"
                 "      <wordsize>64</wordsize>\n      <emulator>%s</emulator>\n"
                 "      <machine maxCpus='%u'>" MACHINE "</machine>\n"
                 "      <domain type='kvm'/>\n    </arch>\n    <features>\n"
                 "      <acpi default='on' toggle='no'/>\n      <apic default='on' toggle='no'/>\n"
                 "    </features>\n  </guest>\n</capabilities>\n",
                 options.vmm, VCPUS_MAX);
}

void domain_capabilities_print(struct buffer *to) {
    buffer_print(
        to,
        "<domainCapabilities>\n  <path>%s</path>\n  <domain>kvm</domain>\n"
        "  <machine>" MACHINE "</machine>\n  <arch>x86_64</arch>\n  <vcpu max='%u'/>\n"
        "  <os supported='yes'>\n    <loader supported='no'/>\n  </os>\n"
        "  <cpu>\n    <mode name='host-passthrough' supported='yes'>\n"
        "      <enum name='hostPassthroughMigratable'>\n        <value>off</value>\n      </enum>\n"
        "    </mode>\n    <mode name='host-model' supported='no'/>\n"
        "    <mode name='custom' supported='no'/>\n  </cpu>\n"
        "  <devices>\n    <disk supported='yes'>\n      <enum name='diskDevice'>\n"
        "        <value>disk</value>\n      </enum>\n      <enum name='bus'>\n"
        "        <value>virtio</value>\n      </enum>\n    </disk>\n"
        "    <graphics supported='no'/>\n    <video supported='no'/>\n"
        "    <hostdev supported='no'/>\n    <rng supported='yes'>\n      <enum name='model'>\n"
        "        <value>virtio</value>\n      </enum>\n      <enum name='backendModel'>\n"
        "        <value>random</value>\n      </enum>\n    </rng>\n"
        "    <tpm supported='no'/>\n    <redirdev supported='no'/>\n"
        "    <channel supported='yes'>\n      <enum name='type'>\n        <value>unix</value>\n"
        "      </enum>\n    </channel>\n  </devices>\n</domainCapabilities>\n",
        options.vmm, VCPUS_MAX);
}
