// SPDX-License-Identifier: BSD-2-Clause
// --api-socket: a Unix stream socket on which others look at the machine and steer it. Any number
// of connections, in turn or at once; the machine runs on without them.
//
// A request is a line. Its answer is lines `key=value`, if any, and last `ok` or `error: reason`:
//
//   info           state=running|paused, cpus=, memory= (bytes), vcpu.N.tid=,
//                  device= of each that can be unplugged, channel= of each that the guest has open
//   statistics     vcpu.N.time= (ns on a CPU), vcpu.N.wait= (ns waiting for one),
//                  vcpu.N.cpu= (the one it runs on, or ran on last),
//                  vcpu.N.NAME= of each counter that KVM keeps; balloon.current= (bytes the guest
//                  has), balloon.maximum=, balloon.NAME= as the guest's driver reports;
//                  block.N.{rd,wr,fl}.{reqs,bytes,times,errors} of
//                  --disk path=
//   pause, resume  all vCPUs and devices stand still
//   power-button   asks the guest's operating system to shut down
//   reset          as the reset button
//   nmi            a non-maskable interrupt to each vCPU
//   balloon BYTES  what the guest shall have
//   keys MS CODE…  presses keys (linux/input-event-codes.h) together, for that many milliseconds
//   cpus N         plugs vCPUs, or asks the guest to let go of some, up to --cpus max=
//   add-disk, add-net ARGUMENT
//                  plugs a device, ARGUMENT as that of --disk or --net; a descriptor that comes
//                  with the line (SCM_RIGHTS) is the disk's file, which is not opened by its path
//                  then
//   remove-device ID
//                  asks the guest to let go of the device with id=ID
//   kill           ends the machine, without asking the guest
//   events         from now on lines `event NAME`, between answers too: paused, resumed, reboot,
//                  channel-opened NAME, channel-closed NAME (by a program of the guest),
//                  device-removed ID and cpus N (the guest has let go of one),
//                  device-removal-failed ID (it keeps it), panicked (the guest's kernel says so),
//                  and as the last one powered-off, crashed or killed, before the connection
//                  closes
//   console        after `ok` the connection is the console of --serial or --console api: first the
//                  last 64 KiB it has shown, then what it shows; what is sent is typed
#pragma once

#include "options.h"

struct vm;

// Listens where the options, which requests change, say; nothing where they do not. Exits with a
// message where it cannot.
void control_open(struct options *options);

// Requests wait from one to the other, which names the machine they are about; NULL: it has ended.
void control_hold(void);
void control_release(struct vm *vm);

// Tells those who asked for events. Any thread.
void control_event(const char *name);

// Passes on what the console still has to say, and ends.
void control_close(void);
