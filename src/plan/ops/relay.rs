//! Rows of the network by name: the helper outside, and the sockets inside that it gets.

use std::fmt;
use std::rc::Rc;

use super::{OnHost, Op, RowLabel};
use crate::network::{Published, Role, Settings, Socket, strays};
use crate::plan::call::Call;
use crate::plan::layer::Layer;
use crate::plan::slot::Slot;
use crate::sys::Errno;

/// What rows do for the network by name.
#[derive(Debug, Clone)]
#[allow(missing_docs)] // each variant's `why` documents it, and users see that
pub enum RelayOp {
    /// `kept`: nothing is accepted here, the launcher holds the port for what leads elsewhere.
    Publish {
        published: Published,
        kept: bool,
        to: Slot,
    },
    /// `to`: Init's end of the way to it.
    Helper {
        settings: Rc<Settings>,
        audit: Option<Slot>,
        published: Vec<Slot>,
        to: Slot,
    },
    /// `range` for the reader, `request` for the kernel.
    LocalRoute {
        range: String,
        request: Rc<Vec<u8>>,
    },
    Socket {
        socket: Socket,
        to: Slot,
    },
    Diallers {
        count: usize,
        to: Slot,
    },
    HandOver {
        sockets: Vec<Slot>,
        to: Slot,
    },
}

impl Op for RelayOp {
    fn label(&self) -> RowLabel {
        match self {
            Self::Publish { published, .. } => {
                (Layer::Namespaces, "publish", Some(published.address.to_string()))
            }
            Self::Helper { .. } => (Layer::Namespaces, "network-helper", None),
            Self::Diallers { .. } => (Layer::Namespaces, "diallers", None),
            Self::LocalRoute { range, .. } => (Layer::Namespaces, "local-route", Some(range.clone())),
            Self::Socket { socket, .. } if socket.role == Role::Strays => {
                let kind = if socket.address.is_ipv6() { "ipv6" } else { "ipv4" };
                (Layer::Namespaces, "strays", Some(kind.into()))
            }
            Self::Socket { socket, .. } => {
                let kind = if socket.listens() { "tcp" } else { "udp" };
                (Layer::Namespaces, "socket", Some(format!("{kind}:{}", socket.address.port())))
            }
            Self::HandOver { .. } => (Layer::Namespaces, "hand-over", None),
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish { published, to, .. } => {
                write!(f, "socket(SOCK_STREAM) bind({}) listen() -> {to}", published.address)
            }
            Self::Diallers { count, to } => {
                write!(f, "{count} times socket(SOCK_STREAM) sendmsg({to}, SCM_RIGHTS)")
            }
            Self::Helper { settings, audit, to, .. } => {
                let user = match settings.user {
                    Some(id) => format!("setresuid({id})"),
                    None => "unshare(CLONE_NEWUSER)".into(),
                };
                write!(
                    f,
                    "socketpair -> {to} fork(): safebox-net: {user} capset(0, 0, 0) PR_SET_NO_NEW_PRIVS landlock_restrict_self(no file) seccomp({} instructions) allows",
                    settings.filter.len()
                )?;
                settings.rules.iter().try_for_each(|rule| write!(f, " {rule}"))?;
                settings.published.iter().try_for_each(|port| write!(f, " publishes {port}"))?;
                audit.as_ref().map_or(Ok(()), |slot| write!(f, " audit {slot}"))
            }
            Self::LocalRoute { range, .. } => write!(f, "netlink(RTM_NEWROUTE, local {range} dev lo)"),
            Self::Socket { socket, to } if socket.role == Role::Strays => {
                let v6 = socket.address.is_ipv6();
                let (kind, len) = (if v6 { "ETH_P_IPV6" } else { "ETH_P_IP" }, strays::filter(v6).len());
                write!(
                    f,
                    "socket(AF_PACKET, {kind}) setsockopt(SO_ATTACH_FILTER, {len} instructions) -> {to}"
                )
            }
            Self::Socket { socket, to } => {
                let (kind, listen) =
                    if socket.listens() { ("SOCK_STREAM", " listen()") } else { ("SOCK_DGRAM", "") };
                write!(f, "socket({kind}) bind({}){listen} -> {to}", socket.address)
            }
            Self::HandOver { sockets, to } => {
                write!(f, "sendmsg({to}, SCM_RIGHTS")?;
                sockets.iter().try_for_each(|slot| write!(f, " {slot}"))?;
                f.write_str(") recv(ready)")
            }
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self::Helper { .. } => {
                "a process outside looks the allowed names up, dials, and copies; it reads what a hostile program sends, so it has no capability, no file and few system calls, and it ends with the launcher (prctl(2), PR_SET_PDEATHSIG; landlock(7); seccomp(2))"
            }
            Self::Publish { kept: true, .. } => {
                "the port is this container's as long as it runs: a rule of the plugin's would hide the listener of another program, and that of another container this one's (tcp(7), iptables(8))"
            }
            Self::Publish { .. } => {
                "a port of the host that leads to one inside; what is listened on here arrives there over the helper, and the container needs no address of its own (tcp(7))"
            }
            Self::Diallers { .. } => {
                "connections from outside go on inside, and only a socket that was made inside connects there: so many at once (network_namespaces(7))"
            }
            Self::LocalRoute { .. } => {
                "every address is the namespace's own: a connection arrives at the helper's listener, which sees by the address which name or rule was meant, and resets what no rule allows; no packet leaves (ip-route(8), type local)"
            }
            Self::Socket { socket, .. } if socket.address.port() == 53 => {
                "names are asked for here and nowhere else: the helper answers for those that a rule allows and refuses the others without asking anyone (resolv.conf(5))"
            }
            Self::Socket { socket, .. } if socket.role == Role::Strays => {
                "connections to a port that no rule names are refused by the kernel: the helper reads their first packets to report them, and nothing else of the traffic (packet(7), socket(7))"
            }
            Self::Socket { .. } => {
                "a port that a rule names; connections to every other port are refused by the kernel (tcp(7))"
            }
            Self::HandOver { .. } => {
                "a socket belongs to the namespace that it was made in, whichever process holds it; the program starts once the helper has given everything else up (network_namespaces(7), unix(7))"
            }
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::Publish { .. }
            | Self::Helper { .. }
            | Self::LocalRoute { .. }
            | Self::Socket { .. }
            | Self::Diallers { .. }
            | Self::HandOver { .. } => None,
        }
    }

    fn remedy(&self, errno: Errno, call: Call) -> Option<&'static str> {
        match (self, errno) {
            (Self::Publish { .. }, Errno::EADDRINUSE) => {
                Some("something listens on this port of the host already: publish another (--publish)")
            }
            (Self::Publish { .. }, Errno::EACCES) => Some(
                "a port below net.ipv4.ip_unprivileged_port_start is root's: publish one above it, such as 8080",
            ),
            (Self::Publish { .. }, Errno::EADDRNOTAVAIL) => {
                Some("the host has no such address: see `ip address`")
            }
            (Self::Helper { .. }, Errno::EAGAIN) => Some(
                "a limit on processes is reached: see RLIMIT_NPROC and pids.max of the launcher's cgroup",
            ),
            (Self::HandOver { .. }, Errno::EPIPE | Errno::ECONNRESET)
                if matches!(call, Call::Helper | Call::Sendmsg) =>
            {
                Some(
                    "the network helper could not give up its rights; safebox doctor says what is missing here",
                )
            }
            (Self::Socket { .. }, Errno::EADDRINUSE) => {
                Some("something in the network namespace listens on this port already")
            }
            (Self::LocalRoute { .. } | Self::Socket { .. }, Errno::EPERM | Errno::EACCES) => {
                Some("the network namespace must belong to the container's own user namespace")
            }
            (
                Self::Publish { .. }
                | Self::Helper { .. }
                | Self::LocalRoute { .. }
                | Self::Socket { .. }
                | Self::Diallers { .. }
                | Self::HandOver { .. },
                _,
            ) => None,
        }
    }

    fn on_host(&self) -> &'static [OnHost] {
        match self {
            Self::Helper { .. } => &[OnHost::Creates],
            Self::Publish { .. }
            | Self::LocalRoute { .. }
            | Self::Socket { .. }
            | Self::Diallers { .. }
            | Self::HandOver { .. } => &[],
        }
    }

    fn calls(&self) -> Vec<&'static str> {
        match self {
            Self::Helper { .. } => {
                vec![
                    "socketpair",
                    "socketpair",
                    "setsockopt",
                    "clone",
                    "close",
                    "close",
                    "pidfd_open",
                    "fcntl*",
                ]
            }
            Self::Publish { .. } => vec!["socket", "setsockopt", "bind", "listen"],
            Self::Diallers { count, .. } => ["socket", "sendmsg", "close"].repeat(*count),
            Self::LocalRoute { .. } => vec!["socket", "sendto", "recvfrom", "close"],
            Self::Socket { socket, .. } if socket.role == Role::Strays => vec!["socket", "setsockopt"],
            Self::Socket { socket, .. } => {
                let mut calls = vec!["socket"];
                calls.extend(socket.address.is_ipv6().then_some("setsockopt"));
                calls.push("bind");
                calls.extend(socket.listens().then_some("listen"));
                calls
            }
            Self::HandOver { sockets, .. } => {
                let each = ["sendmsg", "close"].repeat(sockets.len());
                each.into_iter().chain(["recvfrom", "close"]).collect()
            }
        }
    }
}
