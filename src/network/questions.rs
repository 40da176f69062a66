//! Questions to the resolver inside, in datagrams and over TCP.

use std::os::fd::AsRawFd;

use super::Role;
use super::dns::{self, Family, Reply};
use super::helper::{Helper, ResolverStream, Waiter, lookup_token};
use super::resolver::{LookupKey, NameAnswer};
use super::slab::SlabKey;
use super::verdict::Reason;
use crate::sys::{Errno, io, net};

/// The most questions that wait for one answer.
const MOST_WAITERS: usize = 256;
/// Bytes of the largest question: a name has at most 255, and padding some hundred (RFC 8467).
const LARGEST: usize = 1024;
/// Bytes of all questions of one stream. A program that asks without end and reads no answer would fill the helper's
/// memory, and keep it from its other sockets.
const MOST_ASKED: usize = 64 << 10;

impl Helper<'_> {
    pub(super) fn question(&mut self, message: &[u8], waiter: impl FnOnce(Vec<u8>) -> Waiter) {
        if message.len() > LARGEST {
            return;
        }
        let reply = match dns::question(message) {
            None => return,
            Some(Err(code)) => Err(code),
            Some(Ok(question)) => match self.reply(&question) {
                Ok(reply) => Ok(reply),
                Err(wanted) => {
                    let waiters = self.waiting.entry(wanted).or_default();
                    if waiters.len() < MOST_WAITERS {
                        waiters.push(waiter(message.to_vec()));
                    }
                    return;
                }
            },
        };
        if let Some(bytes) = dns::answer(message, reply) {
            self.deliver(waiter(Vec::new()), &bytes);
        }
    }

    /// The reply, or what has to be looked up first.
    pub(super) fn reply(&mut self, question: &dns::DnsQuestion) -> std::result::Result<Reply, LookupKey> {
        let name = &question.name;
        let allows = |name: &str| self.settings.rules.iter().any(|rule| rule.has_name(name));
        if !allows(name) && service_of(name).is_some_and(allows) {
            // apt and others ask first whether an allowed name has this service (RFC 2782): it has none.
            return Ok(Reply::NoName);
        }
        if !self.settings.rules.iter().any(|rule| rule.has_name(name)) {
            self.refuse(Reason::Name, name, "", None, 0);
            return Ok(Reply::Refused);
        }
        let Some(family) = question.family else { return Ok(Reply::NoData) };
        let wanted: LookupKey = (name.as_str().into(), family);
        match self.resolver.ask(&self.epoll, lookup_token, &wanted) {
            Some(answer) => Ok(self.reply_with(&wanted, &answer)),
            None => Err(wanted),
        }
    }

    pub(super) fn reply_with(&mut self, (name, family): &LookupKey, answer: &NameAnswer) -> Reply {
        match answer {
            NameAnswer::Addresses(_, ttl) => match self.names.addresses(name) {
                Some((v4, _)) if *family == Family::V4 => Reply::Address(v4.into(), *ttl),
                Some((_, v6)) if self.has_v6() => Reply::Address(v6.into(), *ttl),
                Some(_) => Reply::NoData,
                None => {
                    self.refuse(Reason::TooManyNames, name, "", None, 0);
                    Reply::Refused
                }
            },
            NameAnswer::NoData => Reply::NoData,
            NameAnswer::NoName => Reply::NoName,
            NameAnswer::Failed => Reply::Failed,
        }
    }

    pub(super) fn has_v6(&self) -> bool {
        self.settings.sockets.iter().any(|s| s.address.is_ipv6())
    }

    /// What was looked up goes to everyone who waits for it.
    pub(super) fn answered(&mut self, wanted: &LookupKey, answer: &NameAnswer) {
        for waiter in self.waiting.remove(wanted).unwrap_or_default() {
            match waiter {
                Waiter::Connection(key) => self.resolved(key, answer),
                Waiter::Datagram(_, ref message) | Waiter::Stream(_, ref message) => {
                    let reply = self.reply_with(wanted, answer);
                    if let Some(bytes) = dns::answer(message, Ok(reply)) {
                        self.deliver(waiter, &bytes);
                    }
                }
            }
        }
    }

    pub(super) fn deliver(&mut self, waiter: Waiter, bytes: &[u8]) {
        match waiter {
            Waiter::Datagram(to, _) => {
                let socket = self.sockets.iter().find(|(role, ..)| *role == Role::Questions);
                if let Some((_, fd, _)) = socket {
                    // The program asks again where it got no answer.
                    net::send_to(fd.as_raw_fd(), bytes, to).unwrap_or_default();
                }
            }
            Waiter::Stream(key, _) => {
                if let Some(stream) = self.streams.get(key) {
                    stream.answers.extend((bytes.len() as u16).to_be_bytes());
                    stream.answers.extend(bytes);
                }
                self.flush_stream(key);
            }
            Waiter::Connection(_) => {}
        }
    }

    /// Reads questions from a stream, each with its length before it (RFC 7766).
    pub(super) fn stream(&mut self, key: SlabKey) {
        self.flush_stream(key);
        let mut block = [0; 4096];
        loop {
            let Some(stream) = self.streams.get(key) else { return };
            match io::receive_nowait(stream.socket.as_raw_fd(), &mut block) {
                Ok(n) if n > 0 && stream.asked + n <= MOST_ASKED => {
                    stream.asked += n;
                    stream.received.extend(&block[..n]);
                }
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => continue,
                _ => {
                    self.streams.remove(key);
                    return;
                }
            }
            while let Some(message) = self.streams.get(key).and_then(ResolverStream::message) {
                self.question(&message, |message| Waiter::Stream(key, message));
            }
        }
    }

    pub(super) fn flush_stream(&mut self, key: SlabKey) {
        let Some(stream) = self.streams.get(key) else { return };
        while !stream.answers.is_empty() {
            match io::send_nowait(stream.socket.as_raw_fd(), &stream.answers) {
                Ok(n) => drop(stream.answers.drain(..n)),
                Err(Errno::EAGAIN) => return,
                Err(_) => {
                    self.streams.remove(key);
                    return;
                }
            }
        }
    }
}

/// The name behind labels such as `_https._tcp`; `None` where there is none of them.
fn service_of(name: &str) -> Option<&str> {
    let mut rest = name;
    while let Some((_, behind)) = rest.split_once('.').filter(|(label, _)| label.starts_with('_')) {
        rest = behind;
    }
    (rest.len() < name.len()).then_some(rest)
}

impl ResolverStream {
    /// The next whole message.
    pub(super) fn message(&mut self) -> Option<Vec<u8>> {
        let head = self.received.get(..2)?;
        let size = usize::from(u16::from_be_bytes([head[0], head[1]]));
        let message = self.received.get(2..2 + size)?.to_vec();
        self.received.drain(..2 + size);
        Some(message)
    }
}
