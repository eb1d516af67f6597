#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Installs those of the named Debian packages that are missing; through sudo where not root.
set -eu

if ! command -v dpkg-query > /dev/null; then
    echo "install-packages: no dpkg here; make sure that the equivalents of these are installed: $*" >&2
    exit 0
fi

# One at a time: machine tests, of which several run, install what they need.
[ "${ASHLAR_INSTALLING:-}" ] || ASHLAR_INSTALLING=1 exec flock -o "$0" "$0" "$@"

missing=
for package in "$@"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null || true)
    case $status in
    installed*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
export DEBIAN_FRONTEND=noninteractive
echo "Installing:$missing"
# shellcheck disable=SC2086 # a list of words
{
    $sudo apt-get update -qq -o Acquire::Retries=5
    $sudo apt-get install -y -qq -o Acquire::Retries=5 --no-install-recommends $missing > /dev/null
}
