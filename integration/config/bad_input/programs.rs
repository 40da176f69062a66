//! Programs that cannot be executed.

use std::os::unix::fs::{PermissionsExt, symlink};

use crate::harness::{Sandbox, case};
use serde_json::json;

/// Only an ELF header, of a program for another machine (IBM S/390).
pub(super) fn foreign_elf() -> Vec<u8> {
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 2, 1, 0];
    elf.resize(16, 0);
    elf.extend([0, 2, 0, 22, 0, 0, 0, 1]);
    elf.resize(64, 0);
    elf
}

/// (args[0], exit code, text that stderr must contain).
pub(super) const PROGRAMS: [(&str, i32, &str); 20] = [
    ("nowhere", 127, "exec: \"nowhere\": executable file not found in $PATH"),
    ("/nowhere", 127, "exec: \"/nowhere\": stat /nowhere: no such file or directory"),
    ("/etc/passwd", 126, "exec: \"/etc/passwd\": permission denied"),
    ("/etc", 126, "exec: \"/etc\": permission denied"),
    ("/bin/foreign", 126, "exec /bin/foreign: exec format error: not a program for this machine"),
    ("/bin/text", 126, "exec /bin/text: exec format error: not a program for this machine"),
    ("/bin/orphan", 127, "exec /bin/orphan: no such file or directory: its interpreter /no/such is missing"),
    // Found in the second directory of $PATH: the message names that path.
    ("orphan", 127, "exec /bin/orphan: no such file or directory: its interpreter /no/such is missing"),
    ("text", 126, "exec /bin/text: exec format error"),
    ("nested", 127, "exec /bin/nested: no such file or directory: its interpreter /no/such is missing"),
    ("dos", 127, "exec /bin/dos: no such file or directory: its interpreter /bin/sh\\r is missing"),
    (
        "dynamic",
        127,
        "exec /bin/dynamic: no such file or directory: its interpreter /lib/no-loader.so is missing",
    ),
    (
        "unloved",
        126,
        "exec /bin/unloved: permission denied: its interpreter /bin/plain has no execute permission",
    ),
    ("/etc/passwd/x", 126, "exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory"),
    // $PATH is not searched for these: 127, as with runc.
    ("plain", 127, "exec: \"plain\": executable file not found in $PATH"),
    (".", 127, "exec: \".\": executable file not found in $PATH"),
    ("", 127, "exec: \"\": executable file not found in $PATH (the name is empty: name a program)"),
    ("/noexec/tool", 126, "exec: \"/noexec/tool\": permission denied (it lies on a noexec mount"),
    (
        "/bin/plain",
        126,
        "exec: \"/bin/plain\": permission denied (it is not executable: its mode has no x; chmod +x",
    ),
    ("/bin/loop", 126, "exec: \"/bin/loop\":"),
];

/// An ELF program for this machine with an interpreter and without code.
pub(super) fn dynamic_elf(loader: &[u8]) -> Vec<u8> {
    let machine: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    elf.resize(16, 0);
    elf.extend([2u16, machine].iter().flat_map(|n| n.to_le_bytes()));
    elf.extend(1u32.to_le_bytes());
    // e_entry, e_phoff, e_shoff.
    elf.extend([0u64, 64, 0].iter().flat_map(|n| n.to_le_bytes()));
    elf.extend(0u32.to_le_bytes());
    // e_ehsize, e_phentsize, e_phnum, and no sections.
    elf.extend([64u16, 56, 1, 0, 0, 0].iter().flat_map(|n| n.to_le_bytes()));
    // PT_INTERP, readable.
    elf.extend([3u32, 4].iter().flat_map(|n| n.to_le_bytes()));
    let size = loader.len() as u64;
    elf.extend([120u64, 0, 0, size, size, 1].iter().flat_map(|n| n.to_le_bytes()));
    elf.extend(loader);
    elf
}

pub(super) fn with_programs(name: &str) -> Sandbox {
    let path = json!(["PATH=/nothere:/bin"]);
    let sb = Sandbox::new().args([name]).patch("/process/env", path);
    let bin = sb.rootfs().join("bin");
    let programs = [
        ("foreign", foreign_elf()),
        ("text", b"neither ELF nor script\n".to_vec()),
        ("orphan", b"#!/no/such\n".to_vec()),
        ("nested", b"#!/bin/orphan\n".to_vec()),
        ("dos", b"#!/bin/sh\r\n".to_vec()),
        ("dynamic", dynamic_elf(b"/lib/no-loader.so\0")),
        ("unloved", b"#!/bin/plain\n".to_vec()),
    ];
    for (name, bytes) in programs {
        std::fs::write(bin.join(name), bytes).expect("write");
        std::fs::set_permissions(bin.join(name), PermissionsExt::from_mode(0o755)).expect("chmod");
    }
    symlink("loop", bin.join("loop")).expect("symlink");
    std::fs::write(bin.join("plain"), "").expect("write");
    std::fs::write(bin.join("tool"), "").expect("write");
    std::fs::set_permissions(bin.join("tool"), PermissionsExt::from_mode(0o755)).expect("chmod");
    sb.patch(
        "/mounts/-",
        json!({ "destination": "/noexec", "type": "bind", "source": bin, "options": ["bind", "noexec"] }),
    )
}

#[case(super::OWN)]
fn programs_that_cannot_run_give_126_or_127() {
    for (name, code, says) in PROGRAMS {
        let sb = with_programs(name);
        let out = sb.run().output();
        assert_eq!(out.code, code, "{name}\n{out}");
        out.says(says);
        sb.leak_check();
    }
}

/// When execve(2) fails after `create`, `start` and `exec` report the same text.
#[case(super::OWN)]
fn programs_fail_at_start_and_exec_in_the_same_words() {
    for name in ["orphan", "nested", "text", "dynamic"] {
        let (.., says) = PROGRAMS.iter().find(|(known, ..)| *known == name).expect("a row");
        let sb = with_programs(name);
        sb.create().ok();
        sb.verb("start").exits(1).says(says);
        sb.runtime().args(["delete", "--force", sb.id()]).output().ok();
        let sb = with_programs("/bin/sleep").args(["/bin/sleep", "1000"]);
        sb.create().ok();
        sb.verb("start").ok();
        sb.exec([name]).exits(255).says(says);
        sb.runtime().args(["delete", "--force", sb.id()]).output().ok();
        sb.leak_check();
    }
}

/// One argument longer than 128 KiB.
#[case(super::OWN)]
fn an_argument_list_that_is_too_long() {
    let long = "x".repeat(140_000);
    let sb = with_programs("sh").args(["sh", "-c", "true", &long]);
    sb.run().output().exits(126).says("exec /bin/sh: argument list too long: process.args");
    sb.leak_check();
}

/// A profile without execve.
#[case(super::OWN)]
fn a_profile_without_execve_is_named() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["execve"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }],
    });
    for no_new_privileges in [true, false] {
        let sb = with_programs("sh")
            .args(["sh", "-c", "true"])
            .patch("/process/noNewPrivileges", no_new_privileges.into())
            .patch("/linux/seccomp", profile.clone());
        let says = "exec /bin/sh: operation not permitted: the seccomp profile refuses execve";
        sb.run_oci().output().says(says);
        sb.create().ok();
        sb.verb("start").exits(1).says(says);
        sb.runtime().args(["delete", "--force", sb.id()]).output().ok();
        sb.leak_check();
    }
}

#[case(super::OCI)]
fn programs_fail_at_create_in_runc_s_words() {
    for (name, _, says) in &PROGRAMS[..3] {
        let sb = with_programs(name);
        sb.create().exits(1).says(says);
        sb.leak_check();
    }
}
