// SPDX-License-Identifier: BSD-2-Clause
// What clients may ask for that virtd does not do: the function's name in libvirt, and the reason
// where there is more to say.
#include "absent.h"

#include <stddef.h>

#include "packet.h"

#define AGENT     "no guest agent is asked; a program can, by openChannel"
#define IMAGE     "the state of a guest cannot be saved or moved"
#define FROM_HERE "disks are raw files and partitions as they are"
#define NO_LIMITS "only CPU time is shared out, by schedinfo"
#define NETWORK   "interfaces are ports of the driver domain's switches (type='vhostuser')"
#define VOLUMES   "the only storage is files and partitions that are there; disks name them by path"
#define IO_THREAD "a disk is served by threads of its own"

static const struct {
    uint32_t program;
    struct absent absent;
} table[] = {
    {PROGRAM_REMOTE, {40, "virNetworkCreateXML", NETWORK}},
    {PROGRAM_REMOTE, {41, "virNetworkDefineXML", NETWORK}},
    {PROGRAM_REMOTE, {53, "virDomainCoreDump", IMAGE}},
    {PROGRAM_REMOTE, {54, "virDomainRestore", IMAGE}},
    {PROGRAM_REMOTE, {55, "virDomainSave", IMAGE}},
    {PROGRAM_REMOTE, {75, "virConnectFindStoragePoolSources", VOLUMES}},
    {PROGRAM_REMOTE, {76, "virStoragePoolCreateXML", VOLUMES}},
    {PROGRAM_REMOTE, {77, "virStoragePoolDefineXML", VOLUMES}},
    {PROGRAM_REMOTE, {93, "virStorageVolCreateXML", VOLUMES}},
    {PROGRAM_REMOTE, {135, "virConnectDomainXMLFromNative", NULL}},
    {PROGRAM_REMOTE, {136, "virConnectDomainXMLToNative", NULL}},
    {PROGRAM_REMOTE, {142, "virSecretDefineXML", NULL}},
    {PROGRAM_REMOTE, {182, "virDomainManagedSave", IMAGE}},
    {PROGRAM_REMOTE, {185, "virDomainSnapshotCreateXML", IMAGE}},
    {PROGRAM_REMOTE, {197, "virDomainSetMemoryParameters", "setmem says what a guest may have"}},
    {PROGRAM_REMOTE, {203, "virConnectGetSysinfo", NULL}},
    {PROGRAM_REMOTE, {205, "virDomainSetBlkioParameters", NO_LIMITS}},
    {PROGRAM_REMOTE, {206, "virDomainGetBlkioParameters", NO_LIMITS}},
    {PROGRAM_REMOTE, {207, "virDomainMigrateSetMaxSpeed", IMAGE}},
    {PROGRAM_REMOTE, {211, "virDomainScreenshot", "a guest has a console and no screen"}},
    {PROGRAM_REMOTE, {237, "virDomainBlockJobAbort", FROM_HERE}},
    {PROGRAM_REMOTE, {238, "virDomainGetBlockJobInfo", FROM_HERE}},
    {PROGRAM_REMOTE, {240, "virDomainBlockPull", FROM_HERE}},
    {PROGRAM_REMOTE, {242, "virDomainMigrateGetMaxSpeed", IMAGE}},
    {PROGRAM_REMOTE, {250, "virNodeSuspendForDuration", NULL}},
    {PROGRAM_REMOTE, {251, "virDomainBlockResize", FROM_HERE}},
    {PROGRAM_REMOTE, {252, "virDomainSetBlockIoTune", NO_LIMITS}},
    {PROGRAM_REMOTE, {254, "virDomainSetNumaParameters", "the host is one node"}},
    {PROGRAM_REMOTE, {256, "virDomainSetInterfaceParameters", NO_LIMITS}},
    {PROGRAM_REMOTE, {261, "virDomainPMSuspendForDuration", AGENT}},
    {PROGRAM_REMOTE, {266, "virDomainBlockRebase", FROM_HERE}},
    {PROGRAM_REMOTE, {267, "virDomainPMWakeup", "no guest sleeps"}},
    {PROGRAM_REMOTE, {277, "virDomainGetHostname", AGENT}},
    {PROGRAM_REMOTE, {279, "virDomainPinEmulator", "vCPUs are pinned, with vcpupin"}},
    {PROGRAM_REMOTE, {289, "virNodeGetMemoryParameters", NULL}},
    {PROGRAM_REMOTE, {290, "virDomainBlockCommit", FROM_HERE}},
    {PROGRAM_REMOTE, {294, "virDomainFSTrim", AGENT}},
    {PROGRAM_REMOTE, {295, "virDomainSendProcessSignal", AGENT}},
    {PROGRAM_REMOTE, {312, "virConnectGetCPUModelNames", "a guest has the host's CPU"}},
    {PROGRAM_REMOTE, {335, "virDomainFSFreeze", AGENT}},
    {PROGRAM_REMOTE, {336, "virDomainFSThaw", AGENT}},
    {PROGRAM_REMOTE, {337, "virDomainGetTime", AGENT}},
    {PROGRAM_REMOTE, {338, "virDomainSetTime", AGENT}},
    {PROGRAM_REMOTE, {340, "virNodeGetFreePages", NULL}},
    {PROGRAM_REMOTE, {349, "virDomainGetFSInfo", AGENT}},
    {PROGRAM_REMOTE,
     {353, "virDomainInterfaceAddresses", "the guest knows its addresses; it has a console"}},
    {PROGRAM_REMOTE, {355, "virDomainAddIOThread", IO_THREAD}},
    {PROGRAM_REMOTE, {356, "virDomainDelIOThread", IO_THREAD}},
    {PROGRAM_REMOTE, {357, "virDomainSetUserPassword", AGENT}},
    {PROGRAM_REMOTE, {365, "virDomainGetPerfEvents", "domstats has the exits that KVM counts"}},
    {PROGRAM_REMOTE, {366, "virDomainSetPerfEvents", "domstats has the exits that KVM counts"}},
    {PROGRAM_REMOTE, {371, "virDomainGetGuestVcpus", AGENT}},
    {PROGRAM_REMOTE, {372, "virDomainSetGuestVcpus", AGENT}},
    {PROGRAM_REMOTE, {384, "virDomainSetVcpu", "setvcpus plugs and unplugs the last ones"}},
    {PROGRAM_REMOTE, {386, "virDomainSetBlockThreshold", "disks are raw and do not grow"}},
    {PROGRAM_REMOTE, {387, "virDomainMigrateGetMaxDowntime", IMAGE}},
    {PROGRAM_REMOTE, {388, "virDomainManagedSaveGetXMLDesc", IMAGE}},
    {PROGRAM_REMOTE, {395, "virNodeGetSEVInfo", NULL}},
    {PROGRAM_REMOTE, {396, "virDomainGetLaunchSecurityInfo", NULL}},
    {PROGRAM_REMOTE, {411, "virDomainCheckpointCreateXML", IMAGE}},
    {PROGRAM_REMOTE, {418, "virDomainGetGuestInfo", AGENT}},
    {PROGRAM_REMOTE, {421, "virDomainBackupBegin", FROM_HERE}},
    {PROGRAM_REMOTE, {423, "virDomainAgentSetResponseTimeout", AGENT}},
    {PROGRAM_REMOTE, {424, "virDomainAuthorizedSSHKeysGet", AGENT}},
    {PROGRAM_REMOTE, {425, "virDomainAuthorizedSSHKeysSet", AGENT}},
    {PROGRAM_REMOTE, {427, "virDomainStartDirtyRateCalc", NULL}},
    {PROGRAM_QEMU, {1, "virDomainQemuMonitorCommand", "the monitor is no QEMU"}},
    {PROGRAM_QEMU, {2, "virDomainQemuAttach", "the monitor is no QEMU"}},
    {PROGRAM_QEMU, {3, "virDomainQemuAgentCommand", AGENT}},
    {PROGRAM_QEMU, {4, "virConnectDomainQemuMonitorEventRegister", "the monitor is no QEMU"}},
};

const struct absent *absent_find(uint32_t program, uint32_t procedure) {
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (table[i].program == program && table[i].absent.procedure == procedure) {
            return &table[i].absent;
        }
    }
    return NULL;
}
