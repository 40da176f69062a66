//! What `state` and `list` show of a container.
//!
//! Of a container that runs, `list` reads the first part of its state only: the fields that it shows, which [`State`] has
//! first. Whatever else it comes across (a container that has stopped, is being created or is frozen, a state that is
//! not this user's alone) is loaded whole.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::lifecycle::container::{self, Container, ContainerStatus};
use crate::lifecycle::ended::Ended;
use crate::state::{State, files, parse_pid, trust};
use crate::sys::cstr::cpath;
use crate::sys::{fs, process};

/// How much of a state is read: its first part, unless the annotations are long.
const FIRST_PART: usize = 8 << 10;

/// runc's fields in runc's order, and how a stopped container ended.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// `ociVersion` of the config.
    pub oci_version: String,
    /// Container id.
    pub id: String,
    /// The container process; 0 of a stopped container.
    pub pid: i32,
    /// The status, by its name.
    pub status: &'static str,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the rootfs.
    pub rootfs: PathBuf,
    /// Creation time, RFC 3339.
    pub created: String,
    /// The config's annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Name of the user who created it.
    pub owner: String,
    /// One nested object, because CRI-O reads the top-level fields exitCode, started and finished as its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

impl Listing {
    /// Of a container whose state was loaded.
    pub fn of(container: &Container, state: &State) -> Self {
        let (status, pid) = container.status_and_process();
        Listing {
            oci_version: state.oci_version.clone(),
            id: state.id.clone(),
            pid: pid.unwrap_or(0),
            status: status.name(),
            bundle: state.bundle.clone(),
            rootfs: state.rootfs.clone(),
            created: state.created.clone(),
            annotations: state.annotations.clone(),
            owner: state.owner.clone(),
            ended: (status == ContainerStatus::Stopped).then(|| Ended::of(container, state)).flatten(),
        }
    }
}

/// The containers below `root` by name, each with its listing unless `ids_only`, or none where its state was never
/// written; then why each of those that others may have made is left out.
pub fn all(root: &Path, ids_only: bool) -> (Vec<(String, Option<Listing>)>, Vec<Error>) {
    let mut reader = StateReader::open(root);
    let running = |id: &str| {
        let (head, reader) = (reader.as_mut()?.head(id)?, reader.as_mut()?);
        let listing = if ids_only { None } else { Some(reader.running(id, head)?) };
        Some((id.to_string(), listing))
    };
    let loaded = |c: &Container| {
        let listing = c.state.as_ref().filter(|_| !ids_only).map(|state| Listing::of(c, state));
        (c.id.clone(), listing)
    };
    container::all_with(root, running, loaded)
}

/// Reads states below one root into one buffer.
struct StateReader {
    root: OwnedFd,
    me: u32,
    buffer: Vec<u8>,
}

impl StateReader {
    fn open(root: &Path) -> Option<Self> {
        let root =
            fs::openat(libc::AT_FDCWD, &cpath(root).ok()?, libc::O_PATH | libc::O_DIRECTORY, 0).ok()?;
        let me = nix::unistd::geteuid().as_raw();
        Some(StateReader { root: fs::own(root), me, buffer: Vec::with_capacity(FIRST_PART) })
    }

    /// The first part of the container's state, if it is a file that this user alone can have written.
    fn head(&mut self, id: &str) -> Option<Head> {
        let dir = fs::fstatat(self.root.as_raw_fd(), &CString::new(id).ok()?).ok()?;
        if dir.st_mode & libc::S_IFMT != libc::S_IFDIR || !trust::is_alone(&dir, self.me) {
            return None;
        }
        let file = self.read(id, files::STATE)?;
        let state = fs::fstatat(file.as_raw_fd(), c"").ok()?;
        if state.st_mode & libc::S_IFMT != libc::S_IFREG || !trust::is_alone(&state, self.me) {
            return None;
        }
        Head::parse(&self.buffer)
    }

    /// One read(2) of a file in the container's directory.
    fn read(&mut self, id: &str, name: &str) -> Option<OwnedFd> {
        let path = CString::new(format!("{id}/{name}")).ok()?;
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = fs::own(fs::openat(self.root.as_raw_fd(), &path, flags, 0).ok()?);
        self.buffer.clear();
        fs::read_more(file.as_raw_fd(), &mut self.buffer).ok()?;
        Some(file)
    }

    /// The listing of a container that is created or runs; the checks are those of [`Container::status_and_process`].
    fn running(&mut self, id: &str, head: Head) -> Option<Listing> {
        self.read(id, files::PID)?;
        let (pid, start) = parse_pid(std::str::from_utf8(&self.buffer).ok()?)?;
        let exists = |name| {
            let path = CString::new(format!("{id}/{name}"));
            path.is_ok_and(|path| fs::fstatat(self.root.as_raw_fd(), &path).is_ok())
        };
        if !process::alive(pid, start) || exists(files::START_NEW) {
            return None;
        }
        let frozen = |(v2, path): &(bool, PathBuf)| crate::cgroup::ops::frozen_in(path, *v2);
        if head.freezers.iter().any(frozen) {
            return None;
        }
        let status = if exists(files::START) { ContainerStatus::Created } else { ContainerStatus::Running };
        Some(Listing {
            oci_version: head.oci_version,
            id: head.id,
            pid,
            status: status.name(),
            bundle: head.bundle,
            rootfs: head.rootfs,
            created: head.created,
            annotations: head.annotations,
            owner: head.owner,
            ended: None,
        })
    }
}

/// The fields of [`State`] that a listing needs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Head {
    oci_version: String,
    id: String,
    bundle: PathBuf,
    rootfs: PathBuf,
    created: String,
    annotations: BTreeMap<String, String>,
    owner: String,
    /// The cgroups that can be frozen, and whether each is of cgroup v2.
    freezers: Vec<(bool, PathBuf)>,
}

/// The number of fields of a state that [`Head`] is made of.
const FIELDS: usize = 8;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Field {
    OciVersion,
    Id,
    Bundle,
    Rootfs,
    Created,
    Annotations,
    Owner,
    Cgroups,
    #[serde(other)]
    Other,
}

/// Fills in a [`Head`], and stops after its last field.
struct HeadVisitor<'a> {
    head: &'a mut Head,
    found: &'a mut usize,
}

impl<'de> Visitor<'de> for HeadVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a state")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let head = self.head;
        while *self.found < FIELDS
            && let Some(field) = map.next_key()?
        {
            match field {
                Field::OciVersion => head.oci_version = map.next_value()?,
                Field::Id => head.id = map.next_value()?,
                Field::Bundle => head.bundle = map.next_value()?,
                Field::Rootfs => head.rootfs = map.next_value()?,
                Field::Created => head.created = map.next_value()?,
                Field::Annotations => head.annotations = map.next_value()?,
                Field::Owner => head.owner = map.next_value()?,
                Field::Cgroups => {
                    let all: Vec<(Vec<&str>, &Path)> = map.next_value()?;
                    let freezers = all.iter().filter(|(names, _)| container::can_freeze(names));
                    head.freezers = freezers.map(|(names, path)| (names.is_empty(), path.into())).collect();
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            }
            *self.found += 1;
        }
        Ok(())
    }
}

impl Head {
    /// Of the first part of a state; `None` where it does not have all fields.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut head, mut found) = (Head::default(), 0);
        let fields = HeadVisitor { head: &mut head, found: &mut found };
        // The rest of the state is not read: that it does not end here is an error of the parser's, and no matter.
        let _ended = serde_json::Deserializer::from_slice(bytes).deserialize_map(fields).is_ok();
        (found == FIELDS).then_some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = r#"{"ociVersion":"1.0","id":"c","bundle":"/b","rootfs":"/b/r","created":"now","annotations":{"a":"b"},
        "cgroupsPath":"/x","owner":"root","cgroups":[[["cpu"],"/sys/fs/cgroup/cpu/c"],[["freezer"],"/sys/fs/cgroup/freezer/c"]],
        "undo":["kill"],"pid":["#;

    #[test]
    fn the_first_part_of_a_state_is_enough() {
        let head = Head::parse(STATE.as_bytes()).expect("a head");
        assert_eq!((head.id.as_str(), head.owner.as_str()), ("c", "root"));
        assert_eq!(head.annotations["a"], "b");
        assert_eq!(head.freezers, [(false, PathBuf::from("/sys/fs/cgroup/freezer/c"))]);
        let end = STATE.find("\"undo\"").expect("a later field");
        assert!(Head::parse(&STATE.as_bytes()[..end - 20]).is_none(), "cut within its fields");
        assert!(Head::parse(b"null").is_none() && Head::parse(b"").is_none());
        assert!(
            Head::parse(STATE.replace("\"created\"", "\"made\"").as_bytes()).is_none(),
            "a field is missing"
        );
    }
}
