//! Lesson 16: two processes that perform one list need one message: "your turn, from row N". Its sixteen bytes
//! are the whole protocol of a launch. A dead peer is end of file, and so is a successful exec, because the
//! socket is close-on-exec.
//!
//! `cargo run --example 16_baton` (any user)

use safebox::perform::Call;
use safebox::perform::baton::Baton;
use safebox::sys::process::{self, Cloned};
use safebox::sys::{Errno, fs, socket};

fn main() {
    play("the peer performs rows 3 and 4 and hands back", |peer| {
        Baton::turn(5).send(peer).unwrap_or_default();
        process::exit_now(0)
    });
    play("the peer's row 4 fails: number, errno and call are a full report", |peer| {
        Baton::failed(4, Errno::EPERM, Call::Mkdir, 0).send(peer).unwrap_or_default();
        process::exit_now(0)
    });
    play("the peer dies", |_| process::exit_now(9));
    play("the peer becomes another program", |_| {
        process::execve(c"/bin/true", &[c"true".as_ptr(), std::ptr::null()], &[std::ptr::null()]);
        process::exit_now(1)
    });
    println!(
        "you saw:  Sixteen bytes carry a launch: whose turn it is, from which row, and how a row failed. End of file is the
          rest: a death before the last handover, the program's start after it.
try next: safebox run --step BUNDLE/; then src/lib.rs, the tour of the code"
    );
}

fn play(title: &str, peer: fn(i32) -> !) {
    println!("{title}");
    let (ours, theirs) = socket::seqpacket_pair().expect("a socket pair");
    match process::clone3(0, None, false).expect("a child") {
        Cloned::Child => {
            fs::close(ours);
            // Wait for the turn, as Init does.
            let turn = Baton::receive(theirs);
            if turn == Ok(Some(Baton::turn(3))) {
                peer(theirs)
            }
            process::exit_now(1)
        }
        Cloned::Parent { pid, .. } => {
            fs::close(theirs);
            Baton::turn(3).send(ours).expect("the peer waits");
            println!("  we sent     {:?}", Baton::turn(3));
            println!("  we received {:?}", Baton::receive(ours));
            // Only the exit status distinguishes the two causes of end of file.
            println!("  the peer    {:?}\n", process::wait(pid, 0));
        }
    }
}
