//! Options of `docker run` that mean nothing here: each says why, and what to use.

use super::heading::GENERAL;
use super::verbs::RUN;
use super::{OptionRow, Says, ValueShape};
use crate::launch::images::IMAGES;

const fn value(long: &'static str, why: &'static str) -> OptionRow {
    OptionRow::new(long, GENERAL, RUN, Says::Refused(ValueShape::Value, why), why)
}

const fn flag(long: &'static str, why: &'static str) -> OptionRow {
    OptionRow::new(long, GENERAL, RUN, Says::Refused(ValueShape::Flag, why), why)
}

const PLUGINS: &str = "addresses and aliases are a matter of a network's plugins: --network cni:NAME";
const PORTS: &str = "no image says which ports there are: name each, --publish HOSTPORT:PORT";
const RESOLVER: &str = "names are looked up in full: --dns ADDRESS, or --volume FILE:/etc/resolv.conf";
const STREAMS: &str = "stdin, stdout and stderr are the caller's: redirect them in the shell";
const DEVICES: &str =
    "limits of single devices come with a bundle: linux.resources.blockIO of its config.json";
const WINDOWS: &str = "this is for Windows containers";

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    flag(
        "privileged",
        "name what is needed with --allow, --cap-add and --device; --policy privileged takes a config as written",
    ),
    value(
        "restart",
        "a service manager restarts programs: safebox install --systemd-unit ID prints a unit with Restart=on-failure",
    ),
    value("attach", STREAMS).short('a'),
    value("blkio-weight-device", DEVICES),
    value("cgroup-parent", "the group's path comes with a bundle: linux.cgroupsPath of its config.json"),
    value("cpu-count", WINDOWS),
    value("cpu-percent", WINDOWS),
    value("cpu-rt-period", "realtime groups come with a bundle: linux.resources.cpu of its config.json"),
    value("cpu-rt-runtime", "realtime groups come with a bundle: linux.resources.cpu of its config.json"),
    value("detach-keys", "a foreground run cannot be detached from: use --detach"),
    value(
        "device-cgroup-rule",
        "device rules come with a bundle: linux.resources.devices of its config.json, and --allow devices",
    ),
    value("device-read-bps", DEVICES),
    value("device-read-iops", DEVICES),
    value("device-write-bps", DEVICES),
    value("device-write-iops", DEVICES),
    flag("disable-content-trust", IMAGES),
    value("dns-option", RESOLVER),
    value("dns-search", RESOLVER),
    value("expose", PORTS),
    value(
        "gpus",
        "devices are named one by one: --device /dev/nvidia0 --device /dev/nvidiactl, and -v for the libraries",
    ),
    value("io-maxbandwidth", WINDOWS),
    value("io-maxiops", WINDOWS),
    value("ip", PLUGINS),
    value("ip6", PLUGINS),
    value("isolation", WINDOWS),
    value("kernel-memory", "the kernel has no such limit any more: --memory counts kernel memory"),
    value("label-file", "name annotations one by one: --annotation NAME=VALUE"),
    value("link", "two containers reach each other on one network: --network cni:NAME"),
    value("link-local-ip", PLUGINS),
    value("mac-address", PLUGINS),
    value("network-alias", PLUGINS),
    flag(
        "oom-kill-disable",
        "a container that hangs at its memory limit is no better than one that ends: raise --memory",
    ),
    value("platform", IMAGES),
    flag("publish-all", PORTS).short('P'),
    value("pull", IMAGES),
    value("runtime", "this is the runtime"),
    flag("sig-proxy", "a foreground run always passes signals on"),
    value("storage-opt", "the root is read-only; a tmpfs is bounded by --tmpfs DST:size=SIZE"),
    value("volume-driver", "there are no named volumes: -v HOSTDIR:DST[:rw]"),
    value("volumes-from", "there are no named volumes: -v HOSTDIR:DST[:rw]"),
];
