//! Network devices of the host that a container gets: `linux.netDevices`.
//!
//! A device is moved with its name, hardware address and MTU; its addresses it loses on the way, so they are
//! given to it again. When the container ends, the kernel returns what is hardware and destroys what is not
//! (network_namespaces(7)); the specification leaves it at that. A launch that fails brings it back itself.

use std::os::fd::{AsRawFd, RawFd};

use crate::perform::{Call, Cx, Done};
use crate::sys::netlink::Netlink;
use crate::sys::{Errno, fs};

/// A device that is inside, and how it was outside.
#[derive(Debug, Clone)]
pub struct Moved {
    namespace: RawFd,
    outside: String,
    inside: String,
    was_up: bool,
}

/// Moves the host's device `outside` into `namespace`, where it is called `inside` and set up.
pub fn move_in(cx: &mut Cx, namespace: RawFd, outside: &str, inside: &str) -> Done {
    let own = own_namespace(cx)?;
    cx.call = Call::Netlink;
    let was_up = Netlink::open()?.link(outside)?.up;
    let inside = numbered(namespace, own.as_raw_fd(), inside)?;
    let there = DevicePlace { namespace, name: &inside, up: true };
    let here = DevicePlace { namespace: own.as_raw_fd(), name: outside, up: was_up };
    carry(&mut cx.call, own.as_raw_fd(), &here, &there)?;
    cx.moved.push(Moved { namespace, outside: outside.to_owned(), inside, was_up });
    Ok(())
}

/// `name` with the first number that is free in `namespace` in place of its `%d`. The kernel knows such templates
/// too, but then the device would have to be looked for among all that are there.
fn numbered(namespace: RawFd, own: RawFd, name: &str) -> Result<String, Errno> {
    let Some((before, after)) = name.split_once("%d") else { return Ok(name.to_owned()) };
    let mut there = Netlink::open_in(namespace, own)?;
    for number in 0u32.. {
        let name = format!("{before}{number}{after}");
        if name.len() >= libc::IFNAMSIZ {
            break;
        }
        match there.link(&name) {
            Ok(_) => {}
            Err(Errno::ENODEV) => return Ok(name),
            Err(e) => return Err(e),
        }
    }
    Err(Errno::ENFILE)
}

/// Brings back what a launch that failed has moved, the last first; what cannot be brought back, in words.
pub fn bring_back(cx: &mut Cx) -> Vec<String> {
    let mut problems = Vec::new();
    for moved in std::mem::take(&mut cx.moved).iter().rev() {
        let back = own_namespace(cx).and_then(|own| {
            let there = DevicePlace { namespace: moved.namespace, name: &moved.inside, up: true };
            let here = DevicePlace { namespace: own.as_raw_fd(), name: &moved.outside, up: moved.was_up };
            carry(&mut cx.call, own.as_raw_fd(), &there, &here)
        });
        if let Err(e) = back {
            problems.push(format!("network device {} cannot be brought back: {e}", moved.outside));
        }
    }
    problems
}

/// Where a device is, or is going to be.
struct DevicePlace<'a> {
    namespace: RawFd,
    name: &'a str,
    up: bool,
}

/// Carries a device with its addresses; on an error it is as it was, so far as that can be done.
fn carry(call: &mut Call, own: RawFd, from: &DevicePlace<'_>, to: &DevicePlace<'_>) -> Done {
    let open = |place: &DevicePlace<'_>| match place.namespace == own {
        true => Netlink::open(),
        false => Netlink::open_in(place.namespace, own),
    };
    *call = Call::Netlink;
    let (mut source, mut target) = (open(from)?, open(to)?);
    let link = source.link(from.name)?;
    let addresses = source.addresses(link.index, from.name)?;
    let give = |netlink: &mut Netlink, index: i32, name: &str, up: bool| {
        addresses.iter().try_for_each(|a| netlink.add_address(index, name, a))?;
        netlink.set_up(index, up)
    };
    // Some kernels move first and then find that the name is taken.
    match target.link(to.name) {
        Err(Errno::ENODEV) => {}
        other => return other.and(Err(Errno::EEXIST)),
    }
    *call = Call::NetlinkMove;
    // A device that is up keeps its name.
    let moved =
        source.set_up(link.index, false).and_then(|()| source.move_to(link.index, to.namespace, to.name));
    if let Err(e) = moved {
        give(&mut source, link.index, from.name, link.up).unwrap_or_default();
        return Err(e);
    }
    *call = Call::Netlink;
    let arrived = target.link(to.name).and_then(|l| give(&mut target, l.index, to.name, to.up));
    if let Err(e) = arrived {
        back(&mut source, &mut target, from, to, link.up, &give);
        return Err(e);
    }
    Ok(())
}

/// After a failure on the other side.
fn back(
    source: &mut Netlink,
    target: &mut Netlink,
    from: &DevicePlace<'_>,
    to: &DevicePlace<'_>,
    up: bool,
    give: &dyn Fn(&mut Netlink, i32, &str, bool) -> Done,
) {
    let returned = target
        .link(to.name)
        .and_then(|l| {
            target.set_up(l.index, false).and_then(|()| target.move_to(l.index, from.namespace, from.name))
        })
        .and_then(|()| source.link(from.name))
        .and_then(|l| give(source, l.index, from.name, up));
    // The first error is the one that is reported.
    returned.unwrap_or_default();
}

fn own_namespace(cx: &mut Cx) -> Result<std::os::fd::OwnedFd, Errno> {
    cx.call = Call::Open;
    fs::openat(libc::AT_FDCWD, c"/proc/self/ns/net", libc::O_RDONLY, 0).map(fs::own)
}
