//! Many containers, sequential and parallel: no growing leftovers.

use std::time::{Duration, Instant};

use crate::harness::{Need, Sandbox, case};

const HERE: &[Need] = &[Need::Root, Need::Alone];

/// `SAFEBOX_SOAK`, else 1000.
fn count() -> u32 {
    std::env::var("SAFEBOX_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(1000)
}

fn say(what: &str, count: u32, start: Instant) {
    let each = start.elapsed() / count.max(1);
    println!("soak: {what}: {count} in {:.1?}, {each:.1?} each", start.elapsed());
}

#[case(HERE)]
fn one_after_the_other() {
    own_mounts();
    let sb = Sandbox::new();
    let before = mounts();
    let start = Instant::now();
    for i in 0..count() {
        sb.run().output().ok();
        if i % 100 == 0 {
            sb.leak_check();
        }
    }
    say("run, one after the other", count(), start);
    sb.leak_check();
    assert_eq!(mounts(), before, "mounts");
}

#[case(HERE)]
fn fifty_at_once() {
    own_mounts();
    let sb = Sandbox::new();
    let before = mounts();
    let start = Instant::now();
    let running: Vec<_> = (0..50)
        .map(|i| {
            let id = sb.other_id(&i.to_string());
            sb.runtime().args(["run", "--quiet", "--bundle"]).arg(sb.bundle()).arg(id).spawn()
        })
        .collect();
    for one in running {
        one.wait_at_most(Duration::from_secs(60)).ok();
    }
    say("run, at once", 50, start);
    sb.leak_check();
    assert_eq!(mounts(), before, "mounts");
}

#[case(HERE)]
fn create_start_delete() {
    own_mounts();
    let sb = Sandbox::new();
    let before = mounts();
    let start = Instant::now();
    let rounds = count() / 10;
    for _ in 0..rounds {
        sb.create().ok();
        sb.verb("start").ok();
        sb.delete().ok();
    }
    say("create, start, delete", rounds, start);
    sb.leak_check_within(Duration::from_secs(2));
    assert_eq!(mounts(), before, "mounts");
}

/// Enters a new mount namespace, so that mounts of other processes are not counted.
fn own_mounts() {
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("unshare");
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
}

/// Number of mounts in this thread's mount namespace; the leak check finds other leftovers by name.
fn mounts() -> usize {
    std::fs::read_to_string("/proc/thread-self/mountinfo").map_or(0, |t| t.lines().count())
}
