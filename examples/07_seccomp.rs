//! Lesson 7: a seccomp filter is a small program that judges each system call of a process (seccomp(2)).
//!
//! `cd examples && cargo run -q --bin 07_seccomp` (any user)

use std::error::Error;
use std::process::Command;

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter, sock_fprog};
use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS};

/// One instruction: operation, jump distances for true and false, constant.
const fn bpf(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

// linux/audit.h: the meaning of a system call number depends on the architecture.
const ARCH: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

// The filter reads struct seccomp_data: the number at offset 0, the architecture at 4, the arguments from 16 on.
const FILTER: [sock_filter; 7] = [
    bpf(BPF_LD | BPF_W | BPF_ABS, 0, 0, 4),
    bpf(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, ARCH),
    bpf(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS),
    bpf(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0),
    bpf(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, libc::SYS_uname as u32),
    bpf(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | libc::EPERM as u32),
    bpf(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("before: uname(2) {}", uname());
    let mut filter = FILTER;
    for (i, ins) in filter.iter().enumerate() {
        println!("  {i}  code {:#04x}  jt {} jf {}  k {:#010x}", ins.code, ins.jt, ins.jf, ins.k);
    }
    let program = sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: PR_SET_NO_NEW_PRIVS touches no memory; `program` and its instructions outlive the call.
    let loaded = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &program)
    };
    if loaded != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    println!("after:  uname(2) {}", uname());
    let child = Command::new("uname").output()?;
    println!("after:  the program uname says {:?}", String::from_utf8_lossy(&child.stderr).trim());
    println!(
        "
you saw:  Seven instructions, loaded for good: a filter cannot be taken off and children inherit it over execve. It
          sees numbers, never what a pointer leads to. no_new_privs comes first, else a setuid program could be
          started with a system call missing. This filter denies one call; a good one allows a list.
try next: cargo run --example 13_seccomp_table (safebox's list); then lesson 08_descriptors"
    );
    Ok(())
}

fn uname() -> String {
    nix::sys::utsname::uname().map_or_else(|e| format!("refused: {e}"), |u| format!("says {:?}", u.sysname()))
}
