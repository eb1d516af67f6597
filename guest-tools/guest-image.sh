#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Makes the guest: guest-image.sh OUT_DIR writes vmlinuz (Debian's cloud kernel, unmodified),
# initrd.img (busybox with a shell on the serial console) and root (the same, for a disk) there.
# Does nothing where they are there and newer than this script.
set -eu

out=${1:?usage: guest-image.sh OUT_DIR}
if [ -s "$out/vmlinuz" ] && [ -s "$out/initrd.img" ] && [ "$out/initrd.img" -nt "$0" ]; then
    exit 0
fi

mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

download() {
    # An index older than the mirror names files that are gone: fetch a new one and try again.
    apt-get -qq download "$1" 2>download.log && return
    { apt-get -qq update || sudo apt-get -qq update; } 2>>download.log || true
    apt-get -qq download "$1" 2>>download.log && return
    cat download.log >&2
    echo "guest-image.sh: cannot download Debian's package $1" >&2
    exit 1
}

# The metapackage's dependency names the version.
kernel=$(apt-cache depends linux-image-cloud-amd64 |
    awk '$1 == "Depends:" && $2 ~ /^linux-image-/ { print $2; exit }')
if [ -z "$kernel" ]; then
    echo "guest-image.sh: Debian's package linux-image-cloud-amd64 is not known here" >&2
    exit 1
fi
download "$kernel"
download busybox-static
mkdir packages root
for package in ./*.deb; do
    dpkg-deb -x "$package" packages
done

mkdir -p root/bin root/dev root/etc/acpi/PWRF root/mnt root/proc root/root root/sys root/tmp root/usr
cp packages/bin/busybox root/bin/busybox
for applet in $(root/bin/busybox --list); do
    [ "$applet" = busybox ] || ln -s busybox "root/bin/$applet"
done
ln -s bin root/sbin
ln -s ../bin root/usr/bin
ln -s ../bin root/usr/sbin

# The drivers of what vmm offers, as modules of the kernel's own package.
version=$(basename packages/lib/modules/*)
modules=root/lib/modules/$version
mkdir -p "$modules"
for module in virtio virtio_ring virtio_pci virtio_pci_modern_dev virtio_pci_legacy_dev virtio_blk \
    virtio_net net_failover failover 8021q garp mrp llc stp virtio_console virtio-rng virtio_balloon \
    virtio_input button evdev pvpanic pvpanic-mmio; do
    find packages/lib/modules -name "$module.ko" -exec cp {} "$modules" \;
done
root/bin/busybox depmod -b "$PWD/root" "$version"

# ROOT=LABEL=... on the kernel's command line: the root file system is that one, not this.
cat >root/init <<'END'
#!/bin/sh
if [ "$ROOT" ] && /etc/devices && mount "$(findfs "$ROOT")" /mnt; then
    umount /dev/pts /dev /sys /proc
    exec switch_root /mnt /sbin/init
fi
exec /sbin/init
END
# busybox's init runs what follows and makes poweroff and reboot work.
cat >root/etc/inittab <<'END'
::sysinit:/etc/startup
ttyS0::respawn:-/bin/sh
::ctrlaltdel:/bin/reboot
END
cat >root/etc/devices <<'END'
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
# What the buses have found names its driver; PCI's drivers bring a bus of their own.
for bus in pci virtio; do
    modprobe -qa $(cat /sys/bus/$bus/devices/*/modalias 2>/dev/null) 2>/dev/null
done
END
# A virtio console's ports, by their names, which come a little after the device.
cat >root/etc/ports <<'END'
#!/bin/sh
mkdir -p /dev/virtio-ports
for port in /sys/class/virtio-ports/*; do
    name=$(cat "$port/name" 2>/dev/null) && [ "$name" ] && ln -s "../${port##*/}" "/dev/virtio-ports/$name"
done
END
cat >root/etc/startup <<'END'
#!/bin/sh
/etc/devices
hostname guest
# The guest's own disk, where there is one.
[ "$ROOT" ] || mount "$(findfs LABEL=guest 2>/dev/null)" /mnt 2>/dev/null
# Flow control lets the monitor hold input back while nobody reads it.
stty -F /dev/ttyS0 crtscts
# RUN="..." on the kernel's command line: that instead of a shell.
[ -z "$RUN" ] || { eval "$RUN"; poweroff -f; }
echo "Linux $(uname -r) on $(nproc) CPUs, $(awk '$1 == "MemTotal:" { print int($2 / 1024) }' \
/proc/meminfo) MiB. poweroff ends this machine."
END
# The power button, a panic's report to the monitor, and the network.
cat >>root/etc/startup <<'END'
{ modprobe -a button evdev pvpanic-mmio; /etc/ports; acpid -l /dev/null -p /tmp/acpid.pid; } 2>/dev/null &
[ ! -e /sys/class/net/eth0 ] || udhcpc -i eth0 -n -q >/dev/null 2>&1 &
END
printf '#!/bin/sh\npoweroff\n' >root/etc/acpi/PWRF/00000080
chmod 755 root/etc/acpi/PWRF/00000080
# An address for good.
mkdir -p root/etc/udhcpc
cat >root/etc/udhcpc/default.script <<'END'
#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || { ip link set "$interface" up; exit; }
ip address flush dev "$interface"
ip address add "$ip/$mask" dev "$interface"
for gateway in $router; do ip route add default via "$gateway" dev "$interface"; done
for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
END
cat >root/etc/profile <<'END'
export PATH=/bin HOME=/root TERM=${TERM:-vt100}
export PS1='guest:\w\$ '
cd
END
echo 'root:x:0:0:root:/root:/bin/sh' >root/etc/passwd
echo 'root:x:0:' >root/etc/group
chmod 755 root/init root/etc/devices root/etc/ports root/etc/startup root/etc/udhcpc/default.script

# devtmpfs is mounted by init, which needs a console before.
(cd root && find . -print | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) >initrd.img
cp packages/boot/vmlinuz-* "$out/vmlinuz"
rm -rf "$out/root"
mv root "$out/root"
mv initrd.img "$out/initrd.img"
