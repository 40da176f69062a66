//! Mount options: the effect of each word in `mounts[].options`.
//!
//! The words are those of config.md "Linux mount options" and of runc. Any other word is passed to the file
//! system (`size=64m`, `newinstance`). Attributes of one mount (mount_setattr(2)) are separate from flags of
//! the whole file system (fsconfig(2)): two mounts of one file system can differ in the first, not in the
//! second.

use libc::{
    MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MOUNT_ATTR_RELATIME,
    MOUNT_ATTR_STRICTATIME, MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE,
};

/// What a mount option does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountEffect {
    /// Nothing; the row's doc says why.
    None,
    /// Sets `MOUNT_ATTR_*` bits.
    Set(MountScope, u64),
    /// Clears `MOUNT_ATTR_*` bits.
    Clear(MountScope, u64),
    /// Selects one of the access-time modes, which exclude each other.
    Atime(MountScope, u64),
    /// Deselects this access-time mode, if an earlier option selected it: back to the default (relatime).
    NotAtime(MountScope, u64),
    /// A propagation change, as mount(2) flags.
    Propagation(u64),
    /// A bind mount: `true` includes the mounts below.
    Bind(bool),
    /// Changes an existing mount.
    Remount,
    /// A flag of the whole file system, passed on as an fsconfig(2) flag of the same name.
    Superblock,
    /// Copies the rootfs's content of the destination into a new tmpfs.
    CopyUp,
    /// An id-mapped mount: `true` includes the mounts below.
    Idmap(bool),
}

/// Which mounts an attribute applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountScope {
    /// This mount.
    One,
    /// This mount and all mounts below it (`AT_RECURSIVE`).
    Tree,
}

/// One row of [`OPTIONS`].
#[derive(Debug)]
pub struct MountOptionRow {
    /// The word in `options`.
    pub name: &'static str,
    /// What it does.
    pub effect: MountEffect,
    /// The effect in words.
    pub doc: &'static str,
}

use MountEffect::{Atime, Bind, Clear, CopyUp, Idmap, NotAtime, Propagation, Remount, Set, Superblock};
use MountScope::{One, Tree};

/// Every option that is not file-system specific, sorted by name.
pub const OPTIONS: &[MountOptionRow] = &[
    MountOptionRow {
        name: "acl",
        effect: Superblock,
        doc: "access control lists, if the file system supports both",
    },
    MountOptionRow { name: "async", effect: Superblock, doc: "writes return before they reach the device" },
    MountOptionRow {
        name: "atime",
        effect: NotAtime(One, MOUNT_ATTR_NOATIME),
        doc: "not noatime: back to relatime",
    },
    MountOptionRow {
        name: "bind",
        effect: Bind(false),
        doc: "shows a directory of the host without the mounts below it",
    },
    MountOptionRow {
        name: "defaults",
        effect: MountEffect::None,
        doc: "the kernel's defaults, which apply anyway",
    },
    MountOptionRow { name: "dev", effect: Clear(One, MOUNT_ATTR_NODEV), doc: "device files work" },
    MountOptionRow {
        name: "diratime",
        effect: Clear(One, MOUNT_ATTR_NODIRATIME),
        doc: "directories have access times",
    },
    MountOptionRow { name: "dirsync", effect: Superblock, doc: "directory changes reach the device at once" },
    MountOptionRow { name: "exec", effect: Clear(One, MOUNT_ATTR_NOEXEC), doc: "programs can be executed" },
    MountOptionRow { name: "idmap", effect: Idmap(false), doc: "file owners are mapped on this mount" },
    MountOptionRow {
        name: "iversion",
        effect: MountEffect::None,
        doc: "change counters: always on if the file system has them",
    },
    MountOptionRow { name: "lazytime", effect: Superblock, doc: "times are written when the inode is" },
    MountOptionRow {
        name: "loud",
        effect: MountEffect::None,
        doc: "kernel messages on mount errors: the mount API by fd always reports them",
    },
    MountOptionRow {
        name: "mand",
        effect: Superblock,
        doc: "mandatory locks; without effect since Linux 5.15",
    },
    MountOptionRow { name: "noacl", effect: Superblock, doc: "no access control lists" },
    MountOptionRow { name: "noatime", effect: Atime(One, MOUNT_ATTR_NOATIME), doc: "no access times" },
    MountOptionRow { name: "nodev", effect: Set(One, MOUNT_ATTR_NODEV), doc: "device files do not work" },
    MountOptionRow {
        name: "nodiratime",
        effect: Set(One, MOUNT_ATTR_NODIRATIME),
        doc: "directories have no access times",
    },
    MountOptionRow { name: "noexec", effect: Set(One, MOUNT_ATTR_NOEXEC), doc: "nothing can be executed" },
    MountOptionRow {
        name: "noiversion",
        effect: MountEffect::None,
        doc: "no change counters: not possible, see iversion",
    },
    MountOptionRow { name: "nolazytime", effect: Superblock, doc: "times are written as they change" },
    MountOptionRow { name: "nomand", effect: Superblock, doc: "no mandatory locks" },
    MountOptionRow {
        name: "norelatime",
        effect: MountEffect::None,
        doc: "relatime is what the kernel does unless noatime or strictatime is given",
    },
    MountOptionRow {
        name: "nostrictatime",
        effect: NotAtime(One, MOUNT_ATTR_STRICTATIME),
        doc: "not strictatime: back to relatime",
    },
    MountOptionRow {
        name: "nosuid",
        effect: Set(One, MOUNT_ATTR_NOSUID),
        doc: "set-user-ID bits and file capabilities are ignored",
    },
    MountOptionRow {
        name: "nosymfollow",
        effect: Set(One, MOUNT_ATTR_NOSYMFOLLOW),
        doc: "symbolic links are not followed",
    },
    MountOptionRow {
        name: "private",
        effect: Propagation(MS_PRIVATE),
        doc: "mount events are neither received nor sent",
    },
    MountOptionRow { name: "ratime", effect: NotAtime(Tree, MOUNT_ATTR_NOATIME), doc: "atime, for the tree" },
    MountOptionRow {
        name: "rbind",
        effect: Bind(true),
        doc: "shows a directory of the host with the mounts below it",
    },
    MountOptionRow { name: "rdev", effect: Clear(Tree, MOUNT_ATTR_NODEV), doc: "dev, for the tree" },
    MountOptionRow {
        name: "rdiratime",
        effect: Clear(Tree, MOUNT_ATTR_NODIRATIME),
        doc: "diratime, for the tree",
    },
    MountOptionRow {
        name: "relatime",
        effect: Atime(One, MOUNT_ATTR_RELATIME),
        doc: "access times once a day or after a change",
    },
    MountOptionRow { name: "remount", effect: Remount, doc: "changes an existing mount" },
    MountOptionRow { name: "rexec", effect: Clear(Tree, MOUNT_ATTR_NOEXEC), doc: "exec, for the tree" },
    MountOptionRow { name: "ridmap", effect: Idmap(true), doc: "idmap, for the tree" },
    MountOptionRow {
        name: "rnoatime",
        effect: Atime(Tree, MOUNT_ATTR_NOATIME),
        doc: "noatime, for the tree",
    },
    MountOptionRow { name: "rnodev", effect: Set(Tree, MOUNT_ATTR_NODEV), doc: "nodev, for the tree" },
    MountOptionRow {
        name: "rnodiratime",
        effect: Set(Tree, MOUNT_ATTR_NODIRATIME),
        doc: "nodiratime, for the tree",
    },
    MountOptionRow { name: "rnoexec", effect: Set(Tree, MOUNT_ATTR_NOEXEC), doc: "noexec, for the tree" },
    MountOptionRow { name: "rnorelatime", effect: MountEffect::None, doc: "norelatime, for the tree" },
    MountOptionRow {
        name: "rnostrictatime",
        effect: NotAtime(Tree, MOUNT_ATTR_STRICTATIME),
        doc: "nostrictatime, for the tree",
    },
    MountOptionRow { name: "rnosuid", effect: Set(Tree, MOUNT_ATTR_NOSUID), doc: "nosuid, for the tree" },
    MountOptionRow {
        name: "rnosymfollow",
        effect: Set(Tree, MOUNT_ATTR_NOSYMFOLLOW),
        doc: "nosymfollow, for the tree",
    },
    MountOptionRow { name: "ro", effect: Set(One, MOUNT_ATTR_RDONLY), doc: "read-only" },
    MountOptionRow {
        name: "rprivate",
        effect: Propagation(MS_PRIVATE | MS_REC),
        doc: "private, for the tree",
    },
    MountOptionRow {
        name: "rrelatime",
        effect: Atime(Tree, MOUNT_ATTR_RELATIME),
        doc: "relatime, for the tree",
    },
    MountOptionRow { name: "rro", effect: Set(Tree, MOUNT_ATTR_RDONLY), doc: "ro, for the tree" },
    MountOptionRow { name: "rrw", effect: Clear(Tree, MOUNT_ATTR_RDONLY), doc: "rw, for the tree" },
    MountOptionRow { name: "rshared", effect: Propagation(MS_SHARED | MS_REC), doc: "shared, for the tree" },
    MountOptionRow { name: "rslave", effect: Propagation(MS_SLAVE | MS_REC), doc: "slave, for the tree" },
    MountOptionRow {
        name: "rstrictatime",
        effect: Atime(Tree, MOUNT_ATTR_STRICTATIME),
        doc: "strictatime, for the tree",
    },
    MountOptionRow { name: "rsuid", effect: Clear(Tree, MOUNT_ATTR_NOSUID), doc: "suid, for the tree" },
    MountOptionRow {
        name: "rsymfollow",
        effect: Clear(Tree, MOUNT_ATTR_NOSYMFOLLOW),
        doc: "symfollow, for the tree",
    },
    MountOptionRow {
        name: "runbindable",
        effect: Propagation(MS_UNBINDABLE | MS_REC),
        doc: "unbindable, for the tree",
    },
    MountOptionRow { name: "rw", effect: Clear(One, MOUNT_ATTR_RDONLY), doc: "writable" },
    MountOptionRow {
        name: "shared",
        effect: Propagation(MS_SHARED),
        doc: "mount events are received and sent",
    },
    MountOptionRow {
        name: "silent",
        effect: MountEffect::None,
        doc: "no kernel messages on mount errors: not possible with fsconfig(2)",
    },
    MountOptionRow {
        name: "slave",
        effect: Propagation(MS_SLAVE),
        doc: "mount events are received, but not sent",
    },
    MountOptionRow {
        name: "strictatime",
        effect: Atime(One, MOUNT_ATTR_STRICTATIME),
        doc: "access times are always updated",
    },
    MountOptionRow {
        name: "suid",
        effect: Clear(One, MOUNT_ATTR_NOSUID),
        doc: "set-user-ID bits and file capabilities work",
    },
    MountOptionRow {
        name: "symfollow",
        effect: Clear(One, MOUNT_ATTR_NOSYMFOLLOW),
        doc: "symbolic links are followed",
    },
    MountOptionRow {
        name: "sync",
        effect: Superblock,
        doc: "writes return when they have reached the device",
    },
    MountOptionRow {
        name: "tmpcopyup",
        effect: CopyUp,
        doc: "the rootfs's content of the destination is copied into the new tmpfs",
    },
    MountOptionRow {
        name: "unbindable",
        effect: Propagation(MS_UNBINDABLE),
        doc: "private, and cannot be bind mounted",
    },
];

/// The row of the option `name`; `None` if it is file-system specific.
pub fn find(name: &str) -> Option<&'static MountOptionRow> {
    OPTIONS.binary_search_by(|r| r.name.cmp(name)).ok().and_then(|i| OPTIONS.get(i))
}

/// The mount(2) flags of a propagation name such as `rslave`; `None` if it is not one.
pub fn propagation(name: &str) -> Option<u64> {
    match find(name)?.effect {
        Propagation(flags) => Some(flags),
        _ => None,
    }
}

/// Names of single attributes. The access-time modes share one field and are not here.
const ATTRS: [(u64, &str); 7] = [
    (MOUNT_ATTR_RDONLY, "MOUNT_ATTR_RDONLY"),
    (MOUNT_ATTR_NOSUID, "MOUNT_ATTR_NOSUID"),
    (MOUNT_ATTR_NODEV, "MOUNT_ATTR_NODEV"),
    (MOUNT_ATTR_NOEXEC, "MOUNT_ATTR_NOEXEC"),
    (MOUNT_ATTR_NODIRATIME, "MOUNT_ATTR_NODIRATIME"),
    (libc::MOUNT_ATTR_IDMAP, "MOUNT_ATTR_IDMAP"),
    (MOUNT_ATTR_NOSYMFOLLOW, "MOUNT_ATTR_NOSYMFOLLOW"),
];

/// `MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID`, with bits that have no name in hex; `0` for none.
pub fn describe_attrs(attrs: u64) -> String {
    let mut rest = attrs;
    let mut names: Vec<String> = Vec::new();
    for (bit, name) in ATTRS {
        if rest & bit != 0 {
            names.push(name.to_owned());
            rest &= !bit;
        }
    }
    let atime = match rest & MOUNT_ATTR__ATIME {
        MOUNT_ATTR__ATIME => Some("MOUNT_ATTR__ATIME"),
        MOUNT_ATTR_NOATIME => Some("MOUNT_ATTR_NOATIME"),
        MOUNT_ATTR_STRICTATIME => Some("MOUNT_ATTR_STRICTATIME"),
        _ => None,
    };
    if let Some(name) = atime {
        names.push(name.to_owned());
        rest &= !MOUNT_ATTR__ATIME;
    }
    if rest != 0 || names.is_empty() {
        names.push(if rest == 0 { "0".to_owned() } else { format!("{rest:#x}") });
    }
    names.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_so_that_they_are_found() {
        assert!(OPTIONS.windows(2).all(|w| w[0].name < w[1].name));
    }

    #[test]
    fn recursive_forms_do_the_same_for_the_tree() {
        for row in OPTIONS {
            let Some(one) = row.name.strip_prefix('r').and_then(find) else { continue };
            match (one.effect, row.effect) {
                (Set(One, a), Set(Tree, b)) | (Clear(One, a), Clear(Tree, b)) => {
                    assert_eq!(a, b, "{}", row.name)
                }
                (Atime(One, a), Atime(Tree, b)) | (NotAtime(One, a), NotAtime(Tree, b)) => assert_eq!(a, b),
                (Propagation(a), Propagation(b)) => assert_eq!(a | MS_REC, b),
                (a, b) => assert!(
                    matches!(b, Bind(true) | Idmap(true) | MountEffect::None),
                    "{}: {a:?} against {b:?}",
                    row.name
                ),
            }
        }
    }

    #[test]
    fn attributes_print_with_unknown_bits() {
        assert_eq!(describe_attrs(0), "0");
        assert_eq!(
            describe_attrs(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID),
            "MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID"
        );
        assert_eq!(describe_attrs(MOUNT_ATTR__ATIME), "MOUNT_ATTR__ATIME");
        assert_eq!(describe_attrs(MOUNT_ATTR_NOATIME | 1 << 40), "MOUNT_ATTR_NOATIME|0x10000000000");
    }
}
