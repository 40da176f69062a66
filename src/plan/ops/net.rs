//! Rows of the container's network namespace.

use std::fmt;
use std::rc::Rc;

use super::{Label, Op};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::slot::Slot;
use crate::sys::Errno;

/// What rows do about network devices.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum NetOp {
    MoveDevice { namespace: Slot, outside: Rc<str>, inside: Rc<str> },
    LoopbackUp,
    Pasta { program: std::path::PathBuf, runas: Option<u32>, in_userns: bool, file: std::path::PathBuf },
}

impl Op for NetOp {
    fn label(&self) -> Label {
        match self {
            Self::MoveDevice { outside, .. } => (Layer::Namespaces, "net-device", Some(outside.to_string())),
            Self::LoopbackUp => (Layer::Namespaces, "loopback", None),
            Self::Pasta { .. } => (Layer::Namespaces, "pasta", None),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MoveDevice { namespace, outside, inside } => {
                write!(
                    f,
                    "netlink(RTM_NEWLINK, {outside:?}, IFLA_NET_NS_FD {namespace}, IFLA_IFNAME {inside:?}) setns({namespace}) netlink(RTM_NEWADDR, RTM_NEWLINK, {inside:?}, IFF_UP) setns(back)"
                )
            }
            Self::Pasta { program, runas, file, .. } => {
                let runas = runas.map(|id| format!(" --runas {id}")).unwrap_or_default();
                write!(
                    f,
                    "{} --config-net --no-map-gw -t none -u none -T none -U none{runas} --netns <container> --pid {}",
                    program.display(),
                    file.display()
                )
            }
            Self::LoopbackUp => f.write_str("socket(AF_INET) ioctl(SIOCSIFFLAGS, \"lo\", IFF_UP)"),
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::MoveDevice { .. } => {
                "the container gets a device of the host for itself, with its addresses, and up (config-linux.md, Network Devices)"
            }
            Self::Pasta { .. } => {
                "a tap device inside and a process outside that speaks TCP, UDP and ICMP for it: the program has the host's network without a right over it, no port of the host's leads in, and the gateway's address does not lead to the host (passt(1))"
            }
            Self::LoopbackUp => {
                "a new network namespace has one device, lo, and it is down (network_namespaces(7))"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::MoveDevice { outside, .. } => Some(format!("/linux/netDevices/{outside}")),
            Self::LoopbackUp | Self::Pasta { .. } => None,
        }
    }

    fn remedy(&self, errno: Errno, call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::MoveDevice { .. }, Errno::ENODEV) => {
                Some("the host has no network device of this name: see `ip link`")
            }
            (Self::MoveDevice { .. }, Errno::EEXIST) => {
                Some("a device of this name is inside already: give it another with `name`")
            }
            (Self::MoveDevice { .. }, Errno::EINVAL) if call == Call::NetlinkMove => {
                Some("this device is bound to its namespace (lo, for example, is) and cannot be moved")
            }
            (Self::MoveDevice { .. }, Errno::EPERM) => {
                Some("moving a device needs CAP_NET_ADMIN over the host's network namespace")
            }
            (Self::Pasta { .. }, Errno::ETIMEDOUT) => {
                Some("pasta was not ready within 10 seconds, and was ended")
            }
            (Self::Pasta { .. }, Errno::ECANCELED) => {
                Some("pasta needs an interface with a default route, and /dev/net/tun")
            }
            (Self::MoveDevice { .. } | Self::LoopbackUp | Self::Pasta { .. }, _) => None,
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            // Its own namespace and a socket to look for the device; then a socket on either side, and as many
            // requests as it has addresses. For a number one more socket on the other side.
            Self::MoveDevice { inside, .. } => {
                let there = ["setns", "socket", "setns", "sendto|recvfrom*", "close"];
                let number: &[&str] = if inside.contains("%d") { &there } else { &[] };
                let find = ["openat", "socket", "sendto", "recvfrom*", "close"];
                [&find, number, &["socket"], &there, &["close", "close"]].concat()
            }
            // A program of its own.
            Self::Pasta { .. } => vec!["*"],
            Self::LoopbackUp => vec!["socket", "ioctl", "close"],
        }
    }
}
