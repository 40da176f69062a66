//! Parser for mountinfo (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The mount points of complete procfs and sysfs mounts (the mount's root is `/`).
pub fn whole_kernel_mounts(mountinfo: &[u8]) -> Vec<PathBuf> {
    let whole = |line: &[u8]| {
        let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        let tail = words.iter().position(|w| *w == b"-")?;
        let kernel = matches!(*words.get(tail + 1)?, b"proc" | b"sysfs") && *words.get(3)? == b"/";
        kernel.then(|| PathBuf::from(OsString::from_vec(unescape(words[4]))))
    };
    mountinfo.split(|b| *b == b'\n').rev().filter_map(whole).collect()
}

/// The mounts strictly below `top`, the last mounted first: (mount point, file system type).
pub fn mounts_below(mountinfo: &[u8], top: &Path) -> Vec<(PathBuf, String)> {
    let below = |line: &[u8]| {
        let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        let tail = words.iter().position(|w| *w == b"-")?;
        let at = PathBuf::from(OsString::from_vec(unescape(words.get(4)?)));
        let fs = String::from_utf8_lossy(words.get(tail + 1)?).into_owned();
        (at.starts_with(top) && at != top).then_some((at, fs))
    };
    mountinfo.split(|b| *b == b'\n').rev().filter_map(below).collect()
}

/// The type of the file system that holds `path`, found by the mount points.
pub fn file_system(mountinfo: &[u8], path: &Path) -> Option<String> {
    let over = |line: &[u8]| {
        let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        let tail = words.iter().position(|w| *w == b"-")?;
        let at = PathBuf::from(OsString::from_vec(unescape(words.get(4)?)));
        let fs = String::from_utf8_lossy(words.get(tail + 1)?).into_owned();
        path.starts_with(&at).then(|| (at.components().count(), fs))
    };
    mountinfo.split(|b| *b == b'\n').filter_map(over).max_by_key(|(depth, _)| *depth).map(|(_, fs)| fs)
}

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo {
    /// Number of the line, from 1.
    pub line: u32,
    /// `MAJOR:MINOR` of the file system.
    pub device: String,
    /// The mounted directory of the file system.
    pub root: PathBuf,
    /// Mount point, relative to the root of the process.
    pub at: PathBuf,
    /// Options of the mount.
    pub options: Vec<String>,
    /// The peer group of a shared mount.
    pub peer_group: Option<u32>,
    /// The file system's type.
    pub fs_type: String,
    /// The file system's source.
    pub source: PathBuf,
    /// Options of the file system.
    pub fs_options: Vec<String>,
}

/// Parses all lines.
pub fn entries(mountinfo: &[u8]) -> Vec<MountInfo> {
    let path = |word: &[u8]| PathBuf::from(OsString::from_vec(unescape(word)));
    let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
    let list = |word: &[u8]| text(word).split(',').map(str::to_string).collect();
    let entry = |(i, line): (usize, &[u8])| {
        let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        let tail = words.iter().skip(6).position(|w| *w == b"-")? + 6;
        let shared = words[6..tail].iter().find_map(|w| text(w).strip_prefix("shared:")?.parse().ok());
        Some(MountInfo {
            line: u32::try_from(i + 1).ok()?,
            device: text(words[2]),
            root: path(words[3]),
            at: path(words[4]),
            options: list(words[5]),
            peer_group: shared,
            fs_type: text(words.get(tail + 1)?),
            source: path(words.get(tail + 2)?),
            fs_options: list(words.get(tail + 3)?),
        })
    };
    mountinfo.split(|b| *b == b'\n').enumerate().filter_map(entry).collect()
}

/// Decodes octal escapes of mountinfo: a space is `\040`.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, after)) = rest.split_first() {
        let octal = (first == b'\\').then(|| after.get(..3)).flatten();
        let byte = octal.and_then(|o| u8::from_str_radix(std::str::from_utf8(o).ok()?, 8).ok());
        out.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whole() {
        let text = b"22 27 0:21 / / rw shared:5 - proc proc rw\nbroken\n\
            30 22 8:1 /a\\040b /x ro,nosuid master:2 shared:7 propagate_from:3 - ext4 /dev/sda1 rw,errors=x\n";
        let all = entries(text);
        assert_eq!(all.len(), 2);
        let e = &all[1];
        assert_eq!((e.line, e.peer_group, e.root.as_path()), (3, Some(7), Path::new("/a b")));
        assert_eq!((e.fs_type.as_str(), e.options.join(" ")), ("ext4", "ro nosuid".to_string()));
        assert_eq!(e.fs_options, ["rw", "errors=x"]);
    }

    #[test]
    fn whole_mounts_of_the_kernel_s_file_systems_are_found() {
        let text = b"22 27 0:21 / /proc rw,relatime shared:5 master:2 - proc proc rw\n\
            23 27 0:22 / /sys rw - sysfs sysfs rw\n\
            30 22 0:21 /sys /proc/sys ro - proc proc rw\n\
            31 27 0:30 / /a\\040b\\134c rw - proc none rw\n\
            32 27 0:31 / /tmp rw - tmpfs proc rw\n\
            33 27 0:32 / /x\\04 rw - sysfs - rw\n";
        let found: Vec<_> = whole_kernel_mounts(text);
        let want: Vec<_> = ["/x\\04", "/a b\\c", "/sys", "/proc"].iter().map(PathBuf::from).collect();
        assert_eq!(found, want);
    }
}
