//! Cargo runs this before the build (`build` in Cargo.toml): how the program is linked.
//!
//! A position-independent static program relocates its tables at every start: 150 KiB of pages that are written, and so
//! belong to each process alone. The program is therefore linked to a fixed address. The stack, the heap and mappings
//! stay where the kernel randomises them to; the code is memory-safe but for `src/sys` and libseccomp, which reads
//! profiles only where the cache has no filter.
//!
//! The functions that a start executes are placed side by side (`scripts/order` writes the list), if the linker can do
//! that: LLD can, which rustc brings along for x86_64; GNU ld cannot. Without it a start has more page faults.

use std::path::Path;
use std::process::Command;

const ORDER: &str = "scripts/order.txt";

fn main() {
    println!("cargo::rerun-if-changed=scripts/link.rs");
    println!("cargo::rerun-if-changed={ORDER}");
    let is_static = env("CARGO_CFG_TARGET_FEATURE").split(',').any(|feature| feature == "crt-static");
    if is_static && env("CARGO_CFG_TARGET_ENV") == "gnu" {
        ["-static", "-no-pie"].into_iter().for_each(link_arg);
    }
    let order = format!("-Wl,--symbol-ordering-file={}/{ORDER}", env("CARGO_MANIFEST_DIR"));
    // Names that another version of the compiler gives to functions are no reason for a warning.
    let options = [order.as_str(), "-Wl,--no-warn-symbol-ordering"];
    if env("PROFILE") == "release" && links_with(&options) {
        options.into_iter().for_each(link_arg);
    }
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn link_arg(arg: &str) {
    println!("cargo::rustc-link-arg-bin=safebox={arg}");
}

/// Whether a program can be linked with these options: one is.
fn links_with(options: &[&str]) -> bool {
    let dir = env("OUT_DIR");
    let source = Path::new(&dir).join("probe.rs");
    if std::fs::write(&source, "fn main() {}").is_err() {
        return false;
    }
    let mut rustc = Command::new(env("RUSTC"));
    rustc.args(["--target", &env("TARGET"), "--out-dir", &dir]).arg(&source);
    rustc.args(env("CARGO_ENCODED_RUSTFLAGS").split('\x1f').filter(|flag| !flag.is_empty()));
    let linker = env("RUSTC_LINKER");
    if !linker.is_empty() {
        rustc.arg(format!("-Clinker={linker}"));
    }
    rustc.args(options.iter().map(|option| format!("-Clink-arg={option}")));
    rustc.output().is_ok_and(|out| out.status.success())
}
