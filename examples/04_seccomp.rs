//! Lesson 4: a seccomp filter is a small program that judges every system call. The profile is a table of
//! groups with reasons; it is compiled to BPF, as a binary search over the numbers.
//!
//! `cargo run --example 04_seccomp [CAPABILITY...]`, e.g. `cargo run --example 04_seccomp SYS_PTRACE`

use safebox::seccomp::{Action, Mode, builtin_profile, compile};
use safebox::tables::capabilities::{self, CapSet};

fn main() -> Result<(), safebox::error::Error> {
    let names = std::env::args().skip(1);
    let caps = names.filter_map(|n| capabilities::parse(&n)).fold(CapSet::EMPTY, CapSet::with);

    for group in builtin_profile() {
        let opened = group.caps.is_some_and(|cap| caps.has(cap.bit));
        let fate = match group.action {
            _ if opened => "allowed by capability".to_string(),
            Action::Allow => "allowed".to_string(),
            Action::Errno(errno) => safebox::tables::errno::name(errno).to_string(),
        };
        println!(
            "{:14} {:3} calls, {:2} rules  {fate:22} {}",
            group.name,
            group.syscalls.len(),
            group.rules.len(),
            group.doc
        );
    }

    // A capability that the kernel checks anyway opens its group: the filter would only repeat that check.
    let strict = compile(&Mode::BuiltIn { caps: CapSet::EMPTY, allow: Vec::new() })?;
    let asked = compile(&Mode::BuiltIn { caps, allow: Vec::new() })?;
    println!(
        "\n{} instructions without capabilities, {} with {caps}",
        strict.instructions.len(),
        asked.instructions.len()
    );

    println!("\nThe filter begins (code, jump if true, jump if false, constant):");
    for (i, ins) in strict.instructions.iter().take(8).enumerate() {
        println!("  {i:3}  {:#06x} {:3} {:3} {:#010x}", ins.code, ins.jt, ins.jf, ins.k);
    }
    Ok(())
}
