//! Which path of the host a bind mount of a container shows.

use std::path::{Path, PathBuf};

use crate::host::mountinfo::MountInfo;

/// File systems of which the whole machine has one, so that a new mount of it looks like a bind mount.
const ONE_OF_A_KIND: [&str; 3] = ["cgroup", "cgroup2", "mqueue"];

/// The host path behind `entry`, from the host's own mounts; `None`: a file system of the container's own.
pub(super) fn host_path(entry: &MountInfo, host: &[MountInfo]) -> Option<PathBuf> {
    if ONE_OF_A_KIND.contains(&entry.fs_type.as_str()) {
        return None;
    }
    let same = host.iter().filter(|h| h.device == entry.device);
    let over = same.filter_map(|h| Some((h, entry.root.strip_prefix(&h.root).ok()?)));
    let (h, below) = over.max_by_key(|(h, _)| h.root.components().count())?;
    Some(if below == Path::new("") { h.at.clone() } else { h.at.join(below) })
}

/// Whether a mount is in a peer group of the host's mounts, so that mounts below it are seen there.
pub(super) fn is_shared(entry: &MountInfo, host: &[MountInfo]) -> bool {
    entry.peer_group.is_some_and(|group| host.iter().any(|h| h.peer_group == Some(group)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::mountinfo::entries;

    #[test]
    fn the_closest_mount_of_the_host_names_the_path() {
        let host = entries(
            b"1 0 8:1 / / rw shared:1 - ext4 /dev/a rw\n2 1 8:1 /var/lib /data rw - ext4 /dev/a rw\n3 1 0:5 / /sys/fs/cgroup rw - cgroup2 none rw\n",
        );
        let inside = entries(
            b"9 0 8:1 /var/lib/x /vol rw shared:1 - ext4 /dev/a rw\n8 0 8:1 /etc/hosts /etc/hosts rw shared:9 - ext4 /dev/a rw\n7 0 0:9 / /tmp rw - tmpfs tmpfs rw\n6 0 0:5 /x /sys/fs/cgroup ro - cgroup2 none rw\n",
        );
        let paths: Vec<_> = inside.iter().map(|e| host_path(e, &host)).collect();
        assert_eq!(paths[0], Some("/data/x".into()));
        assert_eq!(paths[1], Some("/etc/hosts".into()));
        assert_eq!((&paths[2], &paths[3]), (&None, &None));
        assert!(is_shared(&inside[0], &host) && !is_shared(&inside[1], &host));
    }
}
