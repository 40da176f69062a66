//! Numbers of system calls that an old libseccomp does not know.
//!
//! A profile that names `fchmodat2` must have the same effect with every libseccomp. Otherwise an old library
//! would silently narrow an allow-list and widen a deny-list. The library's table is used first; this table
//! contains system calls added to Linux after libseccomp 2.5.4. Since Linux 5.1 a new system call has the
//! same number on every architecture, except for the fixed offsets of [`base`].

use libseccomp::{ScmpArch, ScmpSyscall};

/// The bit that marks x32 system calls of x86_64.
pub const X32_BIT: u32 = 0x4000_0000;

/// The architectures of a system call in the table.
enum Number {
    /// All architectures: this number plus the architecture's base.
    Common(u32),
    /// Only one architecture.
    Only(ScmpArch, u32),
}

use Number::{Common, Only};

/// `(name, number)` as in the kernel's `scripts/syscall.tbl` and `syscall_64.tbl`.
const NEWER: &[(&str, Number)] = &[
    ("uretprobe", Only(ScmpArch::X8664, 335)),
    ("uprobe", Only(ScmpArch::X8664, 336)),
    ("riscv_hwprobe", Only(ScmpArch::Riscv64, 258)),
    ("riscv_flush_icache", Only(ScmpArch::Riscv64, 259)),
    ("futex_waitv", Common(449)),
    ("set_mempolicy_home_node", Common(450)),
    ("cachestat", Common(451)),
    ("fchmodat2", Common(452)),
    ("map_shadow_stack", Common(453)),
    ("futex_wake", Common(454)),
    ("futex_wait", Common(455)),
    ("futex_requeue", Common(456)),
    ("statmount", Common(457)),
    ("listmount", Common(458)),
    ("lsm_get_self_attr", Common(459)),
    ("lsm_set_self_attr", Common(460)),
    ("lsm_list_modules", Common(461)),
    ("mseal", Common(462)),
    ("setxattrat", Common(463)),
    ("getxattrat", Common(464)),
    ("listxattrat", Common(465)),
    ("removexattrat", Common(466)),
    ("open_tree_attr", Common(467)),
    ("file_getattr", Common(468)),
    ("file_setattr", Common(469)),
];

/// The meaning of a name on one architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// libseccomp knows it under this number (negative: a pseudo number that it rewrites or skips).
    Library(i32),
    /// Only the table here knows it, under this number.
    Newer(u32),
    /// It exists, but not on this architecture.
    Elsewhere,
    /// Unknown in all tables.
    Unknown,
}

/// Looks up `name` on `arch`.
pub fn meaning(name: &str, arch: ScmpArch) -> Meaning {
    if let Ok(nr) = ScmpSyscall::from_name_by_arch(name, arch) {
        return Meaning::Library(nr.into());
    }
    match NEWER.iter().find(|(n, _)| *n == name) {
        Some((_, Common(nr))) => Meaning::Newer(base(arch) + nr),
        Some((_, Only(a, nr))) if *a == arch => Meaning::Newer(*nr),
        Some(_) => Meaning::Elsewhere,
        None => Meaning::Unknown,
    }
}

/// The number of `name` on `arch` from either table; `None` if it does not exist there.
pub fn number(name: &str, arch: ScmpArch) -> Option<u32> {
    match meaning(name, arch) {
        Meaning::Library(nr) => u32::try_from(nr).ok(),
        Meaning::Newer(nr) => Some(nr),
        Meaning::Elsewhere | Meaning::Unknown => None,
    }
}

/// The name of the system call number `nr` on `arch`.
pub fn name(nr: u32, arch: ScmpArch) -> Option<String> {
    let newer = || NEWER.iter().find(|(name, _)| number(name, arch) == Some(nr));
    let library = ScmpSyscall::from(i32::try_from(nr).ok()?).get_name_by_arch(arch).ok();
    library.or_else(|| newer().map(|(name, _)| (*name).to_string()))
}

/// The offset that an architecture adds to the common numbers.
fn base(arch: ScmpArch) -> u32 {
    match arch {
        ScmpArch::X32 => X32_BIT,
        ScmpArch::Mips | ScmpArch::Mipsel => 4000,
        ScmpArch::Mips64 | ScmpArch::Mipsel64 => 5000,
        ScmpArch::Mips64N32 | ScmpArch::Mipsel64N32 => 6000,
        _ => 0,
    }
}

/// The native architecture of this program.
pub fn native() -> ScmpArch {
    if cfg!(target_arch = "x86_64") {
        ScmpArch::X8664
    } else if cfg!(target_arch = "aarch64") {
        ScmpArch::Aarch64
    } else {
        ScmpArch::native()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_numbers_agree_with_the_library_where_both_know() {
        for (name, number) in NEWER {
            for arch in
                [ScmpArch::X8664, ScmpArch::Aarch64, ScmpArch::X32, ScmpArch::Mips64, ScmpArch::Riscv64]
            {
                let Ok(lib) = ScmpSyscall::from_name_by_arch(name, arch) else { continue };
                let ours = match number {
                    Common(nr) => base(arch) + nr,
                    Only(a, nr) if *a == arch => *nr,
                    Only(..) => continue,
                };
                let lib = i32::from(lib);
                assert!(lib < 0 || lib as u32 == ours, "{name} {arch:?}: {lib} {ours}");
            }
        }
    }

    #[test]
    fn names_resolve_on_both_architectures() {
        assert_eq!(number("fchmodat2", ScmpArch::X8664), Some(452));
        assert_eq!(number("fchmodat2", ScmpArch::Aarch64), Some(452));
        assert_eq!(number("fchmodat2", ScmpArch::X32), Some(X32_BIT + 452));
        assert_eq!(number("openat", ScmpArch::Aarch64), Some(56));
        assert_eq!(number("open", ScmpArch::Aarch64), None);
        for (nr, called) in [(452, "fchmodat2"), (469, "file_setattr"), (0, "read"), (425, "io_uring_setup")]
        {
            assert_eq!(name(nr, ScmpArch::X8664).as_deref(), Some(called));
        }
        assert_eq!(name(9999, ScmpArch::X8664), None);
        assert_eq!(meaning("uretprobe", ScmpArch::Aarch64), Meaning::Elsewhere);
        assert_eq!(meaning("frobnicate", ScmpArch::X8664), Meaning::Unknown);
    }
}
