//! What a launcher attends to of the network by name: the helper's verdicts, and its end.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use crate::lifecycle::sidecar::Sidecar;
use crate::network::handle::HelperHandle;
use crate::network::verdict::ConnectionVerdict;
use crate::sys::io::{self, Interest};
use crate::sys::{Errno, process};

/// The most refusals that are printed, one line each.
const MOST: usize = 64;

/// The most verdicts that are read at once.
const AT_ONCE: usize = 64;

/// How long the helper may take to say what is left.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The helper of a container that runs.
pub struct NetworkSidecar {
    helper: HelperHandle,
    /// The container's process.
    container: RawFd,
    refused: Vec<ConnectionVerdict>,
    /// How many more there were.
    more: usize,
    /// It has ended before the container.
    lost: bool,
    /// The container has ended.
    over: bool,
}

impl NetworkSidecar {
    /// Attends to this helper.
    pub fn of(helper: HelperHandle, container: RawFd) -> Self {
        NetworkSidecar { helper, container, refused: Vec::new(), more: 0, lost: false, over: false }
    }

    fn read(&mut self) {
        for _ in 0..AT_ONCE {
            match self.helper.verdict() {
                Ok(Some(verdict)) if self.refused.len() < MOST => self.refused.push(verdict),
                Ok(Some(_)) => self.more += 1,
                Ok(None) => return,
                Err(Errno::EBADF) => return,
                Err(_) => {
                    // It ends with the container, too.
                    self.lost |= !self.over && !process::wait_for_exit(self.container, 0);
                    self.helper.end();
                    return;
                }
            }
        }
    }

    /// Once the container has ended the helper reports what is left, and ends by itself.
    fn last_words(&mut self) {
        let ended = process::wait_for_exit(self.container, 0);
        let end = Instant::now() + LAST_WORDS;
        self.read();
        while ended && self.helper.line() >= 0 {
            let left = end.saturating_duration_since(Instant::now()).as_millis() as i32;
            match io::poll(&[(self.helper.line(), libc::POLLIN)], left).as_deref() {
                Ok([events]) if *events != 0 => self.read(),
                Err(Errno::EINTR) => {}
                _ => return,
            }
        }
    }

    /// Ends the helper; what was refused, and each rule that would allow it, one line each.
    pub fn finish(mut self) -> Vec<String> {
        self.over = true;
        self.last_words();
        self.helper.end();
        let mut lines: Vec<String> =
            self.refused.iter().map(|verdict| format!("network: refused {}", verdict.text())).collect();
        if self.more > 0 {
            lines.push(format!("network: refused {} more (--audit-log FILE has all)", self.more));
        }
        if self.lost {
            lines.push(
                "network: the helper ended before the program, which had no network from then on".into(),
            );
        }
        lines
    }
}

impl Sidecar for NetworkSidecar {
    fn descriptors(&self) -> Vec<Interest> {
        vec![(self.helper.line(), libc::POLLIN)]
    }

    fn ready(&mut self, events: &[i16]) {
        if events.iter().any(|e| *e != 0) {
            self.read();
        }
    }

    fn end(&mut self) {
        self.over = true;
    }
}
