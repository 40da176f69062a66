//! Rows of the container's network namespace.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;

use super::{OnHost, Op, RowLabel};
use crate::network::cni::{Attachment, DEVICE};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::slot::Slot;
use crate::sys::Errno;

/// What rows do about network devices.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum NetOp {
    MoveDevice {
        namespace: Slot,
        outside: Rc<str>,
        inside: Rc<str>,
    },
    LoopbackUp,
    Pasta {
        program: PathBuf,
        runas: Option<u32>,
        in_userns: bool,
        file: PathBuf,
    },
    KeepNamespace {
        file: PathBuf,
    },
    /// Before the clone: Init reads it, and what the network says comes in between.
    Resolv {
        content: Rc<Vec<u8>>,
        to: Slot,
    },
    Cni {
        attachment: Rc<Attachment>,
        record: PathBuf,
        resolv: Option<Slot>,
    },
    CniCheck {
        network: Rc<str>,
        record: PathBuf,
    },
    Isolate {
        network: Rc<str>,
        record: PathBuf,
    },
    /// `add` and `ask` for the kernel.
    Unreachable {
        address: IpAddr,
        add: Rc<Vec<u8>>,
        ask: Rc<Vec<u8>>,
    },
}

impl Op for NetOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::MoveDevice { outside, .. } => (Layer::Namespaces, "net-device", Some(outside.to_string())),
            Self::LoopbackUp => (Layer::Namespaces, "loopback", None),
            Self::Pasta { .. } => (Layer::Namespaces, "pasta", None),
            Self::KeepNamespace { .. } => (Layer::Namespaces, "keep-network", None),
            Self::Resolv { .. } => (Layer::Namespaces, "resolv.conf", None),
            Self::Cni { attachment, .. } => {
                (Layer::Namespaces, "network", Some(attachment.list.name.clone()))
            }
            Self::CniCheck { network, .. } => (Layer::Namespaces, "network-check", Some(network.to_string())),
            Self::Isolate { network, .. } => (Layer::Namespaces, "isolate", Some(network.to_string())),
            Self::Unreachable { address, .. } => {
                (Layer::Namespaces, "unreachable", Some(address.to_string()))
            }
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
            Self::KeepNamespace { file } => {
                write!(
                    f,
                    "open(/proc/PID/ns/net) open_tree(OPEN_TREE_CLONE) move_mount(-> {})",
                    file.display()
                )
            }
            Self::Resolv { content, to } => {
                write!(f, "memfd_create() write({} bytes) -> {to}", content.len())
            }
            Self::Cni { attachment, record, resolv } => {
                let Attachment { container, netns, list, ports, .. } = &**attachment;
                write!(
                    f,
                    "ADD of {} CNI_CONTAINERID={container} CNI_NETNS={}",
                    list.types().join(", "),
                    netns.display()
                )?;
                write!(f, " CNI_IFNAME={DEVICE}")?;
                for port in ports {
                    let host = port["hostIP"].as_str().unwrap_or("*");
                    write!(f, " port {host}:{} -> {}", port["hostPort"], port["containerPort"])?;
                }
                write!(f, ", the result -> {}", record.display())?;
                resolv.as_ref().map_or(Ok(()), |slot| write!(f, ", its DNS servers -> {slot}"))
            }
            Self::CniCheck { record, .. } => write!(f, "CHECK of each plugin in {}", record.display()),
            Self::Isolate { record, .. } => {
                write!(
                    f,
                    "netlink(RTM_SETLINK, <host's device in {}>, IFLA_BRPORT_ISOLATED) read back",
                    record.display()
                )
            }
            Self::Unreachable { address, .. } => {
                write!(
                    f,
                    "netlink(RTM_NEWROUTE, unreachable {address} table local) netlink(RTM_GETROUTE) read back"
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
            Self::KeepNamespace { .. } => {
                "the plugins know the namespace by this file, and it outlives the container's processes until they have taken back what they put in there (namespaces(7), CNI specification, CNI_NETNS)"
            }
            Self::Resolv { .. } => {
                "what the container sees as /etc/resolv.conf: the host's servers but those that it cannot reach, until the network names its own (resolv.conf(5))"
            }
            Self::Cni { .. } => {
                "the administrator's plugins put a device with an address into the namespace, each with the result of the one before; the record comes first, so that DEL has what ADD had, whatever the end (CNI specification 1.0)"
            }
            Self::CniCheck { .. } => {
                "what the plugins say that they made is there (CNI specification 1.0, CHECK)"
            }
            Self::Isolate { .. } => {
                "containers of this bridge exchange no frame with each other; plugins before 1.6 ignore portIsolation without a word, so it is set and read back (bridge(8), isolated)"
            }
            Self::Unreachable { .. } => {
                "clouds give out credentials of the machine at this address; the route is in the first table that the kernel consults, and the program has no right to remove it (ip-rule(8), capabilities(7), CAP_NET_ADMIN)"
            }
            Self::LoopbackUp => {
                "a new network namespace has one device, lo, and it is down (network_namespaces(7))"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::MoveDevice { outside, .. } => Some(format!("/linux/netDevices/{outside}")),
            Self::LoopbackUp
            | Self::Pasta { .. }
            | Self::KeepNamespace { .. }
            | Self::Resolv { .. }
            | Self::Cni { .. }
            | Self::CniCheck { .. }
            | Self::Isolate { .. }
            | Self::Unreachable { .. } => None,
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
            (Self::KeepNamespace { .. }, Errno::EPERM) => {
                Some("mounting needs CAP_SYS_ADMIN: run safebox as root")
            }
            (Self::Isolate { .. }, Errno::ENODEV) => Some(
                "the network's result names no port of a bridge: portIsolation is for the bridge plugin alone",
            ),
            (Self::Isolate { .. }, Errno::EOPNOTSUPP) => {
                Some("this kernel does not isolate ports of a bridge (since 4.18)")
            }
            (
                Self::MoveDevice { .. }
                | Self::LoopbackUp
                | Self::Pasta { .. }
                | Self::KeepNamespace { .. }
                | Self::Resolv { .. }
                | Self::Cni { .. }
                | Self::CniCheck { .. }
                | Self::Isolate { .. }
                | Self::Unreachable { .. },
                _,
            ) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::Pasta { .. } | Self::KeepNamespace { .. } | Self::Cni { .. } => {
                &[OnHost::Creates, OnHost::Opens]
            }
            Self::MoveDevice { .. } => &[OnHost::Creates],
            Self::CniCheck { .. } | Self::Isolate { .. } => &[OnHost::Opens],
            Self::LoopbackUp | Self::Resolv { .. } | Self::Unreachable { .. } => &[],
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
            // Programs of their own.
            Self::Pasta { .. } | Self::Cni { .. } | Self::CniCheck { .. } => vec!["*"],
            Self::KeepNamespace { .. } => {
                vec!["openat", "openat", "close", "open_tree", "close", "move_mount", "close"]
            }
            Self::Resolv { .. } => vec!["memfd_create", "memfd_create?", "pwrite64"],
            Self::Isolate { .. } => {
                vec!["openat", "fstat|statx|read|lseek*", "close", "socket", "sendto|recvfrom*", "close"]
            }
            Self::Unreachable { .. } => {
                let ask = ["socket", "sendto", "recvfrom", "close"];
                [ask, ask].concat()
            }
            Self::LoopbackUp => vec!["socket", "ioctl", "close"],
        }
    }
}
