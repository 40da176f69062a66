//! Interface to libseccomp: collects unconditional and conditional rules per architecture and compiles them
//! to BPF.

use libc::sock_filter;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{Read, Seek};

use super::bpf::{CompareOp, Cond};

/// With fewer rules than this, a chain of comparisons is as fast as a binary tree, and shorter.
const TREE_FROM: usize = 8;

/// Every architecture that libseccomp and the OCI specification know: OCI name, libseccomp's value, kernel's
/// number.
pub const ARCHS: &[(&str, ScmpArch, u32)] = &[
    ("SCMP_ARCH_X86", ScmpArch::X86, 0x4000_0003),
    ("SCMP_ARCH_X86_64", ScmpArch::X8664, 0xc000_003e),
    // The kernel distinguishes x32 from x86_64 only by a bit in the system call number.
    ("SCMP_ARCH_X32", ScmpArch::X32, 0xc000_003e),
    ("SCMP_ARCH_ARM", ScmpArch::Arm, 0x4000_0028),
    ("SCMP_ARCH_AARCH64", ScmpArch::Aarch64, 0xc000_00b7),
    ("SCMP_ARCH_MIPS", ScmpArch::Mips, 0x0000_0008),
    ("SCMP_ARCH_MIPS64", ScmpArch::Mips64, 0x8000_0008),
    ("SCMP_ARCH_MIPS64N32", ScmpArch::Mips64N32, 0xa000_0008),
    ("SCMP_ARCH_MIPSEL", ScmpArch::Mipsel, 0x4000_0008),
    ("SCMP_ARCH_MIPSEL64", ScmpArch::Mipsel64, 0xc000_0008),
    ("SCMP_ARCH_MIPSEL64N32", ScmpArch::Mipsel64N32, 0xe000_0008),
    ("SCMP_ARCH_PPC", ScmpArch::Ppc, 0x0000_0014),
    ("SCMP_ARCH_PPC64", ScmpArch::Ppc64, 0x8000_0015),
    ("SCMP_ARCH_PPC64LE", ScmpArch::Ppc64Le, 0xc000_0015),
    ("SCMP_ARCH_S390", ScmpArch::S390, 0x0000_0016),
    ("SCMP_ARCH_S390X", ScmpArch::S390X, 0x8000_0016),
    ("SCMP_ARCH_PARISC", ScmpArch::Parisc, 0x0000_000f),
    ("SCMP_ARCH_PARISC64", ScmpArch::Parisc64, 0x8000_000f),
    ("SCMP_ARCH_RISCV64", ScmpArch::Riscv64, 0xc000_00f3),
    ("SCMP_ARCH_LOONGARCH64", ScmpArch::Loongarch64, 0xc000_0102),
    ("SCMP_ARCH_M68K", ScmpArch::M68k, 0x0000_0004),
    ("SCMP_ARCH_SH", ScmpArch::Sh, 0x4000_002a),
    ("SCMP_ARCH_SHEB", ScmpArch::Sheb, 0x0000_002a),
];

/// The kernel's number (`AUDIT_ARCH_*`) of an architecture.
pub fn audit_arch(arch: ScmpArch) -> Option<u32> {
    ARCHS.iter().find(|(_, a, _)| *a == arch).map(|(_, _, audit)| *audit)
}

/// A filter under construction.
pub struct Library {
    context: ScmpFilterContext,
    rules: usize,
}

impl Library {
    /// A filter for the native architecture with the default action `default`.
    pub fn new(default: ScmpAction) -> Result<Self, String> {
        let mut context = ScmpFilterContext::new(default).map_err(text)?;
        // no_new_privs is a row of the plan, not a side effect of loading a filter.
        context.set_ctl_nnp(false).map_err(text)?;
        Ok(Self { context, rules: 0 })
    }

    /// Sets the action for system calls of architectures that were not added.
    pub fn bad_arch(&mut self, action: ScmpAction) -> Result<(), String> {
        self.context.set_act_badarch(action).map_err(text).map(drop)
    }

    /// Adds another architecture, to which the same rules apply.
    pub fn arch(&mut self, arch: ScmpArch) -> Result<(), String> {
        self.context.add_arch(arch).map_err(text).map(drop)
    }

    /// Adds a rule: `action` for the (native or pseudo) number `nr` if all of `when` hold.
    pub fn rule(&mut self, action: ScmpAction, nr: i32, when: &[Cond]) -> Result<(), String> {
        let compare: Vec<ScmpArgCompare> = when.iter().map(comparator).collect();
        self.context.add_rule_conditional(action, nr, &compare).map_err(text)?;
        self.rules += 1;
        Ok(())
    }

    /// Exports the program.
    pub fn export(mut self) -> Result<Vec<sock_filter>, String> {
        if self.rules > TREE_FROM {
            // libseccomp before 2.5 does not know the attribute; only speed is lost.
            if self.context.set_ctl_optimize(2).is_err() {
                self.context.set_ctl_optimize(1).map_err(text)?;
            }
        }
        // seccomp_export_bpf_mem(3) needs libseccomp 2.6; a memfd works with every version.
        let fd = memfd_create(c"safebox-seccomp", MFdFlags::MFD_CLOEXEC).map_err(text)?;
        self.context.export_bpf(&fd).map_err(text)?;
        let mut file = File::from(fd);
        let mut bytes = Vec::new();
        file.rewind().map_err(text)?;
        file.read_to_end(&mut bytes).map_err(text)?;
        decode(&bytes).ok_or_else(|| "libseccomp exported half an instruction".to_owned())
    }
}

fn text(error: impl std::fmt::Display) -> String {
    format!("libseccomp: {error}")
}

fn comparator(cond: &Cond) -> ScmpArgCompare {
    let op = match cond.op {
        CompareOp::Ne => ScmpCompareOp::NotEqual,
        CompareOp::Lt => ScmpCompareOp::Less,
        CompareOp::Le => ScmpCompareOp::LessOrEqual,
        CompareOp::Eq => ScmpCompareOp::Equal,
        CompareOp::Ge => ScmpCompareOp::GreaterEqual,
        CompareOp::Gt => ScmpCompareOp::Greater,
        CompareOp::MaskedEq => ScmpCompareOp::MaskedEqual(cond.mask),
    };
    ScmpArgCompare::new(u32::from(cond.arg), op, cond.value)
}

/// `struct sock_filter`s from their bytes; `None` when the length is not a multiple of 8.
pub fn decode(bytes: &[u8]) -> Option<Vec<sock_filter>> {
    let (chunks, []) = bytes.as_chunks::<8>() else { return None };
    let one = |b: &[u8; 8]| sock_filter {
        code: u16::from_ne_bytes([b[0], b[1]]),
        jt: b[2],
        jf: b[3],
        k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
    };
    Some(chunks.iter().map(one).collect())
}

/// The bytes of `struct sock_filter`s.
pub fn encode(program: &[sock_filter]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for insn in program {
        bytes.extend_from_slice(&insn.code.to_ne_bytes());
        bytes.extend_from_slice(&[insn.jt, insn.jf]);
        bytes.extend_from_slice(&insn.k.to_ne_bytes());
    }
    bytes
}
