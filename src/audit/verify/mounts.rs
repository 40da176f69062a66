//! The mounts that were asked for beside those that the process sees.

use std::path::{Path, PathBuf};

use super::{Circumstances, Comparison};
use crate::policy::Posture;
use crate::policy::posture::{Aspect, Known, MountView};

/// A symlink that every rootfs has leads from the first to the second.
const LINKS: [(&str, &str); 2] = [("/var/run", "/run"), ("/lib", "/usr/lib")];

pub(super) fn mounts(out: &mut Comparison, asked: &Posture, observed: &Posture, given: &Circumstances) {
    let at = observed.at(Aspect::Mounts);
    out.both("mounts", (&asked.mounts, &observed.mounts), |out, a, o| {
        for want in a {
            let through = LINKS
                .iter()
                .find_map(|(link, to)| Some(Path::new(to).join(want.destination.strip_prefix(link).ok()?)));
            let have = |path: &Path| o.iter().rev().find(|m| m.destination == path);
            let Some(have) = have(&want.destination).or_else(|| through.as_deref().and_then(have)) else {
                out.differs("mounts", at.clone(), described(want), "no mount there");
                continue;
            };
            // Another runtime may leave the tmpfs itself open.
            let tree = cgroup_of(want, have, (a, o));
            if !given.foreign || tree.is_none() {
                one_mount(out, want, have);
            }
            tree.into_iter().for_each(|tree| one_mount(out, want, tree));
        }
        for more in o.iter().filter(|m| m.source.is_some()) {
            if !expected(more, a, asked, given) {
                let source = more.source.as_deref().unwrap_or(Path::new("")).display();
                out.differs(
                    "mounts",
                    more.at.clone(),
                    "nothing",
                    format!("{source} of the host at {}", more.destination.display()),
                );
            }
        }
    });
}

fn described(mount: &MountView) -> String {
    format!("{} at {}", mount.fs_type.as_deref().unwrap_or("a bind mount"), mount.destination.display())
}

/// A tree of cgroup v1 in the place of the tmpfs that holds them all; one that can be written, where there is one. A tree
/// that a mount of its own is asked for is compared with that.
fn cgroup_of<'a>(
    want: &MountView,
    have: &MountView,
    (asked, all): (&[MountView], &'a [MountView]),
) -> Option<&'a MountView> {
    let holds = have.fs_type.as_deref() == Some("tmpfs")
        && want.fs_type.as_deref().is_some_and(|fs| fs.starts_with("cgroup"));
    let trees = || {
        all.iter().filter(|m| {
            let own = |w: &MountView| {
                w.destination != want.destination
                    && w.destination.starts_with(&want.destination)
                    && m.destination.starts_with(&w.destination)
            };
            m.destination.starts_with(&have.destination)
                && m.fs_type.as_deref() == Some("cgroup")
                && !asked.iter().any(own)
        })
    };
    trees().filter(|_| holds).find(|m| !m.has(want.attrs)).or_else(|| trees().find(|_| holds))
}

fn one_mount(out: &mut Comparison, want: &MountView, have: &MountView) {
    let at = have.at.clone();
    // A config's `cgroup` is whatever the host has of cgroups.
    if let (Some(want_fs), Some(have_fs)) = (&want.fs_type, &have.fs_type)
        && want_fs != have_fs
        && !want_fs.starts_with("cgroup")
    {
        out.differs("mounts", at, described(want), have_fs.clone());
        return;
    }
    for (bit, word) in [
        (libc::MOUNT_ATTR_RDONLY, "ro"),
        (libc::MOUNT_ATTR_NOSUID, "nosuid"),
        (libc::MOUNT_ATTR_NODEV, "nodev"),
        (libc::MOUNT_ATTR_NOEXEC, "noexec"),
    ] {
        if want.attrs & bit != 0 && have.attrs & bit == 0 {
            out.differs(
                "mounts",
                at.clone(),
                format!("{} {word}", want.destination.display()),
                format!("not {word}"),
            );
        }
    }
    if want.fs_type.as_deref() == Some("tmpfs")
        && want.bounded
        && !have.bounded
        && !have.has(libc::MOUNT_ATTR_RDONLY)
    {
        out.differs("mounts", at, format!("{} has a size", want.destination.display()), "no size");
    }
}

/// Whether a bind mount was asked for, lies in one that was, or is the runtime's own.
fn expected(mount: &MountView, asked: &[MountView], posture: &Posture, given: &Circumstances) -> bool {
    let place = &mount.destination;
    let below = |top: &str| place.starts_with(top) && place != Path::new(top);
    let listed = |list: &Known<Vec<PathBuf>>| list.iter().flatten().any(|path| path == place);
    below("/proc")
        || below("/sys")
        || below("/dev")
        || asked.iter().any(|a| place.starts_with(&a.destination) && (a.bind || a.destination == *place))
        || LINKS.iter().any(|(link, to)| {
            let back = place.strip_prefix(to).map(|rest| Path::new(link).join(rest));
            back.is_ok_and(|back| asked.iter().any(|a| back.starts_with(&a.destination)))
        })
        || listed(&posture.masked)
        || listed(&posture.readonly)
        || given.shown.contains(place)
}
