//! Which paths a program may use, for the further guard of landlock(7).

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::config::Config;
use crate::error::Result;
use crate::host::Host;
use crate::plan::ops::Landlock;
use crate::plan::recipe::Builder;
use crate::state::LandlockRules;
use crate::sys::cstr::cpath;
use crate::tables::landlock::{READ, SCOPES, WRITE_FILE, all};

/// Devices that every program may use, where /dev is the host's.
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// What is shown can be read and executed, what is writable written; nothing else. `None`: Landlock is off, or the
/// kernel has none.
pub fn landlock_rules(config: &Config, host: &Host) -> Option<LandlockRules> {
    if !config.hardening.landlock {
        return None;
    }
    let abi = *host.landlock.get();
    if abi < 1 {
        return None;
    }
    let (all, bare) = (all(abi), config.hardening.bare);
    let mut paths = Vec::new();
    let mut add = |path: &Path, rights| paths.push((PathBuf::from(path), rights));
    if !bare {
        add(Path::new("/"), if config.root.readonly { READ } else { all });
        add(Path::new("/dev"), all);
    }
    add(Path::new("/proc"), if bare { READ } else { READ | WRITE_FILE });
    for device in DEVICES.iter().filter(|path| bare && Path::new(path).exists()) {
        add(Path::new(device), READ | WRITE_FILE | all & 1 << 15);
    }
    for mount in &config.mounts {
        let write = (mount.attr_set | mount.rec_attr_set) & libc::MOUNT_ATTR_RDONLY == 0;
        if write || bare {
            add(&mount.destination, if write { all } else { READ });
        }
    }
    // A pid and a network namespace do the same.
    let scoped = if (bare || config.hardening.shared_proc) && abi >= 6 { SCOPES } else { 0 };
    Some(LandlockRules { abi, scoped, paths })
}

/// The row's data: descriptors from `descriptors` on are closed by then.
pub(super) fn lowered(rules: &LandlockRules, descriptors: u32) -> Result<Rc<Landlock>> {
    let paths = rules.paths.iter().map(|(path, rights)| Ok((cpath(path)?, *rights)));
    let paths = paths.collect::<Result<Vec<_>>>()?;
    let LandlockRules { abi, scoped, .. } = *rules;
    Ok(Rc::new(Landlock { abi, handled: all(abi), scoped, paths, descriptors }))
}

impl Builder<'_> {
    /// The guard of this launch.
    pub(super) fn landlock(&self) -> Result<Option<Rc<Landlock>>> {
        let rules = landlock_rules(self.input.config, self.input.host);
        rules.map(|rules| lowered(&rules, 3 + self.input.options.preserve_fds)).transpose()
    }
}
