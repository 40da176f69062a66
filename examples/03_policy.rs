//! Lesson 3: hardening is a table of rules. Each takes a config, changes it, and says what it changed.
//!
//! `cargo run --example 03_policy [ALLOW...]`, e.g. `cargo run --example 03_policy root write-rootfs`

use safebox::config::{parse, template};
use safebox::host::Host;
use safebox::policy::{self, ALLOW, Asked, Facts, Policy, RULES};

const EXT4: i64 = 0xef53; // EXT4_SUPER_MAGIC, statfs(2)

fn main() -> Result<(), safebox::error::Error> {
    // What `safebox spec` writes: the usual middle ground between safe and convenient.
    let written = parse::from_slice(template::spec(None).to_string().as_bytes())?;
    let asked = Asked { allow: std::env::args().skip(1).collect(), ..Asked::default() };
    let host = Host::probe()?;

    for policy in [Policy::Privileged, Policy::Baseline, Policy::Restricted] {
        let mut config = written.clone();
        let facts = Facts { id: "lesson", host: &host, rootfs_magic: EXT4, asked: &asked, policy };
        let outcome = policy::apply(&mut config, &facts)?;
        println!("{policy:?} changes {} things:", outcome.changes.len());
        for (rule, change) in &outcome.changes {
            println!("  {rule:18} {change}");
        }
    }

    println!("\nThe rules, and who asks for them:");
    for rule in RULES {
        println!("  {:18} {} {:?}", rule.id, rule.title, rule.references);
    }
    println!("\nWhat can be given back by name:");
    for (name, meaning) in ALLOW {
        println!("  --allow {name:15} {meaning}");
    }
    Ok(())
}
