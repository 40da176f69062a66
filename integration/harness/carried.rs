//! Runs the suite outside its repository: `scripts/test` copies it to a VM with the files it needs.
//!
//! - `SAFEBOX_BIN` is the safebox under test. Next to it are `probe`, and `examples` with the bundles and the
//!   lessons.
//! - `SAFEBOX_SLOW=N`: for an emulated machine. Time limits are N times as long, and repetitions of a race
//!   are N times fewer (at least one).

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

/// The safebox under test: `SAFEBOX_BIN` if the tests were copied to another machine, else cargo's.
pub fn safebox() -> PathBuf {
    std::env::var_os("SAFEBOX_BIN").map_or_else(|| env!("CARGO_BIN_EXE_safebox").into(), PathBuf::from)
}

/// The file `name` that was copied next to safebox.
pub fn carried(name: &str) -> Option<PathBuf> {
    let path = Path::new(&std::env::var_os("SAFEBOX_BIN")?).with_file_name(name);
    path.exists().then_some(path)
}

/// The repository's `examples`, or the copy.
pub fn examples() -> PathBuf {
    carried("examples").unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"))
}

/// The program of a lesson. Copied lessons are all in `examples`. Cargo puts those of the package `lessons`
/// next to safebox, and the others in `examples` there.
pub fn lesson(name: &str) -> PathBuf {
    let beside = safebox().with_file_name(name);
    if beside.exists() { beside } else { safebox().with_file_name("examples").join(name) }
}

/// Copies a program with cp(1). Children that this process forks meanwhile would inherit its open descriptor
/// for writing, and the file could not be executed as long as such a descriptor exists (ETXTBSY).
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

/// The factor by which this machine is slower than usual.
pub fn slow() -> u32 {
    *SLOW
}

/// The duration here of an operation that takes `time` on a usual machine.
pub fn slowed(time: Duration) -> Duration {
    time * slow()
}

/// The timeout here for an operation that takes at most `limit` on an idle machine. The timeout is generous,
/// because a wait ends as soon as its event occurs, and the machine may be busy with builds.
pub fn patience(limit: Duration) -> Duration {
    slowed(limit) * 3
}

/// The number of repetitions here of an operation that is repeated `times` on a usual machine.
pub fn rounds(times: usize) -> usize {
    times.div_ceil(slow() as usize)
}
