//! `safebox --debug run`: what the built-in seccomp profile refuses is told while the container runs.

use std::collections::BTreeSet;
use std::os::fd::RawFd;
use std::rc::Rc;

use libc::sock_filter;

use crate::lifecycle::sidecar::Sidecar;
use crate::log::Log;
use crate::perform::Cx;
use crate::plan::ops::ConfineOp;
use crate::plan::recipe::{Filter, Listens};
use crate::plan::{Action, Plan};
use crate::seccomp::Reported;
use crate::sys::io::{self, Interest};
use crate::sys::{Errno, fs, seccomp};

/// Calls that are answered before others have their turn.
const TURN: usize = 16;
/// Different calls that are told: the container chooses the numbers, and must not fill the log.
const MOST: usize = 256;

/// Ends refused calls with the filter's errno, and tells of each call once.
pub struct Refusals {
    listener: RawFd,
    /// The filter as it is without `--debug`.
    filter: Rc<Vec<sock_filter>>,
    log: Log,
    told: BTreeSet<(String, i32)>,
}

impl Refusals {
    /// On the listener that the plan's row took; `None`: no filter reports.
    pub fn of(filters: &[Filter], plan: &Plan, cx: &Cx, log: &Log) -> Option<Self> {
        let filter = filters.iter().find_map(|f| match &f.listener {
            Some(Listens::Launcher(filter)) => Some(filter.clone()),
            _ => None,
        })?;
        let listener = plan.steps.iter().find_map(|s| match &s.action {
            Action::Confine(ConfineOp::SendListener { listener, agent: None, .. }) => Some(cx.fd(listener)),
            _ => None,
        })?;
        Some(Refusals { listener, filter, log: log.clone(), told: BTreeSet::new() })
    }

    fn tell(&mut self, call: &Reported) {
        let key = (call.name.clone(), call.errno as i32);
        // What cannot be told without a wait is told the next time.
        if self.told.len() > MOST || self.told.contains(&key) || !self.log.takes_a_line() {
            return;
        }
        self.told.insert(key);
        if self.told.len() > MOST {
            self.log.debug("refused system calls are not told any more: there are too many different ones");
            return;
        }
        let Reported { errno, name, named, why } = call;
        let remedy = if *named { format!(" (--seccomp-allow {name})") } else { String::new() };
        self.log.debug(&format!("seccomp: system call {name} refused with {errno:?}: {why}{remedy}"));
    }

    fn close(&mut self) {
        fs::close(self.listener);
        self.listener = -1;
    }
}

impl Sidecar for Refusals {
    fn descriptors(&self) -> Vec<Interest> {
        vec![(self.listener, libc::POLLIN)]
    }

    fn ready(&mut self, _: &[i16]) {
        for _ in 0..TURN {
            match io::poll(&[(self.listener, libc::POLLIN)], 0).as_deref() {
                Ok([events]) if events & libc::POLLIN != 0 => {}
                // Nobody has the filter any more.
                Ok([events]) if *events != 0 => return self.close(),
                _ => return,
            }
            let call = match seccomp::notification(self.listener) {
                Ok(call) => call,
                // A call that was given up meanwhile.
                Err(Errno::ENOENT | Errno::EINTR) => continue,
                // Without a listener the kernel refuses: no call waits for ever.
                Err(_) => return self.close(),
            };
            let reported = Reported::by(&self.filter, &call.data);
            match seccomp::refuse(self.listener, call.id, reported.errno) {
                Ok(()) | Err(Errno::ENOENT) => self.tell(&reported),
                Err(_) => return self.close(),
            }
        }
    }

    fn end(&mut self) {
        self.close();
    }
}
