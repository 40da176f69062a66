# Makes what all rounds share: a root file system of one static busybox, and an image of it that
# containerd, Podman and Docker load (the format of `docker save`). Nothing comes from a network.
set -euo pipefail
cd "$BASE"
mkdir -p rootfs/{bin,dev,etc,mnt,proc,root,sys,tmp,usr,var}
cp "$(command -v busybox)" rootfs/bin/busybox
for applet in $(rootfs/bin/busybox --list); do [[ -e rootfs/bin/$applet ]] || ln -s busybox "rootfs/bin/$applet"; done
printf 'root:x:0:0:root:/root:/bin/sh\nbox:x:1000:1001::/tmp:/bin/sh\n' >rootfs/etc/passwd
printf 'root:x:0:\nbox:x:1001:\n' >rootfs/etc/group
mkdir image
tar --create --file image/layer.tar --owner 0 --group 0 --numeric-owner --mtime @0 --directory rootfs .
sum() { sha256sum "$1" | cut -d ' ' -f 1; }
case $(uname -m) in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) arch=$(uname -m) ;; esac
# `image NAME COMMAND`: the same files with another command; prints its entry of the manifest.
image() {
    cat >image/config <<END
{ "architecture": "$arch", "os": "linux", "created": "1970-01-01T00:00:00Z",
  "history": [{ "created": "1970-01-01T00:00:00Z" }],
  "config": { "Env": ["PATH=/bin"], "Cmd": $2 },
  "rootfs": { "type": "layers", "diff_ids": ["sha256:$(sum image/layer.tar)"] } }
END
    local config; config=$(sum image/config).json
    mv image/config "image/$config"
    echo "{ \"Config\": \"$config\", \"RepoTags\": [\"localhost/$1:latest\"], \"Layers\": [\"layer.tar\"] }"
}
busybox=$(image busybox '["sh"]')
pause=$(image pause '["sleep", "1000000"]') # what holds a pod's namespaces
echo "[$busybox, $pause]" >image/manifest.json
tar --create --file image.tar --directory image .
