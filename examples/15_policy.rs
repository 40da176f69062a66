//! Lesson 15: hardening is a table of rules. Each rule takes a config, changes it, and reports its changes.
//!
//! `cargo run --example 15_policy [ALLOW...]`, e.g. `cargo run --example 15_policy root proc`

use safebox::bundle::Bundle;
use safebox::config::template;
use safebox::host::Host;
use safebox::policy::{self, ALLOW, Facts, Overrides, Policy, RULES};
use safebox::state::id_ranges::Ranges;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A bundle with the config of `safebox spec`.
    let dir = tempfile::tempdir()?;
    std::fs::create_dir(dir.path().join("rootfs"))?;
    std::fs::write(dir.path().join("config.json"), template::spec(None).to_string())?;
    let (bundle, written) = Bundle::open(dir.path())?;
    let overrides = Overrides { allow: std::env::args().skip(1).collect(), ..Overrides::default() };
    let state_root = std::path::Path::new("/run/lesson");
    let host = Host::probe()?;

    for policy in [Policy::Privileged, Policy::Baseline, Policy::Restricted] {
        let mut config = written.clone();
        let ids = Ranges::new(&host, true);
        let facts = Facts {
            id: "lesson",
            host: &host,
            bundle: &bundle,
            ids: &ids,
            overrides: &overrides,
            state_root,
            policy,
        };
        let outcome = policy::apply(&mut config, &facts)?;
        println!("{policy:?} changes {} things:", outcome.changes.len());
        for change in &outcome.changes {
            println!("  {:18} {}", change.by, change.text);
        }
    }

    println!("\nThe rules, and who asks for them:");
    for rule in RULES {
        println!("  {:18} {} {:?}", rule.id, rule.title, rule.references);
    }
    println!("\nRestrictions that can be lifted by name:");
    for (name, meaning) in ALLOW {
        println!("  --allow {name:15} {meaning}");
    }
    println!(
        "
you saw:  A policy is a table of rules with names. What it takes away is said, and can be given back by name.
try next: safebox explain --diff-policy baseline restricted BUNDLE/; then lesson 16_baton"
    );
    Ok(())
}
