//! Cargo runs this before the build (`build` in Cargo.toml): how the program is linked.
//!
//! A position-independent static program relocates its tables at every start: 150 KiB of pages that are written, and so
//! belong to each process alone. The program is therefore linked to a fixed address. The stack, the heap and mappings
//! stay where the kernel randomises them to; the code is memory-safe but for `src/sys` and libseccomp, which reads
//! profiles only where the cache has no filter.

fn main() {
    println!("cargo::rerun-if-changed=scripts/link.rs");
    let cfg = |name: &str| std::env::var(format!("CARGO_CFG_{name}")).unwrap_or_default();
    let is_static = cfg("TARGET_FEATURE").split(',').any(|feature| feature == "crt-static");
    if is_static && cfg("TARGET_ENV") == "gnu" {
        for arg in ["-static", "-no-pie"] {
            println!("cargo::rustc-link-arg-bin=safebox={arg}");
        }
    }
}
