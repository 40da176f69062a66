//! Applies the words of `mounts[].options` to a mount.

use libc::MOUNT_ATTR__ATIME;

use super::{CopyUp, Mount};
use crate::tables::mount_options::{MountEffect, MountOptionRow, MountScope, find};

/// Applies `options` to `mount`, in order: of two contradicting options the later one wins.
pub fn parse_options(options: &[String], mount: &mut Mount) {
    for option in options {
        match find(option) {
            Some(row) => apply(row, mount),
            None => mount.data.extend(data(option)),
        }
    }
}

/// Splits a file system option as the kernel does. mount(2) takes all options in one comma-separated text, so
/// an option with commas is several options, and an empty one is none. Commas are literal within quotes
/// (security labels) and after a backslash (overlay's paths).
fn data(option: &str) -> Vec<(String, Option<String>)> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = option.split(|c| {
        let comma = c == ',' && !quoted && !escaped;
        quoted ^= c == '"';
        escaped = c == '\\' && !escaped;
        comma
    });
    let entry = |part: &str| match part.split_once('=') {
        // The kernel skips an empty key.
        Some(("", _)) => None,
        Some((key, value)) => {
            let label = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            let label = label.filter(|_| key.ends_with("context"));
            Some((key.to_owned(), Some(label.unwrap_or(value).to_owned())))
        }
        None => (!part.is_empty()).then(|| (part.to_owned(), None)),
    };
    parts.filter_map(entry).collect()
}

/// Applies one row of the table.
fn apply(row: &MountOptionRow, mount: &mut Mount) {
    use MountEffect::{Atime, Clear, NotAtime, Set};
    let one = MountScope::One;
    mount.names_flags |=
        matches!(row.effect, Set(s, _) | Clear(s, _) | Atime(s, _) | NotAtime(s, _) if s == one);
    match row.effect {
        MountEffect::None => {}
        MountEffect::Set(scope, bits) => change(mount, scope, bits, 0),
        MountEffect::Clear(scope, bits) => change(mount, scope, 0, bits),
        // The kernel requires that the whole field is cleared before a mode is set: mount_setattr(2), EINVAL.
        MountEffect::Atime(scope, mode) => {
            change(mount, scope, 0, MOUNT_ATTR__ATIME);
            *sets(mount, scope).0 |= mode;
        }
        MountEffect::NotAtime(scope, mode) => {
            // Reverts the choice of an earlier option. The flags of a bind mount's source stay, as with mount(8).
            let (set, clear) = sets(mount, scope);
            if *set & MOUNT_ATTR__ATIME == mode {
                *set &= !MOUNT_ATTR__ATIME;
                *clear &= !MOUNT_ATTR__ATIME;
            }
        }
        MountEffect::Propagation(flags) => mount.propagation.push(flags),
        MountEffect::Bind(recursive) => mount.bind = Some(recursive),
        MountEffect::Remount => mount.remount = true,
        MountEffect::Superblock => mount.data.push((row.name.to_owned(), None)),
        MountEffect::CopyUp => mount.copy_up = CopyUp::All,
        MountEffect::Idmap(recursive) => mount.idmap = Some(recursive),
    }
}

/// The (set, clear) masks of `scope`.
fn sets(mount: &mut Mount, scope: MountScope) -> (&mut u64, &mut u64) {
    match scope {
        MountScope::One => (&mut mount.attr_set, &mut mount.attr_clr),
        MountScope::Tree => (&mut mount.rec_attr_set, &mut mount.rec_attr_clr),
    }
}

/// Moves `set` bits to the set mask and `clear` bits to the clear mask.
fn change(mount: &mut Mount, scope: MountScope, set: u64, clear: u64) {
    let (s, c) = sets(mount, scope);
    *s = (*s | set) & !clear;
    *c = (*c | clear) & !set;
}

#[cfg(test)]
mod tests {
    use libc::{MOUNT_ATTR_NOATIME, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, MOUNT_ATTR_STRICTATIME};
    use libc::{MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE};

    use super::*;
    use crate::tables::mount_options::propagation;

    fn parsed(options: &[&str]) -> Mount {
        let mut mount = Mount::default();
        parse_options(&options.iter().map(|s| s.to_string()).collect::<Vec<_>>(), &mut mount);
        mount
    }

    #[test]
    fn later_options_win() {
        let m = parsed(&["ro", "nosuid", "rw", "suid", "nosuid"]);
        assert_eq!((m.attr_set, m.attr_clr), (MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY));
        let m = parsed(&["rro", "ro"]);
        assert_eq!((m.attr_set, m.rec_attr_set), (MOUNT_ATTR_RDONLY, MOUNT_ATTR_RDONLY));
    }

    #[test]
    fn access_time_modes_exclude_each_other() {
        for (options, set, clear) in [
            (&["noatime"][..], MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME),
            (&["noatime", "strictatime"], MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
            (&["strictatime", "relatime"], 0, MOUNT_ATTR__ATIME),
            (&["noatime", "atime"], 0, 0),
            (&["atime"], 0, 0),
            (&["strictatime", "atime"], MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
            (&["strictatime", "nostrictatime"], 0, 0),
        ] {
            let m = parsed(options);
            assert_eq!((m.attr_set, m.attr_clr, m.names_flags), (set, clear, true), "{options:?}");
        }
        assert_eq!(parsed(&["norelatime", "defaults", "silent"]), Mount::default());
    }

    #[test]
    fn an_option_with_commas_is_several() {
        let of = |options: &[&str]| {
            let text = |(key, value): &(String, Option<String>)| match value {
                Some(value) => format!("{key}:{value}"),
                None => key.clone(),
            };
            parsed(options).data.iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(
            of(&["size=64k,mode=700,,noswap", "", "nr_inodes=5,"]),
            ["size:64k", "mode:700", "noswap", "nr_inodes:5"]
        );
        assert_eq!(of(&["=x", "a=", "b=c=d"]), ["a:", "b:c=d"]);
        assert_eq!(of(&["context=\"u:r:t:s0:c1,c2\",size=1"]), ["context:u:r:t:s0:c1,c2", "size:1"]);
        assert_eq!(of(&["lowerdir=/a\\,b,upperdir=/c"]), ["lowerdir:/a\\,b", "upperdir:/c"]);
        // runc does not search it for flags of its own either.
        assert_eq!(parsed(&["nodev,size=1"]).attr_set, 0);
    }

    #[test]
    fn the_rest_is_the_file_system_s() {
        let m = parsed(&[
            "size=64m",
            "newinstance",
            "sync",
            "rbind",
            "rslave",
            "private",
            "tmpcopyup",
            "ridmap",
            "x=a=b",
        ]);
        let data = [("size", Some("64m")), ("newinstance", None), ("sync", None), ("x", Some("a=b"))];
        assert_eq!(m.data, data.map(|(k, v)| (k.to_owned(), v.map(str::to_owned))));
        assert_eq!((m.bind, m.copy_up, m.idmap), (Some(true), crate::config::CopyUp::All, Some(true)));
        assert_eq!(m.propagation, [MS_SLAVE | MS_REC, MS_PRIVATE]);
        assert_eq!((propagation("rshared"), propagation("ro")), (Some(MS_SHARED | MS_REC), None));
    }
}
