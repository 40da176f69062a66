//! A name and a home for the user that the policy chose.
//!
//! ssh, initdb and getpass look the user up in /etc/passwd; git, go and npm write below $HOME. The image is left as
//! it is: a copy of its files with one more line is shown over them, and the home is a tmpfs.

use std::path::{Path, PathBuf};

use super::mounts::{describe, size_text};
use super::{Facts, HardenResult};
use crate::config::defaults::{HOME, HOME_IN, HOME_SIZE, USER_NAMES};
use crate::config::{Config, Mount, RuntimeFile};
use crate::error::Result;

/// Gives the user a home; one that the policy chose gets a line in /etc/passwd and one in /etc/group, too.
pub fn home(config: &mut Config, facts: &Facts<'_>, out: &mut HardenResult) -> Result<()> {
    let Some(user) = config.process.as_ref().map(|p| (p.user.uid, p.user.gid)) else { return Ok(()) };
    let uid = user.0;
    let chosen = facts.overrides.user && uid != 0;
    if out.picked.is_none() && !chosen && config.hardening.home.is_none() {
        return Ok(());
    }
    let Some((home, text)) = usable(config).map(|h| (h, None)).or_else(|| own(config, facts, user)) else {
        out.note("no home: /run, /tmp, /var/tmp and /dev/shm are the config's own mounts; set HOME in /process/env");
        return Ok(());
    };
    let mut notes = Vec::from_iter(text);
    if let Some(process) = config.process.as_mut().filter(|_| !notes.is_empty()) {
        process.env.retain(|e| !e.starts_with("HOME="));
        process.env.push(format!("HOME={}", home.display()));
        notes.push(format!("HOME={}", home.display()));
    }
    if out.picked.is_none() {
        if !notes.is_empty() {
            out.note(notes.join("; "));
        }
        return Ok(());
    }
    for (path, line) in [("/etc/passwd", passwd as AccountLine), ("/etc/group", group)] {
        let covered =
            !config.root.empty && config.mounts.iter().any(|m| Path::new(path).starts_with(&m.destination));
        let image = facts.bundle.account_file(path.trim_start_matches('/')).filter(|_| !covered);
        match image {
            Some(image) => {
                let (content, name) = with_line(&image, uid, |name| line(name, uid, &home));
                if let Some(process) = config.process.as_mut().filter(|_| config.root.empty) {
                    process.env.retain(|e| !e.starts_with("USER="));
                    process.env.push(format!("USER={name}"));
                }
                config.files.push(RuntimeFile { path: path.into(), content });
                notes.push(format!("{path} has a line for {name} ({uid})"));
            }
            None => {
                notes.push(format!("no line in {path}: the image has no such file, or the config mounts it"))
            }
        }
    }
    out.note(notes.join("; "));
    Ok(())
}

/// `$HOME` of the config, where it lies on a mount of the config's that can be written: the rootfs is read-only, or
/// belongs to others.
fn usable(config: &Config) -> Option<PathBuf> {
    let env = &config.process.as_ref()?.env;
    let home = PathBuf::from(env.iter().rev().find_map(|e| e.strip_prefix("HOME="))?);
    let plain = home.to_str().is_some_and(|h| !h.contains([':', '\n', '\0']) && !h.contains("/.."));
    let over = config.mounts.iter().rev().filter(|m| home.starts_with(&m.destination));
    let mount = over.max_by_key(|m| m.destination.components().count())?;
    let writable = mount.bind.is_some() || mount.fs_type.as_deref() == Some("tmpfs");
    let readonly = (mount.attr_set | mount.rec_attr_set) & libc::MOUNT_ATTR_RDONLY != 0;
    (plain && writable && !readonly && !home.starts_with("/dev/pts") && home != Path::new("/dev"))
        .then_some(home)
}

/// A tmpfs of the user's own, and what the notice says of it.
fn own(config: &mut Config, facts: &Facts<'_>, (uid, gid): (u32, u32)) -> Option<(PathBuf, Option<String>)> {
    let writable = |m: &&Mount| {
        m.fs_type.as_deref() == Some("tmpfs") && m.attr_set & libc::MOUNT_ATTR_RDONLY == 0 && !m.remount
    };
    let taken = |path: &Path| config.mounts.iter().any(|m| m.destination.starts_with(path));
    let at_its_place = config.hardening.home.clone().filter(|home| {
        let over = config.mounts.iter().filter(|m| home.starts_with(&m.destination));
        let over = over.max_by_key(|m| m.destination.components().count());
        over.map_or(config.root.empty, |m| m.destination != *home && writable(&m))
    });
    let in_scratch = || {
        HOME_IN.iter().map(Path::new).find(|parent| {
            let mount = config.mounts.iter().rev().find(|m| m.destination == *parent);
            mount.filter(writable).is_some() && !taken(&parent.join(HOME))
        })
    };
    let home = at_its_place.or_else(|| Some(in_scratch()?.join(HOME)))?;
    let memory = config.resources.memory.limit.filter(|_| !facts.overrides.no_cgroups);
    let mount = Mount {
        destination: home.clone(),
        fs_type: Some("tmpfs".into()),
        source: Some("tmpfs".into()),
        attr_set: libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC,
        data: vec![
            ("mode".into(), Some("0700".into())),
            ("uid".into(), Some(uid.to_string())),
            ("gid".into(), Some(gid.to_string())),
            ("size".into(), HOME_SIZE.bytes(memory).map(size_text)),
        ],
        ..Mount::default()
    };
    let text = describe(&mount);
    super::add_mount(&mut config.mounts, mount, usize::MAX);
    Some((home, Some(text)))
}

/// Makes the line of an account file.
type AccountLine = fn(&str, u32, &Path) -> String;

fn passwd(name: &str, uid: u32, home: &Path) -> String {
    format!("{name}:x:{uid}:{uid}:{name}:{}:/bin/sh", home.display())
}

fn group(name: &str, gid: u32, _: &Path) -> String {
    format!("{name}:x:{gid}:")
}

/// The image's file with one line for `id` in place of those that it has for it, and the name in that line: the
/// image's for this id, else one that no other id has.
fn with_line(image: &[u8], id: u32, line: impl Fn(&str) -> String) -> (Vec<u8>, String) {
    let number = id.to_string();
    let field = |line: &[u8], n: usize| line.split(|b| *b == b':').nth(n).map(<[u8]>::to_vec);
    let ours = |line: &&[u8]| field(line, 2).as_deref() == Some(number.as_bytes());
    let lines = || image.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let named = lines().filter(ours).find_map(|line| String::from_utf8(field(line, 0)?).ok());
    let plain = |name: &String| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    };
    let free =
        |name: &&&str| lines().all(|line| ours(&line) || field(line, 0).as_deref() != Some(name.as_bytes()));
    let name = named.filter(plain).or_else(|| USER_NAMES.iter().find(free).map(|n| (*n).to_string()));
    let name = name.unwrap_or_else(|| format!("u{number}"));
    let mut content = line(&name).into_bytes();
    content.push(b'\n');
    for line in lines().filter(|line| !ours(line)) {
        content.extend_from_slice(line);
        content.push(b'\n');
    }
    (content, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(image: &str) -> (String, String) {
        let (content, name) = with_line(image.as_bytes(), 65532, |name| passwd(name, 65532, Path::new("/h")));
        (String::from_utf8(content).unwrap(), name)
    }

    #[test]
    fn one_line_for_the_id_and_the_others_as_they_were() {
        let root = "root:x:0:0:root:/root:/bin/sh\n";
        assert_eq!(
            made(root),
            (format!("nonroot:x:65532:65532:nonroot:/h:/bin/sh\n{root}"), "nonroot".into())
        );
        // The image's own name for the id is kept, a hostile one is not.
        let (text, name) = made("app:x:65532:0:::\nb:x:65532:1:::\nlast:x:1:1::/:");
        assert_eq!(text, "app:x:65532:65532:app:/h:/bin/sh\nlast:x:1:1::/:\n");
        assert_eq!(name, "app");
        assert_eq!(made("a b\x1b:x:65532:0:::").1, "nonroot");
        // A name that another id has would be two users.
        assert_eq!(made("nonroot:x:0:0:::").1, "safebox");
        assert_eq!(made("nonroot:x:0:0:::\nsafebox:x:1:1:::").1, "u65532");
        assert_eq!(made("65532:x:0:0:::").1, "nonroot");
        assert_eq!(made("").1, "nonroot");
    }
}
