//! The cpu on which the helper carries a stream.
//!
//! The kernel wakes a reader on the cpu of its writer. There the helper shares the time with the sender and with the work that
//! arriving packets make, while another cpu idles: with two cpus a stream had 0.43 of a direct connection's rate, and 0.7 on the
//! other cpu (scripts/bench-network). So while a stream is carried, the helper leaves the cpu on which its packets arrive.

use std::os::fd::RawFd;

use crate::sys::{net, sched};

/// Bytes of streams after which the cpu is looked at again: the sender may have moved.
const LOOK: usize = 8 << 20;
/// How many looks in succession must find packets on another cpu before the helper moves again; twice as many after each move,
/// since the sender may follow it.
const OFTEN: u32 = 8;
/// Ticks of the helper's loop (100 ms each) in which fewer bytes than for one look mean that no stream is carried.
const PAUSE: u32 = 10;

/// Where the helper may run, and which cpu it has left.
#[derive(Debug, Default)]
pub struct Placement {
    /// One bit for each cpu that it may use when it carries no stream.
    allowed: Vec<u64>,
    /// The cpu that it has left, and what is set since.
    left: Option<(usize, Vec<u64>)>,
    carried: usize,
    /// Looks in succession that found packets on another cpu.
    elsewhere: u32,
    /// Moves of this stream.
    moves: u32,
    /// Bytes and ticks of this second.
    lately: (usize, u32),
}

impl Placement {
    /// Bytes of a stream have come from this socket.
    pub fn carried(&mut self, from: RawFd, bytes: usize) {
        self.carried += bytes;
        self.lately.0 = self.lately.0.saturating_add(bytes);
        if self.carried < LOOK {
            return;
        }
        self.carried = 0;
        let Ok(cpu) = net::incoming_cpu(from) else { return };
        let is_left = self.left.as_ref().is_some_and(|(left, _)| *left == cpu);
        self.elsewhere = if is_left { 0 } else { self.elsewhere + 1 };
        let least = if self.moves == 0 { 1 } else { OFTEN.saturating_mul(1 << self.moves.min(16)) };
        if self.elsewhere >= least {
            self.elsewhere = 0;
            self.leave(cpu);
        }
    }

    fn leave(&mut self, cpu: usize) {
        let Ok(now) = sched::affinity() else { return };
        // What another process has set meanwhile counts.
        if self.left.as_ref().is_none_or(|(_, set)| *set != now) {
            self.allowed = now;
        }
        let rest = without(&self.allowed, cpu);
        if rest != self.allowed
            && rest.iter().any(|bits| *bits != 0)
            && sched::sched_setaffinity(&rest).is_ok()
        {
            self.moves += 1;
            self.left = Some((cpu, rest));
        }
    }

    /// 100 ms have passed: a stream that pauses has no cpu of its own.
    pub fn tick(&mut self) {
        let (bytes, ticks) = self.lately;
        if ticks + 1 < PAUSE {
            self.lately.1 += 1;
            return;
        }
        self.lately = (0, 0);
        if bytes < LOOK {
            self.rest();
        }
    }

    /// No stream is carried any more.
    pub fn rest(&mut self) {
        self.moves = 0;
        if let Some((_, set)) = self.left.take()
            && sched::affinity().as_ref() == Ok(&set)
        {
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
            let (mut placement, from) = (Placement::default(), receiver.as_raw_fd());
            let all = sched::affinity().unwrap();
            let has = |cpus: &[u64]| sched::affinity().unwrap() == cpus;
            let cpu = net::incoming_cpu(from).unwrap();
            let only = all.iter().map(|bits| bits.count_ones()).sum::<u32>() == 1;
            let elsewhere = if only { all.clone() } else { without(&all, cpu) };
            placement.carried(from, LOOK - 1);
            let before = has(&all);
            placement.carried(from, 1);
            let meanwhile = has(&elsewhere);
            // While much is carried, no tick changes that.
            (0..PAUSE).for_each(|_| placement.tick());
            let still = has(&elsewhere);
            // It pauses.
            (0..PAUSE).for_each(|_| placement.tick());
            let paused = has(&all);
            placement.carried(from, LOOK);
            let again = has(&elsewhere);
            placement.rest();
            let ended = has(&all);
            // What another process sets stays.
            placement.carried(from, LOOK);
            sched::sched_setaffinity(&all).unwrap();
            placement.rest();
            let checks = [before, meanwhile, still, paused, again, ended, has(&all)];
            checks.iter().position(|good| !good).map_or(0, |i| 10 + i as i32)
        };
        let pid = crate::sys::process::fork_run(life).unwrap();
        let (_, exit) = crate::sys::process::wait(pid, 0).unwrap().unwrap();
        assert_eq!(exit, crate::sys::process::ProcessExit::Code(0), "10 is the first check");
    }
}
