//! Predicts from the config whether a program could do something: for `explain --would`, and for observed refusals.
//!
//! The answer follows the kernel's own order: does the path exist in the container, is it masked, is its mount
//! read-only or noexec, does the file's mode let the container's user in.

mod access;
mod answer;
mod place;
mod program;
mod special;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::config::network::{self, Destination, NetworkRule};
use crate::config::{CopyUp, Mount};
use crate::policy::is_writable;
use crate::tables::namespaces::NsKind;
use access::{ContainerUser, Use};
use place::{CoveredBy, File, ResolvedPath};
use special::{device, in_new_tmpfs, lacks, not_a_directory};

pub use answer::{Answer, RefusalCause, WouldVerdict};
pub use place::View;
pub use program::check_program;

/// An operation of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// Open a file for reading, list a directory.
    Read,
    /// Open a file for writing, create, rename, change or remove it.
    Write,
    /// Execute a program.
    Exec,
    /// Connect a socket.
    Connect,
}

const DEEDS: [(&str, Deed); 4] =
    [("read", Deed::Read), ("write", Deed::Write), ("exec", Deed::Exec), ("connect", Deed::Connect)];

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = DEEDS.iter().find(|(_, deed)| deed == self).map_or("", |(name, _)| *name);
        f.write_str(name)
    }
}

/// `write:/etc/x`, `connect:example.org:443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The operation.
    pub deed: Deed,
    /// A path inside the container (relative ones start at its working directory), or `HOST:PORT`.
    pub object: String,
}

impl FromStr for Question {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = "one of read:PATH, write:PATH, exec:PATH, connect:HOST:PORT, connect:unix:PATH";
        let (deed, object) = text.split_once(':').ok_or(known)?;
        let (_, deed) = DEEDS.iter().find(|(name, _)| *name == deed).ok_or(known)?;
        if object.is_empty() || object.contains('\0') {
            return Err(known.into());
        }
        if *deed == Deed::Connect && !object.starts_with("unix:") {
            let port = object.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            port.and_then(|p| p.parse::<u16>().ok()).filter(|p| *p > 0).ok_or("connect needs HOST:PORT")?;
        }
        Ok(Question { deed: *deed, object: object.into() })
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.deed, self.object)
    }
}

/// Answers one question.
pub fn judge(view: &View<'_>, question: &Question) -> Answer {
    match (question.deed, question.object.strip_prefix("unix:")) {
        (Deed::Connect, None) => connect(view, &question.object),
        (Deed::Connect, Some(path)) => file(view, Deed::Write, Path::new(path), Deed::Connect),
        (deed, _) => file(view, deed, Path::new(&question.object), deed),
    }
}

fn connect(view: &View<'_>, to: &str) -> Answer {
    let (host, port) = to.rsplit_once(':').unwrap_or((to, ""));
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok();
    let network = &view.config.network;
    if view.config.hardening.guards.contains(&crate::config::SeccompGuard::NoInternet) {
        return Answer::no("a seccomp filter lets the program make unix sockets only", None);
    }
    match view.config.namespace(NsKind::Net) {
        None => Answer::yes("the network is the host's"),
        Some(ns) if ns.path.is_some() => {
            Answer::unsure("the network namespace is one that the config names; its routes decide")
        }
        Some(_) if host == "localhost" || address.is_some_and(|a| a.is_loopback()) => {
            Answer::yes("loopback is the container's own: only its own programs listen there")
        }
        Some(_)
            if (network.cni.is_some() || network.pasta.is_some())
                && address.is_some_and(|a| crate::network::cni::METADATA.contains(&a)) =>
        {
            Answer::no("a route of the container's makes it unreachable: it is a metadata address", None)
        }
        Some(_) if network.cni.is_some() => {
            Answer::unsure("the network's plugins and the host's routes decide")
        }
        Some(_) if network.pasta.is_some() => Answer::unsure("pasta connects to the host's network"),
        // Inside, allowed names have addresses of the container's own.
        Some(_) if !network.rules.is_empty() && address.is_some_and(network::is_inside) => {
            Answer::unsure("this address stands for a name that --allow-net allows")
        }
        Some(_) if !view.config.net_devices.is_empty() => {
            Answer::unsure("the network devices that the config moves into the network namespace decide")
        }
        Some(_) => by_rules(view, to, (&host, address, port)),
    }
}

/// The port of name servers (RFC 1035).
const DNS: &str = "53";

/// The rules of `--allow-net`; without one only loopback is there.
fn by_rules(view: &View<'_>, to: &str, (host, address, port): (&str, Option<IpAddr>, &str)) -> Answer {
    let rules = &view.config.network.rules;
    let allows = |rule: &&NetworkRule| {
        rule.port.to_string() == port
            && match (&rule.to, address) {
                (Destination::Address(allowed), Some(address)) => *allowed == address,
                (_, None) => rule.has_name(host),
                _ => false,
            }
    };
    match rules.iter().find(allows) {
        Some(rule) => Answer::yes(format!("--allow-net {rule} allows it")),
        // Allowed names are answered by a resolver of the container's own: no server has to be reached.
        None if port == DNS && address.is_some() => Answer::no(
            "it is a name server, which the container does not need for names that are allowed",
            Some("--allow-net NAME for each name that the program connects to".into()),
        ),
        None if rules.is_empty() => Answer::no(
            "the network namespace is the container's own, and only loopback is in it",
            Some(format!("--allow-net {to}, or --allow host-net for the whole network")),
        ),
        None => Answer::no("no rule of --allow-net names it", Some(format!("--allow-net {to}"))),
    }
}

/// `asked` is what the remedy is about: connecting to a unix socket needs write permission, and no writable mount.
fn file(view: &View<'_>, deed: Deed, path: &Path, asked: Deed) -> Answer {
    let cwd = view.config.process.as_ref().map_or(Path::new("/"), |p| p.cwd.as_path());
    let Some(place) = view.resolve(&cwd.join(path)) else {
        return Answer::not_ours(
            RefusalCause::Absence,
            format!("{}: too many levels of symlinks", path.display()),
        );
    };
    let shown = place.path.display();
    if let Some(masked) = view.config.masked_paths.iter().find(|m| place.path.starts_with(m)) {
        let remedy = masked.starts_with("/proc") || masked.starts_with("/sys");
        return Answer::no(
            format!("{} is masked: it is empty and read-only", masked.display()),
            remedy.then(|| "--allow proc, and a config that does not mask it".into()),
        );
    }
    if let Some(answer) = not_a_directory(path, &place) {
        return answer;
    }
    if matches!(place.file, File::Absent) && (deed != Deed::Write || asked == Deed::Connect) {
        return absent(view, &place);
    }
    if deed == Deed::Write
        && asked != Deed::Connect
        && let Some(answer) = closed_for_writing(view, &place)
    {
        return answer;
    }
    if deed == Deed::Exec && attrs(view, &place) & libc::MOUNT_ATTR_NOEXEC != 0 {
        let at = mount_point(&place);
        return Answer::no(
            format!("the mount at {} is noexec", at.display()),
            Some(format!("--tmpfs {}:exec, or an image that holds the program", at.display())),
        );
    }
    if let Some(answer) = device(view, &place) {
        return answer;
    }
    if (deed != Deed::Write || asked == Deed::Connect)
        && let Some(answer) = on_empty_tmpfs(view, &place)
    {
        return answer;
    }
    let lacking = || lacks(view, &place).filter(|_| deed == Deed::Exec);
    if deed == Deed::Write
        && let Some(answer) = in_new_tmpfs(view, &place)
    {
        return answer;
    }
    by_mode(view, &place, deed).or_else(lacking).unwrap_or_else(|| match place.file {
        File::Unknown => {
            Answer::unsure(format!("{shown} is on {}: only the running container knows it", kind(&place)))
        }
        _ => Answer::yes(format!("{shown} is on {}", kind(&place))),
    })
}

/// Why a path does not exist inside.
fn absent(view: &View<'_>, place: &ResolvedPath<'_>) -> Answer {
    let shown = place.path.display();
    let on_host = place.path.symlink_metadata().is_ok();
    match place.layer {
        CoveredBy::Root if view.config.root.empty && on_host => Answer::hidden(
            format!("{shown} of this machine is not shown in the container"),
            format!("--ro {shown}"),
        ),
        CoveredBy::Root if !view.config.root.empty && on_host => {
            let mut answer = Answer::not_ours(
                RefusalCause::Absence,
                format!("{shown} does not exist in the root file system"),
            );
            answer.remedy = Some(format!("the host has one: -v {shown}:{shown}"));
            answer
        }
        _ => Answer::not_ours(RefusalCause::Absence, format!("{shown} does not exist in the container")),
    }
}

/// A tmpfs is empty when the program starts: a file there is one that the program makes.
fn on_empty_tmpfs(view: &View<'_>, place: &ResolvedPath<'_>) -> Option<Answer> {
    let CoveredBy::Mount(mount) = place.layer else { return None };
    let empty = mount.fs_type.as_deref() == Some("tmpfs") && mount.copy_up == CopyUp::No;
    let leads_to_mount = view.config.mounts.iter().any(|m| m.destination.starts_with(&place.path));
    if !empty || leads_to_mount {
        return None;
    }
    let (shown, at) = (place.path.display(), mount.destination.display());
    let why = format!("{shown} does not exist: {at} is a tmpfs, which is empty at the start");
    if place.path.symlink_metadata().is_err() {
        return Some(Answer::not_ours(RefusalCause::Absence, why));
    }
    let same_place =
        if view.config.root.empty { format!("--ro {shown}") } else { format!("-v {shown}:{shown}") };
    Some(Answer::hidden(format!("{why}, and the host's file is not shown"), same_place))
}

/// Masks, read-only mounts and read-only paths.
fn closed_for_writing(view: &View<'_>, place: &ResolvedPath<'_>) -> Option<Answer> {
    if let Some(path) = view.config.readonly_paths.iter().find(|p| place.path.starts_with(p)) {
        return Some(Answer::no(
            format!("{} is read-only: it holds settings of the kernel", path.display()),
            Some("--allow proc, and a config that does not make it read-only; --sysctl sets one of the container's own".into()),
        ));
    }
    if let Some(file) = view.config.files.iter().find(|f| f.path == place.path) {
        return Some(Answer::no(format!("{} is a read-only file of the runtime", file.path.display()), None));
    }
    let shown = mount_point(place);
    let (why, remedy) = match place.layer {
        CoveredBy::Root if view.config.root.readonly && view.config.root.empty => {
            (format!("{} is not shown writable", place.path.display()), format!("--rw {}", nearest(place)))
        }
        CoveredBy::Root if view.config.root.readonly => (
            "the root file system is read-only".into(),
            format!("--tmpfs {0} or -v DIR:{0}:rw; --allow write-rootfs opens all of it", directory(place)),
        ),
        CoveredBy::Mount(m) if !is_writable(m) => {
            (format!("the mount at {} is read-only", shown.display()), reopen(m)?)
        }
        _ => return None,
    };
    Some(Answer::no(why, Some(remedy).filter(|r| !r.is_empty())))
}

/// The option that makes a read-only mount writable; empty where none should. `None` is never returned for a mount
/// that an option made.
fn reopen(mount: &Mount) -> Option<String> {
    let at = mount.destination.display();
    Some(match (&mount.volume, &mount.source, mount.bind) {
        (Some(_), Some(source), _) if Path::new(source) == mount.destination => format!("--rw {at}"),
        (Some(_), Some(source), _) => format!("-v {source}:{at}:rw"),
        (None, Some(source), Some(_)) if Path::new(source) == mount.destination => {
            "it is this machine's; --rootfs DIR runs in another root file system".into()
        }
        (None, Some(_), Some(_)) => format!("a config whose mount at {at} has no \"ro\""),
        _ => String::new(),
    })
}

/// The file's own mode, and that of the directories on the way.
fn by_mode(view: &View<'_>, place: &ResolvedPath<'_>, deed: Deed) -> Option<Answer> {
    let user = ContainerUser::of(view.config)?;
    let refused = |layer, meta: &std::fs::Metadata, what: &str| {
        Answer::not_ours(
            RefusalCause::Mode,
            format!(
                "not the sandbox: {what} has {}, and the program runs as {}",
                user.words(layer, meta),
                user.name()
            ),
        )
    };
    if let Some((layer, meta)) =
        place.parents.iter().find(|(layer, meta)| !user.may(*layer, meta, Use::Execute))
    {
        return Some(refused(*layer, meta, "a directory on the way"));
    }
    let what = match deed {
        Deed::Read => Use::Read,
        Deed::Write | Deed::Connect => Use::Write,
        Deed::Exec => Use::Execute,
    };
    match &place.file {
        File::Known(_, meta) if !user.may(place.layer, meta, what) => {
            Some(refused(place.layer, meta, "the file"))
        }
        File::Known(_, meta) if deed == Deed::Exec && !meta.is_file() => {
            Some(Answer::not_ours(RefusalCause::Mode, "not the sandbox: it is not a regular file"))
        }
        File::Absent => {
            let (layer, meta) = place.parents.last()?;
            (!user.may(*layer, meta, Use::Write)).then(|| refused(*layer, meta, "the directory"))
        }
        _ => None,
    }
}

/// `MOUNT_ATTR_*` of what covers the place.
fn attrs(view: &View<'_>, place: &ResolvedPath<'_>) -> u64 {
    match place.layer {
        CoveredBy::Root => view.config.hardening.root_attrs,
        CoveredBy::Mount(m) => m.attr_set | m.rec_attr_set,
    }
}

fn mount_point(place: &ResolvedPath<'_>) -> PathBuf {
    match place.layer {
        CoveredBy::Root => "/".into(),
        CoveredBy::Mount(m) => m.destination.clone(),
    }
}

/// What a remedy should name: the directory of a file.
fn directory(place: &ResolvedPath<'_>) -> String {
    let is_dir = matches!(&place.file, File::Known(_, meta) if meta.is_dir());
    let dir = if is_dir { Some(place.path.as_path()) } else { place.path.parent() };
    dir.filter(|d| d.components().count() > 1).map_or("DIR".into(), |d| d.display().to_string())
}

/// The path itself where the host has it, else its nearest parent that the host has.
fn nearest(place: &ResolvedPath<'_>) -> String {
    let found = place.path.ancestors().find(|p| p.symlink_metadata().is_ok() && p.components().count() > 1);
    found.unwrap_or(&place.path).display().to_string()
}

/// `the root file system`, `the tmpfs at /tmp`, `the volume at /data`.
fn kind(place: &ResolvedPath<'_>) -> String {
    match place.layer {
        CoveredBy::Root => "the root file system".into(),
        CoveredBy::Mount(m) if m.volume.is_some() => format!("the volume at {}", m.destination.display()),
        CoveredBy::Mount(m) if m.bind.is_some() => format!("the bind mount at {}", m.destination.display()),
        CoveredBy::Mount(m) => {
            format!("the {} at {}", m.fs_type.as_deref().unwrap_or("mount"), m.destination.display())
        }
    }
}
