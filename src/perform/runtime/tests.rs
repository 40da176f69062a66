//! A container process that has been tampered with from inside hands back what it likes.

use super::*;
use crate::plan::ops::{CloneOp, CredOp};
use crate::sys::socket;

/// Init (0, 1), the runtime (2), Init (3), a Joiner that clones (4), Init (5), a Joiner that does not (6), Init (7).
fn plan() -> Plan {
    let mut plan = Plan::default();
    let clones = Action::from(CloneOp::Sibling { namespaces: 0, owner: None, plain: false });
    for (actor, action) in [
        (Actor::Init, Action::Cred(CredOp::NoNewPrivs)),
        (Actor::Init, Action::Cred(CredOp::NoNewPrivs)),
        (Actor::Runtime, Action::Cred(CredOp::NoNewPrivs)),
        (Actor::Init, Action::Cred(CredOp::NoNewPrivs)),
        (Actor::Joiner, clones),
        (Actor::Init, Action::Cred(CredOp::NoNewPrivs)),
        (Actor::Joiner, Action::Cred(CredOp::NoNewPrivs)),
        (Actor::Init, Action::Cred(CredOp::NoNewPrivs)),
    ] {
        plan.push(actor, "test", action);
    }
    plan
}

/// What the runtime makes of the bytes that come back after row `from` was handed over.
fn answer(bytes: &[u8], from: usize) -> std::result::Result<Option<usize>, Failure> {
    let plan = plan();
    let (ours, theirs) = socket::seqpacket_pair().unwrap();
    let mut cx = Cx::new(plan.slots);
    cx.baton = ours;
    socket::send(theirs, bytes).unwrap();
    let answer = wait_for_turn(&plan, &mut cx, &mut Control::default(), from);
    fs::close(theirs);
    fs::close(ours);
    answer
}

/// The turn, with the number of a process if it is not 0.
fn record(next: usize, pid: i32) -> [u8; Baton::LEN] {
    let with = if pid == 0 { With::Nothing } else { With::Child(pid) };
    Baton::turn_with(next, with).to_bytes()
}

#[test]
fn the_turn_comes_back_where_the_plan_says() {
    assert_eq!(answer(&record(2, 0), 0), Ok(Some(2)));
    assert_eq!(answer(&record(2, 0), 1), Ok(Some(2)));
    assert_eq!(answer(&record(7, 0), 6), Ok(Some(7)));
}

#[test]
fn a_forged_record_is_refused() {
    let refused = |from| Err(Failure::Row(from, Errno::EPROTO, Call::Baton));
    for (next, pid, from, why) in [
        (0, 0, 0, "the same row again"),
        (1, 0, 0, "in the middle of its own rows"),
        (3, 0, 0, "the runtime's row is skipped"),
        (2, 0, 3, "backwards"),
        (8, 0, 0, "past the end"),
        (u32::MAX as usize, 0, 0, "past any end"),
        (2, 1, 0, "a process where none was made"),
        (2, -7, 0, "a negative number"),
        (5, 0, 4, "a Joiner that made no process"),
        (5, -7, 4, "a Joiner with a negative number"),
        (7, 1, 6, "a process of a Joiner that was to make none"),
    ] {
        assert_eq!(answer(&record(next, pid), from), refused(from), "{why}");
    }
}

#[test]
fn a_record_of_another_kind_is_refused() {
    let refused = Err(Failure::Row(0, Errno::EPROTO, Call::Baton));
    for kind in [4_u32, 5, 7, 9, u32::MAX] {
        let mut bytes = record(2, 0);
        bytes[..4].copy_from_slice(&kind.to_ne_bytes());
        assert_eq!(answer(&bytes, 0), refused, "kind {kind}");
    }
    let listener = Baton::turn_with(2, With::Listener(3)).to_bytes();
    assert_eq!(answer(&listener, 0), refused, "a listener where none is taken");
}

#[test]
fn a_record_of_another_length_is_refused() {
    let whole = [record(2, 0).as_slice(), &[0; 8]].concat();
    for length in [1, 4, 12, 15, 17, 24] {
        let want = Err(Failure::Row(0, Errno::EPROTO, Call::Baton));
        assert_eq!(answer(&whole[..length], 0), want, "{length} bytes");
    }
}

#[test]
fn a_failure_with_numbers_of_nothing_is_a_failure_all_the_same() {
    let words = [8, u32::MAX, i32::MAX.cast_unsigned(), i32::MAX.cast_unsigned()];
    let forged: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let want = Failure::Row(u32::MAX as usize, Errno::from_raw(i32::MAX), Call::None);
    assert_eq!(answer(&forged, 0), Err(want));
    explain(&plan(), &Cx::new(0), want, crate::perform::undo::Undone::default());
}

/// A Joiner reports which process it made: any other process is neither signalled, limited nor waited for.
#[test]
fn a_foreign_process_is_not_adopted() {
    let child = || std::process::Command::new("/bin/sh").args(["-c", "exit 0"]).spawn().unwrap();
    let parent = i32::try_from(std::os::unix::process::parent_id()).unwrap();
    let mut cx = Cx::new(0);
    cx.pid = child().id().try_into().unwrap();
    let joiner = cx.pid;
    assert_eq!(adopt(&mut cx, parent), Err(Errno::ECHILD));
    assert_eq!((cx.pid, cx.pidfd), (0, -1), "no process is left to be signalled");
    assert_eq!(process::wait(joiner, 0), Err(Errno::ECHILD), "the joiner was waited for");
    cx.pid = child().id().try_into().unwrap();
    let made: i32 = child().id().try_into().unwrap();
    assert_eq!(adopt(&mut cx, made), Ok(()));
    fs::close(cx.pidfd);
    process::wait(made, 0).unwrap();
}
