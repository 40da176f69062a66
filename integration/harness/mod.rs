//! The base of every integration test: registration with requirements, a [`Sandbox`] per test, and the check
//! for leftovers.
//!
//! ```ignore
//! pub fn tests() -> Vec<Trial> {
//!     vec![test("lifecycle::a_created_container_waits", &[Need::Root, Need::Oci], waits)]
//! }
//!
//! fn waits() {
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

pub use carried::{rounds, slowed};
pub use needs::Need;
#[allow(unused_imports)]
pub use process::{Call, Output, Running};
#[allow(unused_imports)]
pub use sandbox::{Sandbox, poll};

/// Tests run in parallel, except those with [`Need::Alone`].
static MACHINE: RwLock<()> = RwLock::new(());

/// Tests that cannot run here: (test, reason).
static SKIPPED: Mutex<Vec<(&str, String)>> = Mutex::new(Vec::new());

/// Registers `body` under the name `name` (`area::statement`).
pub fn test(name: &'static str, needs: &'static [Need], body: fn()) -> Trial {
    if let Some(reason) = needs.iter().find_map(|n| n.missing()).or_else(|| foreign(needs)) {
        SKIPPED.lock().unwrap_or_else(PoisonError::into_inner).push((name, reason.clone()));
        return Trial::ignorable_test(format!("{name} [skipped: {reason}]"), move || {
            Ok(Completion::ignored_with(reason))
        });
    }
    Trial::test(name, move || {
        if needs.contains(&Need::Alone) {
            let _machine = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
            perform(body)
        } else {
            let _machine = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
            perform(body)
        }
    })
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
fn perform(body: fn()) -> Result<(), Failed> {
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
pub fn finish(args: &Arguments, trials: Vec<Trial>) -> ExitCode {
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
