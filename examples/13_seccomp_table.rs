//! Lesson 13: the filter of lesson 7 in practice: a table of system calls in groups, each group with its
//! reason, compiled to BPF as a binary search over the numbers.
//!
//! `cargo run --example 13_seccomp_table [CAPABILITY...]`, e.g. `cargo run --example 13_seccomp_table SYS_PTRACE`

use safebox::seccomp::{FilterSource, SyscallAction, builtin_profile, compile};
use safebox::tables::capabilities::{self, CapSet};

fn main() -> Result<(), safebox::error::Error> {
    let names = std::env::args().skip(1);
    let caps = names.filter_map(|n| capabilities::parse(&n)).fold(CapSet::EMPTY, CapSet::with);

    for group in builtin_profile() {
        let opened = group.caps.is_some_and(|cap| caps.has(cap.bit));
        let fate = match group.action {
            _ if opened => "allowed by capability".to_string(),
            SyscallAction::Allow => "allowed".to_string(),
            SyscallAction::Errno(errno) => safebox::tables::errno::name(errno).to_string(),
        };
        println!(
            "{:14} {:3} calls, {:2} rules  {fate:22} {}",
            group.name,
            group.syscalls.len(),
            group.rules.len(),
            group.doc
        );
    }

    // A group is allowed by the capability that the kernel checks anyway: the filter would only repeat that
    // check.
    let strict = compile(&FilterSource::BuiltIn { caps: CapSet::EMPTY, allow: Vec::new() })?;
    let asked = compile(&FilterSource::BuiltIn { caps, allow: Vec::new() })?;
    println!(
        "\n{} instructions without capabilities, {} with {caps}",
        strict.instructions.len(),
        asked.instructions.len()
    );

    println!("\nThe filter begins (code, jump if true, jump if false, constant):");
    for (i, ins) in strict.instructions.iter().take(8).enumerate() {
        println!("  {i:3}  {:#06x} {:3} {:3} {:#010x}", ins.code, ins.jt, ins.jf, ins.k);
    }
    println!(
        "
you saw:  The table allows by name; everything else fails. A call whose argument matters has rules of its own, and a
          capability opens the group that the kernel checks by it anyway.
try next: cargo run --example 13_seccomp_table SYS_PTRACE; then lesson 14_plan"
    );
    Ok(())
}
