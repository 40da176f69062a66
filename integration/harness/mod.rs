//! The base of every integration test: registration with requirements, a [`Sandbox`] per test, and the check
//! for leftovers.
//!
//! ```ignore
//! #[case(Root, Oci)]
//! fn a_created_container_waits() {
//!     let sb = Sandbox::new().args(["/bin/sh", "-c", "exit 3"]);
//!     sb.create().ok();
//!     assert_eq!(sb.status(), "created");
//!     sb.verb("start").ok();
//!     sb.wait_for_status("stopped");
//!     sb.verb("delete").ok();
//! } // dropping `sb` fails the test if a process, cgroup, mount, file or state remains
//! ```

pub mod bundle;
pub mod carried;
pub mod leaks;
pub mod needs;
pub mod process;
pub mod sandbox;
pub mod strace;

use std::cell::RefCell;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError, RwLock};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

pub use case::case;

pub use carried::{rounds, slowed};
pub use needs::Need;
#[allow(unused_imports)]
pub use process::{Call, Output, Running};
#[allow(unused_imports)]
pub use sandbox::{Sandbox, poll};

/// Tests run in parallel, except those with [`Need::Alone`].
static MACHINE: RwLock<()> = RwLock::new(());

/// Tests that cannot run here: (test, reason).
static SKIPPED: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// A test, as `#[case]` registers it.
pub struct Case {
    /// `integration::folder::area::...::statement`.
    pub path: &'static str,
    pub line: u32,
    pub needs: &'static [Need],
    pub body: fn() -> Completion,
}

inventory::collect!(Case);

/// What the function of a test returns: nothing, or whether it could run.
pub trait Ending {
    fn completion(self) -> Completion;
}

impl Ending for () {
    fn completion(self) -> Completion {
        Completion::Completed
    }
}

impl Ending for Completion {
    fn completion(self) -> Completion {
        self
    }
}

impl Case {
    /// `area::statement`: the second and the last part of the path below the crate.
    pub fn name(&self) -> String {
        let (module, function) = self.path.rsplit_once("::").expect("a function in a module");
        let area = module.split("::").nth(2).expect("a module in a folder");
        format!("{area}::{function}")
    }

    /// In the order of the modules and their lines; the soak tests, which need the machine for themselves, are last.
    fn place(&self) -> (bool, &'static str, u32) {
        let module = self.path.rsplit_once("::").expect("a module").0;
        (module.ends_with("::soak"), module, self.line)
    }

    fn trial(&'static self) -> Trial {
        let name = self.name();
        if let Some(reason) = self.needs.iter().find_map(|n| n.missing()).or_else(|| foreign(self.needs)) {
            let line = format!("{name} [skipped: {reason}]");
            SKIPPED.lock().unwrap_or_else(PoisonError::into_inner).push((name, reason.clone()));
            return Trial::ignorable_test(line, move || Ok(Completion::ignored_with(reason)));
        }
        Trial::ignorable_test(name, move || {
            if self.needs.contains(&Need::Alone) {
                let _machine = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
                perform(self.body)
            } else {
                let _machine = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
                perform(self.body)
            }
        })
    }
}

/// All tests.
pub fn all() -> Vec<&'static Case> {
    let mut cases: Vec<_> = inventory::iter::<Case>().collect();
    cases.sort_by_key(|case| case.place());
    cases
}

/// Skips tests that are only about safebox when another runtime is tested.
fn foreign(needs: &[Need]) -> Option<String> {
    (bundle::is_foreign() && !needs.contains(&Need::Oci))
        .then(|| "only about safebox, and SAFEBOX_RUNTIME is another runtime".to_string())
}

thread_local! {
    /// Message and location of the last panic of this thread.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs a test; a panic becomes its report, with the location and without a backtrace.
fn perform(body: fn() -> Completion) -> Result<Completion, Failed> {
    std::panic::catch_unwind(body).map_err(|_| PANIC.take().into())
}

/// On a pure cgroup v2 host the first container delegates controllers permanently. Only its plan has that
/// row, which would disturb tests that count rows.
fn hand_controllers_down() {
    if !bundle::is_foreign() && [Need::Root, Need::CgroupV2].iter().all(|n| n.missing().is_none()) {
        Sandbox::new().run_oci().output().ok();
    }
}

/// Prints the skipped tests with reasons, then runs the rest; the last line is libtest's.
pub fn run(args: &Arguments) -> ExitCode {
    let trials: Vec<_> = all().into_iter().map(Case::trial).collect();
    if !args.list {
        hand_controllers_down();
    }
    std::panic::set_hook(Box::new(|info| PANIC.set(info.to_string())));
    let skipped = SKIPPED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if !args.list {
        println!("\nruntime: {}", bundle::runtime().display());
        if carried::slow() > 1 {
            let n = carried::slow();
            println!(
                "SAFEBOX_SLOW={n}: limits of time are {n} times as long, races have 1/{n} of their rounds"
            );
        }
        println!("skipped: {} of {} tests cannot run here", skipped.len(), trials.len());
        for (name, reason) in skipped {
            println!("  {name}: {reason}");
        }
    }
    libtest_mimic::run(args, trials).exit_code()
}
