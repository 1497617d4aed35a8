#!/bin/bash
# Puts Apptainer onto a Debian machine, for the tests of the images. Root; safe to run twice.
#
#   tests/system/apptainer-up.sh [SCRATCH]
#
# Debian has Apptainer in sid only, built for a newer glibc than bookworm's. There the package is
# taken as it is and given that glibc, in a folder of its own that only Apptainer uses. Packages
# come from wherever this machine's apt takes its own. A cluster has its own Apptainer.
set -euo pipefail

scratch=${1:-$(mktemp -d)}
home=/usr/lib/x86_64-linux-gnu/apptainer
export DEBIAN_FRONTEND=noninteractive

install() {
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

mirror() {
    {
        awk '$1 == "URIs:" { print $2; exit }' /etc/apt/sources.list.d/debian.sources
        awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; exit } }' /etc/apt/sources.list
    } 2>/dev/null | head -n 1
}

# fetch SUITE PACKAGE: the .deb of another suite, by an apt that shares nothing with the host's.
fetch() {
    local root=$scratch/$1
    mkdir -p "$root"/{lists,archives}/partial "$root/parts"
    : >"$root/status"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
        "$(mirror)" "$1" >"$root/sources.list"
    cat >"$root/apt.conf" <<CONF
Dir::State::status "$root/status";
Dir::State::lists "$root/lists";
Dir::Cache "$root";
Dir::Cache::archives "$root/archives";
Dir::Etc::sourcelist "$root/sources.list";
Dir::Etc::sourceparts "$root/parts";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "$root/parts";
Acquire::Languages "none";
APT::Sandbox::User "root";
CONF
    APT_CONFIG=$root/apt.conf apt-get -qq update
    (cd "$root" && APT_CONFIG=$root/apt.conf apt-get -qq download "$2")
}

# repack LIBC_SUITE: sid's package with the glibc of a suite beside it.
repack() {
    local package=$scratch/package libc=$scratch/libc program
    rm -rf "$package" "$libc"
    fetch sid apptainer
    fetch "$1" libc6
    dpkg-deb -R "$scratch"/sid/apptainer_*.deb "$package"
    dpkg-deb -x "$scratch/$1"/libc6_*.deb "$libc"
    mkdir -p "$package$home/glibc"
    cp -L "$libc"/usr/lib/x86_64-linux-gnu/{ld-linux-x86-64,libc,libm,libdl,libpthread,librt,libresolv,libnss_files,libnss_dns}.so.* \
        "$package$home/glibc/"
    for program in "$package/usr/bin/apptainer" "$package$home/bin/starter"; do
        patchelf --set-interpreter "$home/glibc/ld-linux-x86-64.so.2" \
            --force-rpath --set-rpath "$home/glibc" "$program"
    done
    sed -i -E 's/libc6 \(>= [^)]*\)/libc6/; s/containernetworking-plugins, //; /^(Static-)?Built-Using:/d' \
        "$package/DEBIAN/control"
    rm -f "$package/DEBIAN/md5sums"
    dpkg-deb --root-owner-group -Zgzip -z1 -b "$package" "$scratch/apptainer.deb" >/dev/null
}

works() {
    apptainer --version >/dev/null 2>&1
}

if ! works; then
    apt-get -qq update
    install ca-certificates debootstrap mmdebstrap uidmap squashfs-tools squashfuse fuse-overlayfs tzdata
    if ! install apptainer 2>/dev/null; then
        install patchelf
        for suite in trixie sid; do
            repack "$suite"
            install --allow-downgrades "$scratch/apptainer.deb"
            works && break
        done
    fi
    works || { echo 'apptainer-up: Apptainer does not start' >&2; exit 1; }
fi

# Root of a virtual machine may lack a capability, and Apptainer insists on giving all: give those
# that root has. (bits of CapPrm, in the order of linux/capability.h)
python3 - <<'PYTHON'
import json, re
NAMES = """CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
PERFMON BPF CHECKPOINT_RESTORE""".split()
with open("/proc/self/status") as status:
    held = int(re.search(r"CapPrm:\s*(\w+)", status.read())[1], 16)
given = [f"CAP_{name}" for bit, name in enumerate(NAMES) if held >> bit & 1]
with open("/etc/apptainer/capability.json", "w") as file:
    json.dump({"users": {"root": given}}, file)
PYTHON
apptainer config global --set 'root default capabilities' file
[ -e /etc/localtime ] || ln -s /usr/share/zoneinfo/Etc/UTC /etc/localtime # bound into every image
[ "$(stat -c %a /dev/fuse 2>/dev/null)" = 666 ] ||
    echo 'apptainer-up: other users than root need: chmod 666 /dev/fuse' >&2
[ $# -gt 0 ] || rm -rf "$scratch"
apptainer --version
