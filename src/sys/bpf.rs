//! bpf(2): the commands that cgroup device programs need.

use libc::{c_int, c_long, c_uint};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `struct bpf_insn` of linux/bpf.h: one instruction of extended BPF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct BpfInsn {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four (on little endian).
    pub regs: u8,
    /// Jump distance or memory offset.
    pub off: i16,
    /// Constant.
    pub imm: i32,
}

const PROG_LOAD: c_int = 5;
const PROG_ATTACH: c_int = 8;
const PROG_DETACH: c_int = 9;
const PROG_GET_FD_BY_ID: c_int = 13;
const OBJ_GET_INFO_BY_FD: c_int = 15;
const PROG_QUERY: c_int = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;

/// Number of attempts to load a program when a signal interrupts the verifier.
const LOAD_TRIES: u32 = 10;

/// The attributes of each command: the first fields of its part of `union bpf_attr`. The kernel accepts a
/// shorter union than its own and reads the rest as zero.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    /// Explicit, so that no byte the kernel reads is uninitialised.
    padding: u32,
}

#[repr(C)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The first fields of `struct bpf_prog_info`.
#[repr(C)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
}

/// Loads a `BPF_PROG_TYPE_CGROUP_DEVICE` program. `EPERM` without `CAP_BPF` (or `CAP_SYS_ADMIN`), `EINVAL`
/// or `EACCES` when the verifier refuses it, `EINVAL` too on a kernel without `CONFIG_CGROUP_BPF`.
pub fn load_device_program(program: &[BpfInsn]) -> nix::Result<OwnedFd> {
    let license = c"Apache-2.0";
    let mut prog_name = [0; 16];
    prog_name[..15].copy_from_slice(b"safebox_devices");
    let mut attr = LoadAttr {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
        prog_ifindex: 0,
        expected_attach_type: ATTACH_CGROUP_DEVICE,
    };
    // The verifier gives up with EAGAIN when a signal is pending; the SIGCHLD of an ended child is enough.
    // The next attempt can succeed without a signal handler. The number of attempts is bounded, as in libbpf.
    let mut tries = LOAD_TRIES;
    let fd = loop {
        tries -= 1;
        // SAFETY: `insns` and `license` point at memory that outlives the call, with the length given
        // and a final NUL; the kernel only reads them.
        match unsafe { bpf(PROG_LOAD, &mut attr) } {
            Err(Errno::EAGAIN) if tries > 0 => {}
            done => break done?,
        }
    };
    // SAFETY: a successful PROG_LOAD returns a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a program to a cgroup next to the attached ones. The kernel allows an access only if all programs
/// allow it. `replace` is an attached program: the kernel exchanges the two in one operation.
pub fn attach_device_program(
    cgroup: BorrowedFd,
    program: BorrowedFd,
    replace: Option<BorrowedFd>,
) -> nix::Result<()> {
    let mut attr = AttachAttr {
        target_fd: number(cgroup),
        attach_bpf_fd: number(program),
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: F_ALLOW_MULTI | if replace.is_some() { F_REPLACE } else { 0 },
        replace_bpf_fd: replace.map_or(0, number),
    };
    // SAFETY: the attributes hold numbers only.
    unsafe { bpf(PROG_ATTACH, &mut attr) }.map(drop)
}

/// Detaches one program from a cgroup.
pub fn detach_device_program(cgroup: BorrowedFd, program: BorrowedFd) -> nix::Result<()> {
    let mut attr = AttachAttr {
        target_fd: number(cgroup),
        attach_bpf_fd: number(program),
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: 0,
        replace_bpf_fd: 0,
    };
    // SAFETY: the attributes hold numbers only.
    unsafe { bpf(PROG_DETACH, &mut attr) }.map(drop)
}

/// The device programs attached to this cgroup (not to its ancestors), oldest first.
pub fn attached_device_programs(cgroup: BorrowedFd) -> nix::Result<Vec<OwnedFd>> {
    // 64 is the kernel's own limit for one cgroup (BPF_CGROUP_MAX_PROGS).
    let mut ids = [0u32; 64];
    let mut attr = QueryAttr {
        target_fd: number(cgroup),
        attach_type: ATTACH_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: ids.len() as u32,
        padding: 0,
    };
    // SAFETY: the kernel writes at most `prog_cnt` ids through `prog_ids`, which points at that many
    // and outlives the call, and writes the count back into the attributes.
    unsafe { bpf(PROG_QUERY, &mut attr) }?;
    let count = (attr.prog_cnt as usize).min(ids.len());
    ids[..count].iter().map(|id| program_by_id(*id)).collect()
}

/// The kernel's hash of a program's instructions as they were loaded. How it is computed differs between kernels, so it
/// is compared with that of a program that was loaded on the same one.
pub fn tag(program: BorrowedFd) -> nix::Result<[u8; 8]> {
    let mut info = ProgramInfo { kind: 0, id: 0, tag: [0; 8] };
    let mut attr = InfoAttr {
        bpf_fd: number(program),
        info_len: size_of::<ProgramInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: `info` is writable for `info_len` bytes and outlives the call.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info.tag)
}

fn program_by_id(id: u32) -> nix::Result<OwnedFd> {
    let mut attr = IdAttr { id, next_id: 0, open_flags: 0 };
    // SAFETY: the attributes hold numbers only.
    let fd = unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr) }?;
    // SAFETY: a successful GET_FD_BY_ID returns a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: BorrowedFd) -> u32 {
    // A borrowed descriptor is open, so not negative.
    fd.as_raw_fd() as u32
}

/// bpf(2); its descriptors are close-on-exec.
///
/// # Safety
/// Every pointer that `attr` holds as a number must be valid for what `command` does with it, and `T`
/// must be the layout of that command without uninitialised padding.
unsafe fn bpf<T>(command: c_int, attr: &mut T) -> nix::Result<RawFd> {
    // SAFETY: `attr` is valid for reads and writes of its size; the caller guarantees that its pointers are
    // valid.
    let ret: c_long =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>() as c_uint) };
    // These commands return a descriptor or zero.
    Errno::result(ret).map(|fd| fd as RawFd)
}
