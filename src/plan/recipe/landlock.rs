//! Which paths a program may use, for the further guard of landlock(7).

use std::path::Path;
use std::rc::Rc;

use crate::error::Result;
use crate::plan::ops::Landlock;
use crate::plan::recipe::Builder;
use crate::sys::cstr::cpath;
use crate::tables::landlock::{READ, SCOPES, WRITE_FILE, all};

/// Devices that every program may use, where /dev is the host's.
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

impl Builder<'_> {
    /// What is shown can be read and executed, what is writable written; nothing else.
    pub(super) fn landlock(&self) -> Result<Option<Rc<Landlock>>> {
        let config = self.input.config;
        if !config.hardening.landlock {
            return Ok(None);
        }
        let abi = *self.input.host.landlock.get();
        if abi < 1 {
            return Ok(None);
        }
        let (all, bare) = (all(abi), config.hardening.bare);
        let mut paths = Vec::new();
        if !bare {
            paths.push((cpath(Path::new("/"))?, if config.root.readonly { READ } else { all }));
            paths.push((cpath(Path::new("/dev"))?, all));
        }
        paths.push((cpath(Path::new("/proc"))?, if bare { READ } else { READ | WRITE_FILE }));
        for device in DEVICES.iter().filter(|path| bare && Path::new(path).exists()) {
            paths.push((cpath(Path::new(device))?, READ | WRITE_FILE | all & 1 << 15));
        }
        for mount in &config.mounts {
            let write = (mount.attr_set | mount.rec_attr_set) & libc::MOUNT_ATTR_RDONLY == 0;
            if write || bare {
                paths.push((cpath(&mount.destination)?, if write { all } else { READ }));
            }
        }
        Ok(Some(Rc::new(Landlock {
            abi,
            handled: all,
            // A pid and a network namespace do the same.
            scoped: if (bare || config.hardening.shared_proc) && abi >= 6 { SCOPES } else { 0 },
            paths,
            descriptors: 3 + self.input.options.preserve_fds,
        })))
    }
}
