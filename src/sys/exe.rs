//! The file that this process executes, as /proc/PID/exe shows it: exchanged for the same file on another mount.

use std::os::fd::RawFd;

use super::{Errno, Result, check};

unsafe extern "C" {
    /// The ELF header in memory; the linker defines it.
    static __ehdr_start: libc::Elf64_Ehdr;
}

/// Maps every segment of this program anew from `file`, which is the same file, and makes it what /proc/PID/exe leads
/// to (prctl(2), `PR_SET_MM`). The kernel refuses that with `EBUSY` while anything of the old one is mapped, and with
/// `EPERM` to a process that has neither `CAP_SYS_RESOURCE` nor `CAP_SYS_ADMIN`. After an error the process goes on as
/// it was.
///
/// Each segment is replaced in one system call by one with the same contents, so the code that does it goes on.
pub fn exchange(file: RawFd) -> Result<()> {
    let (base, headers) = segments()?;
    for h in headers.iter().filter(|h| h.p_type == libc::PT_LOAD) {
        let start = floor(base + h.p_vaddr as usize);
        let end = ceil(base + (h.p_vaddr + h.p_filesz) as usize);
        let offset = floor(h.p_offset as usize);
        if h.p_flags & libc::PF_W == 0 {
            map_anew(file, start, end - start, offset, protection(h.p_flags))?;
        } else {
            move_data(file, start, end - start, offset)?;
        }
    }
    // What start-up has made read-only (relocated tables) becomes so again.
    for h in headers.iter().filter(|h| h.p_type == libc::PT_GNU_RELRO) {
        let start = floor(base + h.p_vaddr as usize);
        let end = floor(base + (h.p_vaddr + h.p_memsz) as usize);
        // SAFETY: the C library has protected the same range at start-up.
        check(unsafe { libc::mprotect(start as *mut _, end - start, libc::PROT_READ) }.into())?;
    }
    match set_mm(libc::PR_SET_MM_EXE_FILE, file as u64, 0) {
        Err(Errno::EPERM) => set_with_map(file),
        done => done,
    }
}

fn set_mm(what: i32, arg: u64, size: usize) -> Result<()> {
    // SAFETY: PR_SET_MM_EXE_FILE takes a descriptor, PR_SET_MM_MAP a MemoryMap that outlives the call, and its size.
    check(unsafe { libc::prctl(libc::PR_SET_MM, what as u64, arg, size, 0u64) }.into()).map(drop)
}

/// `struct prctl_mm_map` of linux/prctl.h.
#[repr(C)]
struct MemoryMap {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: u64,
    auxv_size: u32,
    exe_fd: u32,
}

/// The other way to name the file (`PR_SET_MM_MAP`, for `CAP_SYS_ADMIN`) sets where code, heap and arguments lie, too:
/// to what /proc/self/stat says that they are (proc_pid_stat(5)).
fn set_with_map(file: RawFd) -> Result<()> {
    let text = super::read::value("/proc/self/stat").map_err(|_| Errno::EPERM)?;
    let after_name = text.rfind(')').and_then(|at| text.get(at + 1..)).unwrap_or_default();
    let fields: Vec<u64> = after_name.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
    // The first is the third of the manual.
    let field = |number: usize| fields.get(number - 3).copied().ok_or(Errno::EPERM);
    // SAFETY: with an address that cannot be brk(2) only tells the break.
    let brk = unsafe { libc::syscall(libc::SYS_brk, 0) };
    let map = MemoryMap {
        start_code: field(26)?,
        end_code: field(27)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        brk: brk as u64,
        start_stack: field(28)?,
        arg_start: field(48)?,
        arg_end: field(49)?,
        env_start: field(50)?,
        env_end: field(51)?,
        // As it is.
        auxv: 0,
        auxv_size: 0,
        exe_fd: file as u32,
    };
    set_mm(libc::PR_SET_MM_MAP, std::ptr::from_ref(&map) as u64, std::mem::size_of::<MemoryMap>())
}

/// Where the program lies, and its program headers.
fn segments() -> Result<(usize, &'static [libc::Elf64_Phdr])> {
    // SAFETY: the header is mapped for as long as the process lives, and tells where the program headers are; both are
    // in the first segment (ld(1) lays them out so, and the kernel reads them there).
    let (start, headers) = unsafe {
        let header = &__ehdr_start;
        let start = std::ptr::from_ref(header) as usize;
        let table = (start + header.e_phoff as usize) as *const libc::Elf64_Phdr;
        (start, std::slice::from_raw_parts(table, header.e_phnum.into()))
    };
    let first = headers.iter().find(|h| h.p_type == libc::PT_LOAD && h.p_offset == 0);
    let base = first.and_then(|h| start.checked_sub(h.p_vaddr as usize)).ok_or(Errno::ENOEXEC)?;
    Ok((base, headers))
}

/// A segment that nothing writes to.
fn map_anew(file: RawFd, start: usize, len: usize, offset: usize, prot: i32) -> Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
    // SAFETY: the range is a segment of this program, which the kernel has mapped from the same place of the same file
    // with the same protection: the new mapping has the same bytes.
    let at = unsafe { libc::mmap(start as *mut _, len, prot, flags, file, offset as i64) };
    if at == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(()) }
}

/// A segment with data: prepared elsewhere, then moved to its place. Nothing may write to the program's data meanwhile,
/// and nothing does: the process has one thread, and this function has its variables on the stack.
fn move_data(file: RawFd, start: usize, len: usize, offset: usize) -> Result<()> {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new private mapping at a place of the kernel's choice.
    let new = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, libc::MAP_PRIVATE, file, offset as i64) };
    if new == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    for page in (0..len).step_by(PAGE) {
        // SAFETY: both pages are mapped and readable, and the new one is writable; pages that are as the file has them
        // are not touched, so they stay the page cache's.
        unsafe {
            let (from, to) = ((start + page) as *const u8, new.cast::<u8>().add(page));
            if libc::memcmp(from.cast(), to.cast(), PAGE) != 0 {
                std::ptr::copy_nonoverlapping(from, to, PAGE);
            }
        }
    }
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: the mapping that is moved is this function's own; what it replaces has the same contents.
    let at = unsafe { libc::mremap(new, len, len, flags, start as *mut libc::c_void) };
    if at == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(()) }
}

/// Segments are aligned to more than this on some machines, never to less.
const PAGE: usize = 4096;

fn floor(address: usize) -> usize {
    address / PAGE * PAGE
}

fn ceil(address: usize) -> usize {
    floor(address + PAGE - 1)
}

fn protection(flags: u32) -> i32 {
    let bit = |flag, prot| if flags & flag != 0 { prot } else { 0 };
    bit(libc::PF_R, libc::PROT_READ) | bit(libc::PF_W, libc::PROT_WRITE) | bit(libc::PF_X, libc::PROT_EXEC)
}
