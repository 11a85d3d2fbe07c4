#!/bin/sh
# deb_check.sh BUILD [FOLDER]: installs the packages that `cpack -G DEB` has left in BUILD in a Debian
# of their own (made by debootstrap in FOLDER, kept for the next time; needs root), uses what they
# bring, upgrades them, takes them away again, and looks at what is left.
set -eu
build=$1
folder=${2:-${TMPDIR:-/tmp}/kflow-deb-check}
fail() { printf 'deb: %s\n' "$*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "a Debian of its own needs root"
command -v debootstrap > /dev/null || fail "debootstrap is missing (package debootstrap)"
[ -f "$build"/kflow_*.deb ] || fail "no package in $build: cd $build && cpack -G DEB"

if [ ! -f "$folder/made" ]; then
  rm -rf "$folder"
  mkdir -p "$folder"
  debootstrap --variant=minbase --include=systemd,man-db,bash-completion,ca-certificates,curl \
    bookworm "$folder/debian" > "$folder/debootstrap.log" 2>&1 || { tail "$folder/debootstrap.log" >&2; fail "debootstrap"; }
  touch "$folder/made"
fi
root=$folder/run
rm -rf "$root"
cp -a "$folder/debian" "$root"
cp "$build"/kflow_*.deb "$build"/libkflow-dev_*.deb "$root/root/"
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp "$(dirname "$0")/deb_trial.sh" "$root/root/trial.sh"
# Mounts and processes of its own, which go with it.
unshare --mount --pid --fork --propagation private sh -c '
  mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && mount -t tmpfs tmpfs "$1/run"
  exec chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive sh /root/trial.sh' sh "$root"
rm -rf "$root"
echo "deb: all well"
