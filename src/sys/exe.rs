//! Replaces the file behind /proc/PID/exe of this process with the same file on another mount.

use std::os::fd::RawFd;

use super::{Errno, SysResult, check};

unsafe extern "C" {
    /// The ELF header in memory; the linker defines it.
    static __ehdr_start: libc::Elf64_Ehdr;
}

/// Maps every segment of this program again from `file`, which is the same file, and sets the target of
/// /proc/PID/exe to it (prctl(2), `PR_SET_MM`). The kernel returns `EBUSY` while the old file is mapped
/// anywhere in the process, and `EPERM` if the process has neither `CAP_SYS_RESOURCE` nor `CAP_SYS_ADMIN`.
/// After an error the process continues unchanged.
///
/// Each segment is replaced in one system call by one with the same contents, so the running code continues.
pub fn exchange(file: RawFd) -> SysResult<()> {
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
    // Make the ranges read-only again that start-up made read-only (relocated tables).
    for h in headers.iter().filter(|h| h.p_type == libc::PT_GNU_RELRO) {
        let start = floor(base + h.p_vaddr as usize);
        let end = floor(base + (h.p_vaddr + h.p_memsz) as usize);
        // SAFETY: the C library protected the same range at start-up.
        check(unsafe { libc::mprotect(start as *mut _, end - start, libc::PROT_READ) }.into())?;
    }
    match set_mm(libc::PR_SET_MM_EXE_FILE, file as u64, 0) {
        Err(Errno::EPERM) => set_with_map(file),
        done => done,
    }
}

/// Releases the memory that a process does not need while it waits: free pages of the heap, and the pages of the program
/// that are never written to (malloc_trim(3), madvise(2)). The kernel maps the latter again on the next access, from the
/// page cache.
pub fn release_memory() {
    // SAFETY: only pages that the allocator has free are released.
    unsafe { libc::malloc_trim(0) };
    let Ok((base, headers)) = segments() else { return };
    for h in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0) {
        let (start, end) = (ceil(base + h.p_vaddr as usize), floor(base + (h.p_vaddr + h.p_filesz) as usize));
        if start < end {
            // SAFETY: the range is a private mapping of the program's file that nothing has written to, so each page has
            // the same contents again. An error leaves the memory mapped, which is harmless.
            unsafe { libc::madvise(start as *mut _, end - start, libc::MADV_DONTNEED) };
        }
    }
}

fn set_mm(what: i32, arg: u64, size: usize) -> SysResult<()> {
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

/// Sets the file with `PR_SET_MM_MAP`, which needs only `CAP_SYS_ADMIN`. That call also sets the addresses of
/// code, heap and arguments; they are set to the values in /proc/self/stat (proc_pid_stat(5)).
fn set_with_map(file: RawFd) -> SysResult<()> {
    let text = super::read::value("/proc/self/stat").map_err(|_| Errno::EPERM)?;
    let after_name = text.rfind(')').and_then(|at| text.get(at + 1..)).unwrap_or_default();
    let fields: Vec<u64> = after_name.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
    // The first entry of `fields` is field 3 of proc_pid_stat(5).
    let field = |number: usize| fields.get(number - 3).copied().ok_or(Errno::EPERM);
    // SAFETY: for an invalid address brk(2) only returns the current break.
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
        // 0 leaves the auxiliary vector unchanged.
        auxv: 0,
        auxv_size: 0,
        exe_fd: file as u32,
    };
    set_mm(libc::PR_SET_MM_MAP, std::ptr::from_ref(&map) as u64, std::mem::size_of::<MemoryMap>())
}

/// The start address of the program, and its program headers.
fn segments() -> SysResult<(usize, &'static [libc::Elf64_Phdr])> {
    // SAFETY: the ELF header is mapped for the life of the process and holds the offset of the program
    // headers. Both are in the first segment (ld(1) places them there, and the kernel reads them there).
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

/// Maps a segment that is never written to.
fn map_anew(file: RawFd, start: usize, len: usize, offset: usize, prot: i32) -> SysResult<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
    // SAFETY: the range is a segment of this program, which the kernel mapped from the same offset of the
    // same file with the same protection: the new mapping has the same bytes.
    let at = unsafe { libc::mmap(start as *mut _, len, prot, flags, file, offset as i64) };
    if at == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(()) }
}

/// Maps a data segment: prepared at another address, then moved to its place. Nothing may write to the
/// program's data meanwhile. This holds: the process has one thread, and this function has its variables on
/// the stack.
fn move_data(file: RawFd, start: usize, len: usize, offset: usize) -> SysResult<()> {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new private mapping at an address that the kernel chooses.
    let new = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, libc::MAP_PRIVATE, file, offset as i64) };
    if new == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    for page in (0..len).step_by(PAGE) {
        // SAFETY: both pages are mapped and readable, and the new one is writable. Pages that are equal to
        // the file's are not written to, so they stay in the page cache.
        unsafe {
            let (from, to) = ((start + page) as *const u8, new.cast::<u8>().add(page));
            if libc::memcmp(from.cast(), to.cast(), PAGE) != 0 {
                std::ptr::copy_nonoverlapping(from, to, PAGE);
            }
        }
    }
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: this function owns the moved mapping, and the replaced mapping has the same contents.
    let at = unsafe { libc::mremap(new, len, len, flags, start as *mut libc::c_void) };
    if at == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(()) }
}

/// Segments are aligned to at least this on every machine.
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
