//! What the rows of the network by name do.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use crate::network::handle::HelperHandle;
use crate::network::helper::{self, HelperFds};
use crate::network::{Role, Settings, Socket, strays};
use crate::perform::{Call, Cx, Done, at};
use crate::plan::ops::RelayOp;
use crate::plan::{Action, Slot};
use crate::sys::{Errno, SysResult, argv, fs, net, process, route, socket};

/// Connections that wait to be accepted on each port.
const BACKLOG: i32 = 512;

/// Performs one row of the network by name.
pub(super) fn apply(op: &RelayOp, cx: &mut Cx) -> Done {
    match op {
        RelayOp::Publish { published, kept, to } => {
            let family = if published.address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
            let fd = at(cx, Call::Socket, net::socket(family, libc::SOCK_STREAM))?;
            if *kept { &mut cx.ports } else { &mut cx.held }.push(fs::own(fd));
            // Connections of an earlier container do not keep the port.
            at(cx, Call::Setsockopt, net::set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1))?;
            at(cx, Call::Bind, net::bind(fd, published.address))?;
            at(cx, Call::Listen, net::listen(fd, BACKLOG))?;
            cx.set(to, fd);
            Ok(())
        }
        RelayOp::Diallers { count, to } => {
            for _ in 0..*count {
                let fd = at(cx, Call::Socket, net::socket(libc::AF_INET, libc::SOCK_STREAM))?;
                at(cx, Call::Sendmsg, socket::send_fd(cx.fd(to), b"d", fd))?;
                fs::close(fd);
            }
            Ok(())
        }
        RelayOp::Helper { settings, audit, published, to } => {
            let published = published.iter().map(|slot| cx.fd(slot)).collect();
            let audit = audit.as_ref().map(|slot| cx.fd(slot)).filter(|fd| *fd >= 0);
            start_helper(cx, settings, (audit, published), to)
        }
        RelayOp::LocalRoute { request, .. } => at(cx, Call::Netlink, route::perform(request)),
        RelayOp::Socket { socket, to } => {
            let fd = open(cx, *socket)?;
            cx.set(to, fd);
            Ok(())
        }
        RelayOp::HandOver { sockets, to } => {
            let helper = cx.fd(to);
            for slot in sockets {
                at(cx, Call::Sendmsg, socket::send_fd(helper, b"s", cx.fd(slot)))?;
                fs::close(cx.fd(slot));
                cx.set(slot, -1);
            }
            // Its end, where it cannot give up what it must.
            let n = at(cx, Call::Helper, socket::recv(helper, &mut [0; 1]))?;
            if n == 0 {
                return Err(Errno::ECONNRESET);
            }
            fs::close(helper);
            cx.set(to, -1);
            Ok(())
        }
    }
}

/// Forks the helper, with its ends of the sockets to the launcher and to Init.
fn start_helper(
    cx: &mut Cx,
    settings: &Settings,
    (audit, published): (Option<RawFd>, Vec<RawFd>),
    to: &Slot,
) -> Done {
    let (ours, line) = at(cx, Call::Socketpair, socket::seqpacket_pair())?;
    let (init, theirs) = at(cx, Call::Socketpair, socket::seqpacket_pair())?;
    // Before Init can send: what is sent earlier does not say by whom.
    at(cx, Call::Setsockopt, net::set_option(theirs, libc::SOL_SOCKET, libc::SO_PASSCRED, 1))?;
    let life = || {
        argv::forget_as(b"safebox network helper");
        fs::close(ours);
        fs::close(init);
        helper::run(settings, &HelperFds { line, init: theirs, audit, published })
    };
    let pid = at(cx, Call::Clone, process::fork_run(life))?;
    fs::close(line);
    fs::close(theirs);
    let pidfd = at(cx, Call::PidfdOpen, process::pidfd_open(pid))?;
    cx.helper = Some(HelperHandle::new(pid, fs::own(pidfd), fs::own(ours)));
    cx.set(to, init);
    cx.held.push(fs::own(init));
    Ok(())
}

fn open(cx: &mut Cx, wanted: Socket) -> SysResult<RawFd> {
    let (address, kind) = match wanted.role {
        Role::Strays => return packets(cx, wanted.address.is_ipv6()),
        Role::Questions => (wanted.address, libc::SOCK_DGRAM),
        Role::QuestionStreams | Role::Port(_) | Role::Published(_) => (wanted.address, libc::SOCK_STREAM),
    };
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let fd = at(cx, Call::Socket, net::socket(family, kind))?;
    if let SocketAddr::V6(_) = address {
        // Connections to IPv4 addresses arrive on the same socket.
        at(cx, Call::Setsockopt, net::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0))?;
    }
    at(cx, Call::Bind, net::bind(fd, address))?;
    if wanted.listens() {
        at(cx, Call::Listen, net::listen(fd, BACKLOG))?;
    }
    Ok(fd)
}

/// Nothing is sent before the program starts: no packet comes between the socket and its filter.
fn packets(cx: &mut Cx, v6: bool) -> SysResult<RawFd> {
    let fd = at(cx, Call::Socket, net::packets(if v6 { libc::ETH_P_IPV6 } else { libc::ETH_P_IP }))?;
    at(cx, Call::Setsockopt, net::attach_filter(fd, strays::filter(v6)))?;
    Ok(fd)
}

/// Ends the helper of a launch that has failed; its message is the detail of a hand-over that failed.
pub fn take_back(cx: &mut Cx, row: Option<&Action>) {
    cx.held.clear();
    let Some(mut helper) = cx.helper.take() else { return };
    if matches!(row, Some(Action::Relay(RelayOp::HandOver { .. })))
        && let Ok(Some(verdict)) = helper.verdict()
    {
        cx.detail = cx.detail.take().or(Some(verdict.text()));
    }
    helper.end();
}
