//! A small assembler for classic BPF, and the *prologue*: instructions before the program that libseccomp
//! exports.
//!
//! BPF jumps are relative, so a program can be prefixed with another that falls through to it. The prologue
//! does what libseccomp cannot express: "all ioctl requests but these two, with exact errnos" (libseccomp's
//! rules of one system call have no order, and an unconditional rule erases the others), system calls newer
//! than the library, and ENOSYS for system calls newer than the profile. The prologue checks the architecture
//! only to find its section; libseccomp's program refuses an unknown architecture.

use super::numbers::X32_BIT;
use libc::sock_filter;

/// The kernel's limit (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

// Opcodes of linux/filter.h that seccomp uses.
pub(super) const LD_ABS: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
pub(super) const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
pub(super) const JA: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
pub(super) const JEQ: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
pub(super) const JGT: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
pub(super) const JGE: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
pub(super) const JSET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
pub(super) const RET: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Comparison operator for an argument. All 64 bits are compared unless a mask is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CompareOp {
    Ne,
    Lt,
    Le,
    Eq,
    Ge,
    Gt,
    MaskedEq,
}

/// A comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cond {
    /// Index of the argument, 0..=5.
    pub arg: u8,
    /// Operator.
    pub op: CompareOp,
    /// For [`CompareOp::MaskedEq`]: the mask.
    pub mask: u64,
    /// The value to compare with.
    pub value: u64,
}

/// Result for a system call if all conditions hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BpfVerdict {
    /// Ends the filter with this `SECCOMP_RET_*` value.
    Return(u32),
    /// Continues with libseccomp's program.
    Pass,
}

/// Conditions, and the verdict if all of them hold.
#[derive(Debug, Clone)]
pub struct BpfCheck {
    /// Empty: always true.
    pub when: Vec<Cond>,
    /// The verdict.
    pub verdict: BpfVerdict,
}

/// System calls with higher numbers get `ENOSYS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// The highest native number of the profile.
    pub native: u32,
    /// The highest x32 number, with the x32 bit; `None`: libseccomp's program decides about x32.
    pub x32: Option<u32>,
}

/// The section of the prologue for one architecture.
#[derive(Debug, Clone, Default)]
pub struct Section {
    /// `AUDIT_ARCH_*`.
    pub audit_arch: u32,
    /// Checks by system call number. The first check that holds decides; if none holds, libseccomp's program
    /// decides.
    pub checks: Vec<(u32, Vec<BpfCheck>)>,
    /// `None`: no upper limit.
    pub newest: Option<Newest>,
}

/// Target of a jump: the next instruction, or a label.
#[derive(Debug, Clone, Copy)]
enum JumpTarget {
    Next,
    Label(usize),
}

struct BpfDraft {
    code: u16,
    k: u32,
    yes: JumpTarget,
    no: JumpTarget,
}

/// Instructions with forward labels.
#[derive(Default)]
struct Assembler {
    drafts: Vec<BpfDraft>,
    labels: Vec<usize>,
}

impl Assembler {
    fn push(&mut self, code: u16, k: u32) {
        self.drafts.push(BpfDraft { code, k, yes: JumpTarget::Next, no: JumpTarget::Next });
    }

    fn jump(&mut self, code: u16, k: u32, yes: JumpTarget, no: JumpTarget) {
        self.drafts.push(BpfDraft { code, k, yes, no });
    }

    /// An unconditional jump. Its distance is not limited to 255.
    fn goto(&mut self, label: usize) {
        self.drafts.push(BpfDraft { code: JA, k: 0, yes: JumpTarget::Label(label), no: JumpTarget::Next });
    }

    fn label(&mut self) -> usize {
        self.labels.push(usize::MAX);
        self.labels.len() - 1
    }

    /// Binds the label to the next instruction.
    fn place(&mut self, label: usize) {
        self.labels[label] = self.drafts.len();
    }

    /// Continues if the loaded word equals `k`, else jumps to `label` at any distance.
    fn unless_equal(&mut self, k: u32, label: usize) {
        let equal = self.label();
        self.jump(JEQ, k, JumpTarget::Label(equal), JumpTarget::Next);
        self.goto(label);
        self.place(equal);
    }

    fn finish(self) -> Result<Vec<sock_filter>, String> {
        let distance = |at: usize, to: JumpTarget| match to {
            JumpTarget::Next => Some(0),
            JumpTarget::Label(l) => self.labels[l].checked_sub(at + 1),
        };
        let mut out = Vec::with_capacity(self.drafts.len());
        for (at, d) in self.drafts.iter().enumerate() {
            let far = || format!("seccomp prologue: instruction {at} jumps too far");
            let yes = distance(at, d.yes).ok_or_else(far)?;
            let no = distance(at, d.no).ok_or_else(far)?;
            let insn = if d.code == JA {
                sock_filter { code: JA, jt: 0, jf: 0, k: u32::try_from(yes).map_err(|_| far())? }
            } else {
                let jt = u8::try_from(yes).map_err(|_| far())?;
                let jf = u8::try_from(no).map_err(|_| far())?;
                sock_filter { code: d.code, jt, jf, k: d.k }
            };
            out.push(insn);
        }
        Ok(out)
    }
}

/// Offset of the low 32 bits of an argument.
fn low(arg: u8) -> u32 {
    ARGS + 8 * u32::from(arg) + if cfg!(target_endian = "big") { 4 } else { 0 }
}

/// Offset of the high 32 bits of an argument.
fn high(arg: u8) -> u32 {
    ARGS + 8 * u32::from(arg) + if cfg!(target_endian = "big") { 0 } else { 4 }
}

/// Continues if the condition holds, else jumps to `fail`.
fn condition(asm: &mut Assembler, cond: &Cond, fail: usize) {
    let (hi, lo) = ((cond.value >> 32) as u32, cond.value as u32);
    let (fail, holds) = (JumpTarget::Label(fail), asm.label());
    // The high halves decide most comparisons, unless they are equal.
    let compare = |asm: &mut Assembler,
                   above: JumpTarget,
                   below: JumpTarget,
                   code: u16,
                   yes: JumpTarget,
                   no: JumpTarget| {
        asm.push(LD_ABS, high(cond.arg));
        asm.jump(JGT, hi, above, JumpTarget::Next);
        asm.jump(JEQ, hi, JumpTarget::Next, below);
        asm.push(LD_ABS, low(cond.arg));
        asm.jump(code, lo, yes, no);
    };
    let ok = JumpTarget::Label(holds);
    match cond.op {
        CompareOp::Eq => compare(asm, fail, fail, JEQ, JumpTarget::Next, fail),
        CompareOp::Ne => compare(asm, ok, ok, JEQ, fail, JumpTarget::Next),
        CompareOp::Gt => compare(asm, ok, fail, JGT, JumpTarget::Next, fail),
        CompareOp::Ge => compare(asm, ok, fail, JGE, JumpTarget::Next, fail),
        CompareOp::Lt => compare(asm, fail, ok, JGE, fail, JumpTarget::Next),
        CompareOp::Le => compare(asm, fail, ok, JGT, fail, JumpTarget::Next),
        CompareOp::MaskedEq => {
            let want = cond.value & cond.mask;
            masked(asm, high(cond.arg), (cond.mask >> 32) as u32, (want >> 32) as u32, fail);
            masked(asm, low(cond.arg), cond.mask as u32, want as u32, fail);
        }
    }
    asm.place(holds);
}

/// One half of a masked comparison. If the mask has no bit in it, the half is skipped.
fn masked(asm: &mut Assembler, offset: u32, mask: u32, want: u32, fail: JumpTarget) {
    if mask == 0 {
        return;
    }
    asm.push(LD_ABS, offset);
    if mask != u32::MAX {
        asm.push(AND, mask);
    }
    asm.jump(JEQ, want, JumpTarget::Next, fail);
}

/// All checks of one system call. Its number is loaded; another number jumps to `other`.
fn checks(asm: &mut Assembler, nr: u32, checks: &[BpfCheck], other: usize, pass: usize) {
    asm.unless_equal(nr, other);
    for check in checks {
        let fail = asm.label();
        for cond in &check.when {
            condition(asm, cond, fail);
        }
        match check.verdict {
            BpfVerdict::Return(value) => asm.push(RET, value),
            BpfVerdict::Pass => asm.goto(pass),
        }
        asm.place(fail);
        if check.when.is_empty() {
            // Checks after an unconditional one are unreachable.
            return;
        }
    }
    asm.goto(pass);
}

/// ENOSYS for numbers above the profile's newest. The number is loaded.
fn newest(asm: &mut Assembler, newest: Newest, audit_arch: u32, enosys: u32) {
    let end = asm.label();
    let refuse = asm.label();
    if audit_arch == AUDIT_ARCH_X86_64 {
        let native = asm.label();
        asm.jump(JGE, X32_BIT, JumpTarget::Next, JumpTarget::Label(native));
        match newest.x32 {
            Some(x32) => asm.jump(JGT, x32, JumpTarget::Label(refuse), JumpTarget::Label(end)),
            None => asm.goto(end),
        }
        asm.place(native);
    }
    asm.jump(JGT, newest.native, JumpTarget::Label(refuse), JumpTarget::Label(end));
    asm.place(refuse);
    asm.push(RET, enosys);
    asm.place(end);
}

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// The prologue of `sections`. It falls through to the program that is appended to it.
///
/// Error if a part of it exceeds BPF's jump distance. That needs a rule with far more conditions than a
/// system call has arguments.
pub fn prologue(sections: &[Section]) -> Result<Vec<sock_filter>, String> {
    let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let mut asm = Assembler::default();
    let pass = asm.label();
    for section in sections.iter().filter(|s| !s.checks.is_empty() || s.newest.is_some()) {
        let next_section = asm.label();
        asm.push(LD_ABS, ARCH);
        asm.unless_equal(section.audit_arch, next_section);
        asm.push(LD_ABS, NR);
        for (nr, list) in &section.checks {
            let other = asm.label();
            checks(&mut asm, *nr, list, other, pass);
            asm.place(other);
        }
        if let Some(n) = section.newest {
            newest(&mut asm, n, section.audit_arch, enosys);
        }
        asm.goto(pass);
        asm.place(next_section);
    }
    asm.place(pass);
    asm.finish()
}

/// Checks what the kernel's own checker checks: known instructions, loads within `struct seccomp_data`, jumps
/// within the program, a return at the end, at most 4096 instructions.
pub fn check(program: &[sock_filter]) -> Result<(), String> {
    if program.is_empty() || program.len() > MAX_INSTRUCTIONS {
        return Err(format!(
            "the seccomp filter has {} instructions, the kernel takes 1 to {MAX_INSTRUCTIONS}",
            program.len()
        ));
    }
    for (at, insn) in program.iter().enumerate() {
        let rest = program.len() - at - 1;
        let sound = match insn.code {
            LD_ABS => insn.k < 64 && insn.k % 4 == 0,
            AND | RET => true,
            JA => (insn.k as usize) < rest,
            JEQ | JGT | JGE | JSET => usize::from(insn.jt.max(insn.jf)) < rest,
            _ => false,
        };
        if !sound {
            return Err(format!(
                "the seccomp filter's instruction {at} (code {:#x}) is not sound",
                insn.code
            ));
        }
    }
    match program.last() {
        Some(last) if last.code == RET => Ok(()),
        _ => Err("the seccomp filter does not end with a return".to_owned()),
    }
}
/// Runs the program in a small interpreter and returns the kernel's verdict for this call. `None` for an
/// instruction that no filter of this crate contains.
pub fn run(program: &[sock_filter], arch: u32, nr: u32, args: [u64; 6]) -> Option<u32> {
    let mut data = Vec::from(nr.to_ne_bytes());
    data.extend(arch.to_ne_bytes());
    data.extend([0; 8]);
    args.iter().for_each(|a| data.extend(a.to_ne_bytes()));
    let (mut a, mut pc) = (0u32, 0usize);
    loop {
        let i = program.get(pc)?;
        pc += 1;
        let jump = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
        match i.code {
            LD_ABS => {
                let word = data.get(i.k as usize..)?.first_chunk::<4>()?;
                a = u32::from_ne_bytes(*word);
            }
            AND => a &= i.k,
            JA => pc += i.k as usize,
            JEQ => pc += jump(a == i.k),
            JGT => pc += jump(a > i.k),
            JGE => pc += jump(a >= i.k),
            JSET => pc += jump(a & i.k != 0),
            RET => return Some(i.k),
            _ => return None,
        }
    }
}
