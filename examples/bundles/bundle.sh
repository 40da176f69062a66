# Sourced by the `make` scripts beside it: builds a bundle from the host's static busybox.
#
#   bundle DIR              DIR/rootfs with busybox and a directory for every mount
#   config DIR ARG...       DIR/config.json that runs ARG... as root with the capabilities Docker gives and a
#                           writable rootfs: what images ask for. `safebox run` hardens it; try the same
#                           bundle with `--policy privileged`, or under runc, to see the difference.
# Limits for `config`, in the environment: MEMORY in bytes, PIDS.

set -eu

bundle() {
    root=$1/rootfs
    busybox=$(command -v busybox) || { echo "busybox is missing: install busybox-static" >&2; exit 1; }
    mkdir -p "$root/bin" "$root/etc" "$root/dev" "$root/proc" "$root/sys" "$root/tmp" "$root/run" \
        "$root/var/tmp" "$root/root" "$root/mnt"
    chmod 755 "$1" "$root"
    cp "$busybox" "$root/bin/busybox"
    for applet in $("$busybox" --list); do
        [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
    done
    echo 'root::0:0:root:/root:/bin/sh' >"$root/etc/passwd"
    echo 'root:x:0:' >"$root/etc/group"
}

json() { # WORD: as a JSON string
    printf '"%s"' "$(printf %s "$1" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/\t/\\t/g' |
        sed -e ':a' -e 'N' -e '$!ba' -e 's/\n/\\n/g')"
}

config() {
    dir=$1 args=
    shift
    for word; do args="$args${args:+, }$(json "$word")"; done
    caps='"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
        "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL"'
    cat >"$dir/config.json" <<END
{
  "ociVersion": "1.0.2",
  "process": {
    "user": { "uid": 0, "gid": 0 },
    "args": [$args],
    "env": ["PATH=/bin", "HOME=/root"],
    "cwd": "/",
    "capabilities": {
      "bounding": [$caps],
      "effective": [$caps],
      "permitted": [$caps]
    }
  },
  "root": { "path": "rootfs", "readonly": false },
  "hostname": "box",
  "mounts": [
    { "destination": "/proc", "type": "proc", "source": "proc" },
    { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
      "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
    { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
      "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
    { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] }
  ],
  "linux": {
    "namespaces": [
      { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }
    ],
    "resources": {
      "memory": { "limit": ${MEMORY:-268435456}, "swap": ${MEMORY:-268435456} },
      "pids": { "limit": ${PIDS:-64} },
      "devices": [{ "allow": false, "access": "rwm" }]
    }
  }
}
END
}
