#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Fetches the reference host, Debian's cloud kernel: linux-host.sh OUT_DIR writes vmlinuz and the
# modules of its KVM and of its bridge. Does nothing where they are newer than this script.
set -eu

out=${1:?usage: linux-host.sh OUT_DIR}
[ ! "$out/vmlinuz" -nt "$0" ] || exit 0
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

# The metapackage's dependency names the version.
kernel=$(apt-cache depends linux-image-cloud-amd64 |
    awk '$1 == "Depends:" && $2 ~ /^linux-image-/ { print $2; exit }')
if ! apt-get -qq download "$kernel" 2>download.log; then
    { apt-get -qq update || sudo apt-get -qq update; } 2>>download.log || true
    if ! apt-get -qq download "$kernel" 2>>download.log; then
        cat download.log >&2
        echo "linux-host.sh: cannot download Debian's package $kernel" >&2
        exit 1
    fi
fi
dpkg-deb -x ./*.deb root
find root -name irqbypass.ko -o -name 'kvm*.ko' -o -name llc.ko -o -name stp.ko \
    -o -name bridge.ko -o -name tun.ko | xargs -I{} cp {} "$out"
cp root/boot/vmlinuz-* "$out/vmlinuz"
