//! `linux.intelRdt`: shares of the cache and of memory bandwidth, by the resctrl file system (config-linux.md
//! "IntelRdt", the kernel's `filesystems/resctrl.rst`).
//!
//! A class of service is a directory: `schemata` says what it may use, `tasks` lists its processes.

use std::path::{Path, PathBuf};

use crate::config::{ConfigError, IntelRdt};
use crate::error::{Error, Result};

const AT: &str = "/linux/intelRdt";

/// The class of a container, ready for its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// The directory.
    pub dir: PathBuf,
    /// It does not exist yet; it is made.
    pub make: bool,
    /// It has a name that others may use as well, and outlives the container.
    pub named: bool,
    /// What is written to `schemata`, in order: the kernel takes no resource twice at a time.
    pub schemata: Vec<String>,
    /// The directory of the container's own counters, made and removed with it.
    pub monitor: Option<PathBuf>,
}

/// Where resctrl is mounted, from mountinfo.
pub fn mount_point() -> Option<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    text.lines().find_map(|line| {
        let (head, tail) = line.split_once(" - ")?;
        tail.starts_with("resctrl ").then(|| head.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// The class that a config asks for, below the mount point `root`.
pub fn class(root: Option<&Path>, id: &str, rdt: &IntelRdt) -> Result<Class> {
    let refuse = |key: &str, text: String| Error::Config(ConfigError::new(format!("{AT}{key}"), text));
    let Some(root) = root else {
        let text = "resctrl is not mounted, so no share of cache or memory bandwidth can be given: \
                    mount -t resctrl resctrl /sys/fs/resctrl, if the processor has Intel RDT or its like";
        return Err(refuse("", text.into()));
    };
    let dir = match rdt.clos_id.as_deref() {
        None => root.join(id),
        // The root's own class.
        Some("/") => root.to_path_buf(),
        Some(name) => root.join(name),
    };
    let exists = dir.join("tasks").exists();
    let says_nothing = rdt.older.is_empty() && rdt.schemata.is_empty();
    if rdt.clos_id.is_some() && says_nothing && !exists {
        let text = format!("{} does not exist, and no schemata say what it should be", dir.display());
        return Err(refuse("/closID", text));
    }
    if exists && rdt.clos_id.is_some() && !rdt.older.is_empty() {
        agree(&dir, &rdt.older).map_err(|text| refuse("/closID", text))?;
    }
    let lines = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let schemata = [&rdt.older, &rdt.schemata].into_iter().filter(|l| !l.is_empty()).map(|l| lines(l));
    Ok(Class {
        make: !exists,
        named: rdt.clos_id.is_some(),
        schemata: schemata.collect(),
        monitor: rdt.monitoring.then(|| dir.join("mon_groups").join(id)),
        dir,
    })
}

/// What `l3CacheSchema` and `memBwSchema` say must be so already in a class that others may use.
fn agree(dir: &Path, wanted: &[String]) -> std::result::Result<(), String> {
    let has = std::fs::read_to_string(dir.join("schemata")).map_err(|e| format!("{}: {e}", dir.display()))?;
    let has = has.to_ascii_lowercase();
    let has: Vec<_> = has.lines().flat_map(shares).collect();
    let says = |line: &String| shares(&line.to_ascii_lowercase()).iter().all(|share| has.contains(share));
    match wanted.iter().find(|line| !says(line)) {
        Some(line) => Err(format!("{} exists already, and its schemata do not say {line:?}", dir.display())),
        None => Ok(()),
    }
}

/// A line of schemata as (resource, domain, share); the kernel writes masks with zeros and lines with blanks in front.
fn shares(line: &str) -> Vec<(&str, &str, &str)> {
    let (resource, rest) = line.split_once(':').unwrap_or((line, ""));
    let parts = rest.split(';').filter(|part| !part.trim().is_empty());
    parts
        .map(|part| {
            let (domain, share) = part.split_once('=').unwrap_or((part, ""));
            (resource.trim(), domain.trim(), share.trim().trim_start_matches('0'))
        })
        .collect()
}

/// Gives a container's class other shares: `dirs` are its directories, the class first. Each of `schemata` is one
/// or more lines of the file of that name; an error is what the kernel says of the first that it refuses.
pub fn change(dirs: &[PathBuf], schemata: &[&str]) -> Result<()> {
    let Some(class) = dirs.first() else { return Ok(()) };
    let file = class.join("schemata");
    for line in schemata.iter().flat_map(|text| text.lines()) {
        // One at a time: the kernel stops at what it does not take, and tells of it in `last_cmd_status`.
        std::fs::write(&file, format!("{line}\n")).map_err(|e| {
            let info = class.ancestors().map(|dir| dir.join("info/last_cmd_status"));
            let status =
                info.filter_map(|file| std::fs::read_to_string(file).ok()).next().unwrap_or_default();
            Error::msg(format!("failed to write {line:?} to {}: {e}: {}", file.display(), status.trim_end()))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rdt(clos_id: Option<&str>, older: &[&str], schemata: &[&str]) -> IntelRdt {
        let lines = |lines: &[&str]| lines.iter().map(|s| (*s).to_string()).collect();
        let clos_id = clos_id.map(str::to_string);
        IntelRdt { clos_id, older: lines(older), schemata: lines(schemata), monitoring: false }
    }

    #[test]
    fn a_class_is_made_for_the_container_or_shared_by_its_name() {
        let root = tempfile::tempdir().unwrap();
        let class = |rdt| class(Some(root.path()), "c1", &rdt);
        let own = class(IntelRdt { monitoring: true, ..rdt(None, &[], &["L3:0=f", "MB:0=50"]) }).unwrap();
        assert_eq!((own.dir.clone(), own.make), (root.path().join("c1"), true));
        assert_eq!(own.schemata, ["L3:0=f\nMB:0=50\n"]);
        assert_eq!(own.monitor, Some(root.path().join("c1/mon_groups/c1")));
        let both = class(rdt(Some("new"), &["L3:0=f", "MB:0=50"], &["L3:0=3"])).unwrap();
        let text = |dir: &str| root.path().join(dir).display().to_string();
        assert!(own.make && !own.named);
        assert!(both.make && both.named);
        assert_eq!(both.dir.display().to_string(), text("new"));
        assert_eq!((both.make, both.schemata), (true, vec!["L3:0=f\nMB:0=50\n".into(), "L3:0=3\n".into()]));
        assert!(class(rdt(Some("gold"), &[], &[])).unwrap_err().to_string().contains("/closID"));
    }

    #[test]
    fn a_class_that_is_there_is_as_the_older_fields_say_and_becomes_what_schemata_say() {
        let root = tempfile::tempdir().unwrap();
        let gold = root.path().join("gold");
        std::fs::create_dir(&gold).unwrap();
        std::fs::write(gold.join("tasks"), "").unwrap();
        std::fs::write(gold.join("schemata"), "    L3:0=00f;1=7ff\n    MB:0=50;1= 100\n").unwrap();
        let class = |older: &[&str], schemata: &[&str]| {
            class(Some(root.path()), "c1", &rdt(Some("gold"), older, schemata)).map_err(|e| e.to_string())
        };
        let shared = class(&[], &[]).unwrap();
        assert!(!shared.make);
        assert_eq!((shared.make, shared.schemata.len(), shared.monitor), (false, 0, None));
        assert!(class(&["L3:0=F;1=7ff", "MB:0=50;1=100"], &[]).is_ok());
        for other in ["MB:0=20", "MB:0=50;1=10", "L3:0=ff", "L3:2=f", "L2:0=f"] {
            let text = class(&[other], &[]).unwrap_err();
            assert!(text.contains("/closID") && text.contains(other), "{text}");
        }
        assert_eq!(class(&[], &["MB:0=20"]).unwrap().schemata, ["MB:0=20\n"]);
    }

    #[test]
    fn other_shares_are_written_line_by_line() {
        let root = tempfile::tempdir().unwrap();
        let class = root.path().join("c1");
        std::fs::create_dir_all(root.path().join("info")).unwrap();
        std::fs::write(root.path().join("info/last_cmd_status"), "mask out of range\n").unwrap();
        let err = change(std::slice::from_ref(&class), &["L3:0=f"]).unwrap_err().to_string();
        assert!(err.contains("\"L3:0=f\"") && err.ends_with(": mask out of range"), "{err}");
        std::fs::create_dir(&class).unwrap();
        change(&[class.clone(), class.join("mon_groups/c1")], &["L3:0=f", "MB:0=50\nMB:1=20"]).unwrap();
        // Of a plain file the last line is left.
        assert_eq!(std::fs::read_to_string(class.join("schemata")).unwrap(), "MB:1=20\n");
    }

    #[test]
    fn without_resctrl_nothing_runs() {
        let err = class(None, "c1", &rdt(None, &["L3:0=f"], &[])).unwrap_err().to_string();
        assert!(err.contains("/linux/intelRdt: resctrl is not mounted"), "{err}");
    }
}
