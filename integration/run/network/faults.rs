//! Faults at every row of the network: the launch ends with 125, the message has the errno, and nothing is left.

use super::WORLD;
use super::cni::{CNI, Networks};
use super::names::sh;
use super::ports::PASTA;
use super::world::World;
use crate::harness::{Call, case};

/// The rows of the network, by number, and the one after each: what `explain` prints for these options.
fn rows(explain: Call, options: &[&str]) -> Vec<usize> {
    let out = explain.args(["explain", "--json"]).args(options).args(["--", "true"]).output().ok();
    let plan: serde_json::Value = serde_json::from_str(&out.stdout).expect("JSON");
    let steps = plan["steps"].as_array().expect("steps");
    let network = |i: &usize| steps[*i]["part"].as_str().is_some_and(|part| part.starts_with("network"));
    let mut rows: Vec<usize> = (0..steps.len()).filter(network).flat_map(|i| [i + 1, i + 2]).collect();
    for i in (0..steps.len()).filter(network) {
        let of = |key: &str| steps[i][key].as_str().unwrap_or_default().len();
        assert!(of("why") > 30 && of("action") > 10, "a row says what and why: {}", steps[i]);
    }
    rows.dedup();
    rows.retain(|row| *row <= steps.len());
    rows
}

#[case(WORLD)]
fn a_fault_at_every_row_of_the_helper_leaves_nothing() {
    let world = World::new();
    let options =
        ["--allow-net", "a.test", "--allow-net", "10.9.9.9:80", "-p", "18090:8000", "-p", "[::1]:18091:8001"];
    let rows = rows(world.runtime(), &options);
    assert!(rows.len() > 12, "{rows:?}");
    for row in rows {
        let out = sh(world.run().args(options).args(["--fail", &format!("{row}:EIO")]), "true").exits(125);
        out.says(&format!("row {row} ")).says("(EIO)");
        world.leak_check();
    }
}

#[case(PASTA)]
fn a_fault_at_every_row_of_pasta_leaves_nothing() {
    let world = World::new();
    let options = ["--network", "pasta"];
    let rows = rows(world.runtime(), &options);
    assert!(rows.len() >= 2, "{rows:?}");
    for row in rows {
        sh(world.run().args(options).args(["--fail", &format!("{row}:EIO")]), "true")
            .exits(125)
            .says("(EIO)");
        world.leak_check();
    }
}

#[case(CNI)]
fn a_fault_at_every_row_of_plugins_leaves_nothing() {
    let networks = Networks::new();
    let dir = networks.dir();
    let options = ["--cni-netconfpath", &dir, "--network", "cni:out", "-p", "8080:80"];
    let rows = rows(networks.world.plain(), &options);
    assert!(rows.len() > 8, "{rows:?}");
    for row in rows {
        let call = networks.first("out").args(["-p", "8080:80", "--fail", &format!("{row}:EIO")]);
        sh(call, "true").exits(125).says("(EIO)");
        networks.leak_check();
    }
}
