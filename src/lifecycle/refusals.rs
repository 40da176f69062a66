//! `safebox --debug run` and `run --explain-denials`: the launcher reports what the built-in seccomp profile refuses.

use std::collections::BTreeSet;
use std::os::fd::RawFd;
use std::rc::Rc;

use libc::sock_filter;

use crate::launch::prepare::Prepared;
use crate::lifecycle::denials::Denials;
use crate::lifecycle::sidecar::Sidecar;
use crate::log::Log;
use crate::perform::Cx;
use crate::plan::ops::ConfineOp;
use crate::plan::recipe::Listens;
use crate::plan::{Action, Plan};
use crate::seccomp::Reported;
use crate::seccomp::observed::observed;
use crate::sys::io::{self, Interest};
use crate::sys::{Errno, fs, seccomp};
use crate::tables::capabilities::CapSet;

/// Calls that are answered before others have their turn.
const TURN: usize = 16;
/// Different calls that are reported: the container chooses the numbers, and must not fill the log.
const MOST: usize = 256;

/// Ends refused calls with the filter's errno, and tells of each call once.
pub struct Refusals {
    listener: RawFd,
    /// The filter as it is without `--debug`.
    filter: Rc<Vec<sock_filter>>,
    log: Log,
    /// The capabilities that the container's processes can have.
    held: CapSet,
    reported: BTreeSet<(String, i32)>,
    /// `--explain-denials`: what was refused, and why.
    pub denials: Option<Denials>,
}

impl Refusals {
    /// On the listener that the plan's row took; `None`: no filter reports.
    pub fn of(prepared: &Prepared, plan: &Plan, cx: &Cx, log: &Log) -> Option<Self> {
        let filter = prepared.filters().iter().find_map(|f| match &f.listener {
            Some(Listens::Launcher(filter)) => Some(filter.clone()),
            _ => None,
        })?;
        let listener = plan.rows.iter().find_map(|s| match &s.action {
            Action::Confine(ConfineOp::SendListener { listener, agent: None, .. }) => Some(cx.fd(listener)),
            _ => None,
        })?;
        let process = prepared.config.process.as_ref();
        let held = process.map(|process| process.capabilities.bounding).unwrap_or_default();
        Some(Refusals { listener, filter, log: log.clone(), held, reported: BTreeSet::new(), denials: None })
    }

    fn report(&mut self, call: &Reported) {
        let key = (call.name.clone(), call.errno as i32);
        // What cannot be reported without a wait is reported the next time.
        if self.reported.len() > MOST || self.reported.contains(&key) || !self.log.takes_a_line() {
            return;
        }
        self.reported.insert(key);
        if self.reported.len() > MOST {
            self.log
                .debug("refused system calls are not reported any more: there are too many different ones");
            return;
        }
        let Reported { errno, name, why, .. } = call;
        let remedy = call.remedy(self.held);
        self.log.debug(&format!("seccomp: system call {name} refused with {errno:?}: {why}{remedy}"));
    }

    /// Observed calls go on, since the kernel has judged them; all others are calls that the profile refuses.
    fn answer(&mut self, call: &libc::seccomp_notif) -> Result<(), Errno> {
        if let Some(denials) = self.denials.as_mut().filter(|_| observed(&call.data).is_some()) {
            denials.observe(self.listener, call);
            return seccomp::go_on(self.listener, call.id);
        }
        let reported = Reported::by(&self.filter, &call.data);
        seccomp::refuse(self.listener, call.id, reported.errno)?;
        self.report(&reported);
        if let Some(denials) = &mut self.denials {
            denials.refused(&reported);
        }
        Ok(())
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
                // No process has the filter any more.
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
            match self.answer(&call) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(_) => return self.close(),
            }
        }
    }

    fn end(&mut self) {
        self.close();
    }
}
