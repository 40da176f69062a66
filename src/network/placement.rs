//! The cpu on which the helper carries a stream.
//!
//! The kernel wakes a reader on the cpu of its writer. There the helper shares the time with the sender and with the work that
//! arriving packets make, while another cpu idles: with two cpus a stream had 0.43 of a direct connection's rate, and 0.76 on the
//! other cpu (scripts/bench-network). So while a stream is carried, the helper leaves the cpu on which its packets arrive.

use std::os::fd::RawFd;

use crate::sys::{net, sched};

/// Bytes of streams after which the cpu is looked at again: the sender may have moved.
const LOOK: usize = 8 << 20;
/// How often in succession they must arrive on another cpu before the helper changes its own: each change costs time, and a
/// sender comes and goes for moments.
const OFTEN: u32 = 8;

/// Where the helper may run, and where it does not want to.
#[derive(Debug, Default)]
pub struct Placement {
    /// One bit for each cpu that the helper started with; none if that is unknown.
    allowed: Vec<u64>,
    avoided: Option<usize>,
    carried: usize,
    /// How often packets arrived on another cpu in succession.
    elsewhere: u32,
}

impl Placement {
    /// The cpus of this process; to be called before the filter is in force.
    pub fn of_this_process() -> Self {
        Placement { allowed: sched::affinity().unwrap_or_default(), ..Placement::default() }
    }

    /// Bytes of a stream have come from this socket.
    pub fn carried(&mut self, from: RawFd, bytes: usize) {
        self.carried += bytes;
        if self.carried < LOOK {
            return;
        }
        self.carried = 0;
        let Ok(cpu) = net::incoming_cpu(from) else { return };
        self.elsewhere = if self.avoided == Some(cpu) { 0 } else { self.elsewhere + 1 };
        if self.elsewhere == 0 || (self.avoided.is_some() && self.elsewhere < OFTEN) {
            return;
        }
        self.elsewhere = 0;
        let rest = without(&self.allowed, cpu);
        // One that the helper must not use is none to be left.
        if rest != self.allowed
            && rest.iter().any(|bits| *bits != 0)
            && sched::sched_setaffinity(&rest).is_ok()
        {
            self.avoided = Some(cpu);
        }
    }

    /// No stream is carried any more.
    pub fn rest(&mut self) {
        if self.avoided.take().is_some() {
            // If it fails, the helper stays on the cpus that it has.
            sched::sched_setaffinity(&self.allowed).unwrap_or_default();
        }
    }
}

fn without(cpus: &[u64], cpu: usize) -> Vec<u64> {
    let bits = |(i, bits): (usize, &u64)| if i == cpu / 64 { bits & !(1 << (cpu % 64)) } else { *bits };
    cpus.iter().enumerate().map(bits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    #[test]
    fn one_cpu_is_left_out() {
        assert_eq!(without(&[0b111], 1), [0b101]);
        assert_eq!(without(&[1, 0b11], 64), [1, 0b10]);
        assert_eq!(without(&[0b11], 7), [0b11]);
        assert_eq!(without(&[0b11], 700), [0b11]);
    }

    /// In a process of its own, since other tests run in this one's threads.
    #[test]
    fn a_stream_is_carried_elsewhere_and_afterwards_every_cpu_may_be_used() {
        let life = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut receiver, _) = listener.accept().unwrap();
            sender.write_all(b"x").unwrap();
            receiver.read_exact(&mut [0]).unwrap();
            let mut placement = Placement::of_this_process();
            let all = sched::affinity().unwrap();
            let cpu = net::incoming_cpu(receiver.as_raw_fd()).unwrap();
            placement.carried(receiver.as_raw_fd(), LOOK - 1);
            let before = sched::affinity().unwrap() == all;
            placement.carried(receiver.as_raw_fd(), 1);
            let only = all.iter().map(|bits| bits.count_ones()).sum::<u32>() == 1;
            let expect = if only { all.clone() } else { without(&all, cpu) };
            let meanwhile = sched::affinity().unwrap() == expect;
            placement.rest();
            let checks = [before, meanwhile, sched::affinity().unwrap() == all];
            checks.iter().position(|good| !good).map_or(0, |i| 10 + i as i32)
        };
        let pid = crate::sys::process::fork_run(life).unwrap();
        let (_, exit) = crate::sys::process::wait(pid, 0).unwrap().unwrap();
        assert_eq!(exit, crate::sys::process::ProcessExit::Code(0), "10 is the first check");
    }
}
