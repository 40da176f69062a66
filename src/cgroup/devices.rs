//! Which devices a cgroup may use (config-linux.md "Allowed Device list").
//!
//! The rules are a list in which, for each kind of access (read, write, mknod), the last rule that
//! matches decides; what no rule matches is denied. On cgroup v2 the list becomes a small program
//! that the kernel runs at each open and mknod ([`program`]); on v1 it becomes lines for
//! `devices.allow` and `devices.deny` ([`v1_lines`]), whose model is poorer: what it cannot say is an
//! error, since the kernel would take the line and not do it.

use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::config::{DeviceRule, Resources};
use crate::sys::bpf;
pub use crate::sys::bpf::BpfInsn;

const fn allow(kind: char, major: Option<u32>, minor: Option<u32>) -> DeviceRule {
    DeviceRule { allow: true, kind, major, minor, read: true, write: true, mknod: true }
}

const fn mknod_any(kind: char) -> DeviceRule {
    DeviceRule { allow: true, kind, major: None, minor: None, read: false, write: false, mknod: true }
}

/// What every container may use: runc's list. The node of any device may be made (without
/// `CAP_MKNOD` it cannot), since a node that cannot be opened is harmless.
pub const DEFAULT_RULES: [DeviceRule; 11] = [
    mknod_any('c'),
    mknod_any('b'),
    allow('c', Some(1), Some(3)),    // /dev/null
    allow('c', Some(1), Some(8)),    // /dev/random
    allow('c', Some(1), Some(7)),    // /dev/full
    allow('c', Some(5), Some(0)),    // /dev/tty
    allow('c', Some(1), Some(5)),    // /dev/zero
    allow('c', Some(1), Some(9)),    // /dev/urandom
    allow('c', Some(136), None),     // /dev/pts/*, the console among them
    allow('c', Some(5), Some(2)),    // /dev/pts/ptmx
    allow('c', Some(10), Some(200)), // /dev/net/tun, last; runc 1.2.0 left it out and had to put it back
];

/// The config's rules and behind them, so stronger, the defaults: as runc, and so that the
/// deny-everything which engines begin with (`a *:* rwm`) leaves a container that can start.
///
/// After a rule that allows everything it is a list of what is denied, and what is allowed later takes away only from
/// the entry that names the same device, as in cgroup v1 and in runc: a wider one gives nothing back.
pub fn with_defaults(config_rules: &[DeviceRule]) -> Vec<DeviceRule> {
    join(config_rules, &DEFAULT_RULES)
}

/// The rules in force for a container: its own, and the defaults as far as it gets them.
pub fn rules(resources: &Resources) -> Vec<DeviceRule> {
    let tun = usize::from(resources.no_tun);
    join(&resources.devices, &DEFAULT_RULES[..DEFAULT_RULES.len() - tun])
}

fn join(config_rules: &[DeviceRule], defaults: &[DeviceRule]) -> Vec<DeviceRule> {
    let all = [config_rules, defaults].concat();
    match all.iter().rposition(total) {
        Some(at) if all[at].allow => all_but(all[at], &all[at + 1..]),
        _ => all,
    }
}

/// Whether a node of this device may be made under `rules`.
pub fn may_mknod(rules: &[DeviceRule], kind: char, (major, minor): (u32, u32)) -> bool {
    let fits = |rule: &&DeviceRule| {
        rule.mknod
            && (rule.kind == 'a' || rule.kind == kind)
            && rule.major.is_none_or(|n| n == major)
            && rule.minor.is_none_or(|n| n == minor)
    };
    rules.iter().rev().find(fits).is_some_and(|rule| rule.allow)
}

fn all_but(everything: DeviceRule, rest: &[DeviceRule]) -> Vec<DeviceRule> {
    let mut list = vec![everything];
    for rule in rest {
        if !rule.allow {
            list.push(*rule);
            continue;
        }
        for entry in list[1..].iter_mut().filter(|entry| same_device(entry, rule)) {
            take_away(entry, rule);
        }
    }
    list.retain(|entry| access(entry) != 0);
    list
}

// Bits of access as in `bpf_cgroup_dev_ctx` (BPF_DEVCG_ACC_*).
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;
const ALL: i32 = MKNOD | READ | WRITE;

fn access(rule: &DeviceRule) -> i32 {
    let bit = |on: bool, bit: i32| if on { bit } else { 0 };
    bit(rule.mknod, MKNOD) | bit(rule.read, READ) | bit(rule.write, WRITE)
}

/// Whether a rule is about everything: what it says makes all rules before it moot.
fn total(rule: &DeviceRule) -> bool {
    rule.kind == 'a' && rule.major.is_none() && rule.minor.is_none() && access(rule) == ALL
}

// Registers: r1 is the context, r0 the answer.
const R0: u8 = 0;
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
const WANTED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

// Operations of linux/bpf.h; all on 32 bits.
const LDX_W: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOV: u8 = 0xb4; // BPF_ALU | BPF_MOV | BPF_K
const MOV_REG: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const RSH: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const JNE: u8 = 0x56; // BPF_JMP32 | BPF_JNE | BPF_K
const JSET: u8 = 0x46; // BPF_JMP32 | BPF_JSET | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

/// BPF_DEVCG_DEV_BLOCK.
const BLOCK: i32 = 1;
/// BPF_DEVCG_DEV_CHAR.
const CHAR: i32 = 2;

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> BpfInsn {
    let regs = if cfg!(target_endian = "big") { dst << 4 | src } else { src << 4 | dst };
    BpfInsn { code, regs, off, imm }
}

/// A `BPF_PROG_TYPE_CGROUP_DEVICE` program that answers 1 (may) or 0 (may not, `EPERM`).
///
/// It looks at the rules from the last to the first. One register holds the accesses that are still
/// undecided: an allow rule takes its own away and, when none is left, ends with yes; a deny rule ends
/// with no when one of its own is among them. So `rw` after "allow r" and "allow w" is granted, and
/// after "allow rw, deny w" is not, which a plain "does the whole request match" gets wrong.
pub fn program(rules: &[DeviceRule]) -> Vec<BpfInsn> {
    let mut code = vec![
        // access_type is access << 16 | type.
        insn(LDX_W, TYPE, CONTEXT, 0, 0),
        insn(MOV_REG, WANTED, TYPE, 0, 0),
        insn(AND, TYPE, 0, 0, 0xffff),
        insn(RSH, WANTED, 0, 0, 16),
        insn(LDX_W, MAJOR, CONTEXT, 4, 0),
        insn(LDX_W, MINOR, CONTEXT, 8, 0),
    ];
    let mut default = 0;
    for rule in rules.iter().rev() {
        if total(rule) {
            // The rules before are moot, and the verifier refuses code that is never reached.
            default = i32::from(rule.allow);
            break;
        }
        block(&mut code, rule);
    }
    code.extend(answer(default));
    code
}

fn answer(yes: i32) -> [BpfInsn; 2] {
    [insn(MOV, R0, 0, 0, yes), insn(EXIT, 0, 0, 0, 0)]
}

/// One rule: continues with the next rule if it does not match or does not decide.
fn block(code: &mut Vec<BpfInsn>, rule: &DeviceRule) {
    let access = access(rule);
    let mut tests = Vec::new();
    match rule.kind {
        'b' => tests.push((TYPE, BLOCK)),
        'c' => tests.push((TYPE, CHAR)),
        _ => {}
    }
    // A u32 in an i32 field: the comparison is on 32 bits, so the sign means nothing.
    tests.extend(rule.major.map(|n| (MAJOR, n as i32)));
    tests.extend(rule.minor.map(|n| (MINOR, n as i32)));
    let decide: Vec<BpfInsn> = if rule.allow {
        // WANTED loses these bits; a rest goes on to the next rule, over the two of the answer.
        let keep = insn(AND, WANTED, 0, 0, ALL & !access);
        [vec![keep, insn(JNE, WANTED, 0, 2, 0)], answer(1).to_vec()].concat()
    } else {
        // None of these bits wanted: over the jump itself is the answer, else over the answer.
        [vec![insn(JSET, WANTED, 0, 1, access), insn(JA, 0, 0, 2, 0)], answer(0).to_vec()].concat()
    };
    let length = tests.len() + decide.len();
    for (i, (register, value)) in tests.into_iter().enumerate() {
        // At most 7 instructions, so the distance fits.
        code.push(insn(JNE, register, 0, (length - i - 1) as i16, value));
    }
    code.extend(decide);
}

/// BPF_JMP | BPF_JA.
const JA: u8 = 0x05;

/// Loads what [`program`] made; see [`bpf::load_device_program`] for the errors.
pub fn load(program: &[BpfInsn]) -> nix::Result<OwnedFd> {
    bpf::load_device_program(program)
}

/// Attaches it to a cgroup beside existing programs (`BPF_F_ALLOW_MULTI`): access needs the consent of
/// all, so a manager's own program stays in force.
pub fn attach(cgroup_dir: BorrowedFd, prog: BorrowedFd) -> nix::Result<()> {
    bpf::attach_device_program(cgroup_dir, prog, None)
}

/// Puts `prog` in the place of the cgroup's present programs.
///
/// One program (the usual case) is exchanged in one step. Otherwise the new one is attached before
/// the old ones are taken off: for that moment both hold, never neither.
pub fn replace(cgroup_dir: BorrowedFd, prog: BorrowedFd) -> nix::Result<()> {
    let old = bpf::attached_device_programs(cgroup_dir)?;
    if let [one] = old.as_slice() {
        match bpf::attach_device_program(cgroup_dir, prog, Some(one.as_fd())) {
            // The program was attached without BPF_F_ALLOW_MULTI by someone else.
            Err(Errno::EINVAL | Errno::EPERM) => {}
            done => return done,
        }
    }
    attach(cgroup_dir, prog)?;
    for program in &old {
        bpf::detach_device_program(cgroup_dir, program.as_fd())?;
    }
    Ok(())
}

/// Whether the program of these rules is attached to the cgroup itself. The rules of an attached program cannot be read
/// back, so the program is loaded once more, and the kernel's hashes of both are compared.
pub fn is_enforced(cgroup_dir: BorrowedFd, rules: &[DeviceRule]) -> nix::Result<bool> {
    let wanted = bpf::tag(load(&program(rules))?.as_fd())?;
    for attached in bpf::attached_device_programs(cgroup_dir)? {
        if bpf::tag(attached.as_fd())? == wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A rule that cgroup v1 cannot express after those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inexpressible(pub DeviceRule);

impl std::fmt::Display for Inexpressible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verb = if self.0.allow { "allow" } else { "deny" };
        write!(
            f,
            "cgroup v1 cannot {verb} {:?} as an exception to a wider device rule",
            line(self.0.kind, &self.0)
        )
    }
}

impl std::error::Error for Inexpressible {}

/// `(file, line)` to write, in order, for cgroup v1. The first one makes everything denied (or allowed,
/// if a rule says so): a new cgroup starts as a copy of its parent.
///
/// v1 keeps one default and a flat list of exceptions to it, from which a line takes away only from the entry that
/// names the same device. So what is wider takes away from each entry within it; a hole in a wider exception is an
/// error.
pub fn v1_lines(rules: &[DeviceRule]) -> Result<Vec<(&'static str, String)>, Inexpressible> {
    let start = rules.iter().rposition(total);
    let default = start.is_some_and(|at| rules[at].allow);
    let mut lines = vec![(file(default), "a".to_owned())];
    let mut exceptions: Vec<DeviceRule> = Vec::new();
    for rule in &rules[start.map_or(0, |at| at + 1)..] {
        // The kernel takes "a" for everything, whatever numbers and access follow.
        let kinds: &[char] = if rule.kind == 'a' { &['b', 'c'] } else { &[rule.kind] };
        for rule in kinds.iter().map(|kind| DeviceRule { kind: *kind, ..*rule }) {
            if rule.allow == default {
                for entry in exceptions.iter_mut().filter(|e| overlap(e, &rule)) {
                    let taken = within(entry, &rule).ok_or(Inexpressible(rule))?;
                    if !same_device(entry, &rule) {
                        lines.push((file(rule.allow), line(rule.kind, &taken)));
                    }
                    take_away(entry, &rule);
                }
            } else {
                exceptions.push(rule);
            }
            lines.push((file(rule.allow), line(rule.kind, &rule)));
        }
    }
    Ok(lines)
}

fn file(allow: bool) -> &'static str {
    if allow { "devices.allow" } else { "devices.deny" }
}

/// `c 1:3 rwm`, `*` for any.
fn line(kind: char, rule: &DeviceRule) -> String {
    let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
    let letter = |on: bool, letter: &'static str| if on { letter } else { "" };
    let (r, w, m) = (letter(rule.read, "r"), letter(rule.write, "w"), letter(rule.mknod, "m"));
    format!("{kind} {}:{} {r}{w}{m}", number(rule.major), number(rule.minor))
}

/// Of what an entry is about, what a rule is about goes.
fn take_away(entry: &mut DeviceRule, rule: &DeviceRule) {
    entry.read &= !rule.read;
    entry.write &= !rule.write;
    entry.mknod &= !rule.mknod;
}

fn same_device(a: &DeviceRule, b: &DeviceRule) -> bool {
    (a.kind, a.major, a.minor) == (b.kind, b.major, b.minor)
}

/// What `rule` says of the device of `entry`; `None` where that is not all within it.
fn within(entry: &DeviceRule, rule: &DeviceRule) -> Option<DeviceRule> {
    let holds = |of: Option<u32>, n: Option<u32>| of.is_none() || of == n;
    let all = holds(rule.major, entry.major) && holds(rule.minor, entry.minor);
    let (read, write, mknod) =
        (entry.read && rule.read, entry.write && rule.write, entry.mknod && rule.mknod);
    all.then_some(DeviceRule { allow: rule.allow, read, write, mknod, ..*entry })
}

/// Whether some access to some device is in both; the kinds are `b` or `c`.
fn overlap(a: &DeviceRule, b: &DeviceRule) -> bool {
    let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    a.kind == b.kind && meet(a.major, b.major) && meet(a.minor, b.minor) && access(a) & access(b) != 0
}

#[cfg(test)]
mod tests;
