//! The suite away from its repository: `scripts/test` carries it to a VM, with what it needs.
//!
//! - `SAFEBOX_BIN` is the safebox under test. Beside it lie `probe`, and `examples` with the bundles and
//!   the lessons.
//! - `SAFEBOX_SLOW=N`: by emulation everything takes longer. Limits of time are N times as long, and what
//!   is repeated to meet a race is repeated N times less often (never not at all).

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

/// The safebox under test: `SAFEBOX_BIN` where the tests were carried to another machine, else cargo's.
pub fn safebox() -> PathBuf {
    std::env::var_os("SAFEBOX_BIN").map_or_else(|| env!("CARGO_BIN_EXE_safebox").into(), PathBuf::from)
}

/// What was carried along beside safebox as `name`.
pub fn carried(name: &str) -> Option<PathBuf> {
    let path = Path::new(&std::env::var_os("SAFEBOX_BIN")?).with_file_name(name);
    path.exists().then_some(path)
}

/// The repository's `examples`, or the copy that was carried along.
pub fn examples() -> PathBuf {
    carried("examples").unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"))
}

/// The program of a lesson. Carried, all lie in `examples`; cargo puts those of the package `lessons` beside the safebox
/// that it builds, and the others in `examples` there.
pub fn lesson(name: &str) -> PathBuf {
    let beside = safebox().with_file_name(name);
    if beside.exists() { beside } else { safebox().with_file_name("examples").join(name) }
}

/// Copies a program. Not this process: the children that it forks meanwhile would hold a descriptor for writing, and
/// as long as there is one nobody can execute the file (ETXTBSY).
#[track_caller]
pub fn copy_program(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("--preserve=mode").args([from, to]).status();
    assert!(
        copied.is_ok_and(|status| status.success()),
        "cannot copy {} to {}",
        from.display(),
        to.display()
    );
}

static SLOW: LazyLock<u32> = LazyLock::new(|| {
    let text = std::env::var("SAFEBOX_SLOW").unwrap_or_else(|_| "1".into());
    text.parse().ok().filter(|n| *n > 0).unwrap_or_else(|| panic!("SAFEBOX_SLOW={text}: not a number from 1"))
});

/// How many times slower than usual this machine is.
pub fn slow() -> u32 {
    *SLOW
}

/// How long something takes here that takes `time` elsewhere.
pub fn slowed(time: Duration) -> Duration {
    time * slow()
}

/// How long to wait here for what takes no longer than `limit` on a machine with nothing else to do. Who waits for
/// something that comes waits no longer for that, and other people build programs meanwhile.
pub fn patience(limit: Duration) -> Duration {
    slowed(limit) * 3
}

/// How often to do here what is done `times` elsewhere.
pub fn rounds(times: usize) -> usize {
    times.div_ceil(slow() as usize)
}
