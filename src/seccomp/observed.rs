//! Filters that report the paths that a program uses to the launcher, for `--explain-denials`.
//!
//! Two programs are used, so that only the kernel decides. The first keeps the profile's own rules for the
//! observed calls and allows all others. The second reports every observed call, and what the profile refuses of the
//! others. An errno takes precedence over a report (seccomp(2)), so an observed call that the profile refuses fails in
//! the kernel, and the launcher always answers a report of an observed call with "continue".

use libc::{seccomp_data, sock_filter};

use super::bpf::{JEQ, LD_ABS, RET};
use super::numbers::{name, native, number};

/// Arguments that hold a path: the directory's descriptor (`None`: the working directory), then the path itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathArgs {
    /// Index of the descriptor's argument.
    pub dir: Option<usize>,
    /// Index of the path's argument.
    pub path: usize,
}

const fn at(dir: usize, path: usize) -> PathArgs {
    PathArgs { dir: Some(dir), path }
}

const fn cwd(path: usize) -> PathArgs {
    PathArgs { dir: None, path }
}

/// Effect of an observed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// Opens a path with the flags of this argument.
    Open(PathArgs, usize),
    /// The same; the argument points to `struct open_how`, whose first word holds the flags.
    OpenHow(PathArgs, usize),
    /// Opens for writing, always.
    Create(PathArgs),
    /// Creates, changes or removes these paths.
    Change(&'static [PathArgs]),
    /// Connects to the address at this argument, which has the length of the next one.
    Connect(usize),
}

/// The observed calls. `execve` is not among them: the runtime waits for the first one.
const CALLS: &[(&str, Observed)] = &[
    ("open", Observed::Open(cwd(0), 1)),
    ("openat", Observed::Open(at(0, 1), 2)),
    ("openat2", Observed::OpenHow(at(0, 1), 2)),
    ("creat", Observed::Create(cwd(0))),
    ("truncate", Observed::Create(cwd(0))),
    ("mkdir", Observed::Change(&[cwd(0)])),
    ("mkdirat", Observed::Change(&[at(0, 1)])),
    ("mknod", Observed::Change(&[cwd(0)])),
    ("mknodat", Observed::Change(&[at(0, 1)])),
    ("rmdir", Observed::Change(&[cwd(0)])),
    ("unlink", Observed::Change(&[cwd(0)])),
    ("unlinkat", Observed::Change(&[at(0, 1)])),
    ("rename", Observed::Change(&[cwd(0), cwd(1)])),
    ("renameat", Observed::Change(&[at(0, 1), at(2, 3)])),
    ("renameat2", Observed::Change(&[at(0, 1), at(2, 3)])),
    ("link", Observed::Change(&[cwd(1)])),
    ("linkat", Observed::Change(&[at(2, 3)])),
    ("symlink", Observed::Change(&[cwd(1)])),
    ("symlinkat", Observed::Change(&[at(1, 2)])),
    ("chmod", Observed::Change(&[cwd(0)])),
    ("fchmodat", Observed::Change(&[at(0, 1)])),
    ("fchmodat2", Observed::Change(&[at(0, 1)])),
    ("chown", Observed::Change(&[cwd(0)])),
    ("lchown", Observed::Change(&[cwd(0)])),
    ("fchownat", Observed::Change(&[at(0, 1)])),
    ("utimensat", Observed::Change(&[at(0, 1)])),
    ("connect", Observed::Connect(1)),
];

/// (number, what it does) of the calls that this architecture has.
fn calls() -> impl Iterator<Item = (u32, Observed)> {
    CALLS.iter().filter_map(|(name, call)| Some((number(name, native())?, *call)))
}

/// What the reported call does, if it is an observed one.
pub fn observed(data: &seccomp_data) -> Option<Observed> {
    if data.arch != audit_arch() {
        return None;
    }
    let name = name(u32::try_from(data.nr).ok()?, native())?;
    CALLS.iter().find(|(observed, _)| *observed == name).map(|(_, call)| *call)
}

/// `AUDIT_ARCH_*` of this program (linux/audit.h).
const fn audit_arch() -> u32 {
    const NATIVE_64_LE: u32 = 0xc000_0000;
    let machine = if cfg!(target_arch = "aarch64") { libc::EM_AARCH64 } else { libc::EM_X86_64 };
    NATIVE_64_LE | machine as u32
}

/// The offsets of `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Before `program`: the observed calls of this architecture get `answer`. Its own instructions load what they compare.
fn with_answer(program: &[sock_filter], answer: u32) -> Vec<sock_filter> {
    let checks = calls().flat_map(|(nr, _)| [instruction(JEQ, 0, 1, nr), instruction(RET, 0, 0, answer)]);
    let checks: Vec<_> = checks.collect();
    let over = u8::try_from(checks.len() + 1).unwrap_or(u8::MAX);
    let head = [
        instruction(LD_ABS, 0, 0, ARCH),
        instruction(JEQ, 0, over, audit_arch()),
        instruction(LD_ABS, 0, 0, NR),
    ];
    head.into_iter().chain(checks).chain(program.iter().copied()).collect()
}

/// The filter `program` for the observed calls; every other call is allowed, since the second program judges it.
pub fn judged(program: &[sock_filter]) -> Vec<sock_filter> {
    // The observed calls jump over the one return that allows the others.
    let numbers: Vec<_> = calls().map(|(nr, _)| nr).collect();
    let allow = instruction(RET, 0, 0, libc::SECCOMP_RET_ALLOW);
    let last = numbers.len();
    let checks = numbers.iter().enumerate().map(|(i, nr)| {
        let to_program = u8::try_from(last - i).unwrap_or(u8::MAX);
        instruction(JEQ, to_program, 0, *nr)
    });
    let head = [
        instruction(LD_ABS, 0, 0, ARCH),
        instruction(JEQ, 1, 0, audit_arch()),
        allow,
        instruction(LD_ABS, 0, 0, NR),
    ];
    head.into_iter().chain(checks).chain([allow]).chain(program.iter().copied()).collect()
}

/// `program`, which reports what it refuses ([`super::reported`]), with a report of every observed call.
pub fn observing(program: &[sock_filter]) -> Vec<sock_filter> {
    with_answer(program, libc::SECCOMP_RET_USER_NOTIF)
}

#[cfg(test)]
mod tests {
    use super::super::bpf::{check, run};
    use super::*;

    const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

    #[test]
    fn the_kernel_judges_observed_calls_by_the_unchanged_profile() {
        let refuses_all = [instruction(LD_ABS, 0, 0, NR), instruction(RET, 0, 0, REFUSE)];
        let (first, second) = (judged(&refuses_all), observing(&refuses_all));
        check(&first).expect("a program");
        check(&second).expect("a program");
        for (nr, _) in calls() {
            assert_eq!(run(&first, audit_arch(), nr, [0; 6]), Some(REFUSE), "{nr}");
            assert_eq!(run(&second, audit_arch(), nr, [0; 6]), Some(libc::SECCOMP_RET_USER_NOTIF), "{nr}");
        }
        let mount = number("mount", native()).expect("a number");
        for (arch, nr) in [(audit_arch(), mount), (audit_arch() + 1, 2), (audit_arch(), mount | 0x4000_0000)]
        {
            assert_eq!(run(&first, arch, nr, [0; 6]), Some(libc::SECCOMP_RET_ALLOW), "{arch:x} {nr}");
            assert_eq!(run(&second, arch, nr, [0; 6]), Some(REFUSE), "{arch:x} {nr}");
        }
    }

    #[test]
    fn every_jump_fits() {
        assert!(calls().count() * 2 + 1 < usize::from(u8::MAX));
        assert!(CALLS.iter().any(|(name, _)| number(name, native()) == number("openat", native())));
    }
}
