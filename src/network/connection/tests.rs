use super::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// A connection between two sockets, whose other ends are returned.
fn connection(guard: NameGuard) -> (Connection, UnixStream, UnixStream) {
    let (program, inside) = UnixStream::pair().unwrap();
    let (outside, server) = UnixStream::pair().unwrap();
    for socket in [&inside, &outside] {
        socket.set_nonblocking(true).unwrap();
    }
    let end =
        |socket: UnixStream| SocketEnd { fd: socket.into(), readable: true, writable: true, failed: false };
    let connection = Connection {
        inside: end(inside),
        outside: Some(end(outside)),
        up: Flow::default(),
        down: Flow::default(),
        guard,
        phase: ConnectionPhase::Open,
        inward: false,
        deadline: Instant::now(),
        name: None,
        meant: "127.0.0.1:1".parse().unwrap(),
        rule: "".into(),
        families: Vec::new(),
        candidates: Vec::new(),
        dialled: None,
        shut: None,
    };
    (connection, program, server)
}

fn ready(c: &mut Connection) {
    let all = (libc::EPOLLIN | libc::EPOLLOUT) as u32;
    c.inside.note(all);
    c.outside.iter_mut().for_each(|end| end.note(all));
}

#[test]
fn bytes_and_half_closes_go_both_ways() {
    let mut means = Means::default();
    let (mut c, mut program, mut server) = connection(NameGuard::None);
    program.write_all(b"question").unwrap();
    program.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(c.copy(&mut means), Turn::Idle);
    let mut text = String::new();
    server.read_to_string(&mut text).unwrap();
    assert_eq!(text, "question");
    server.write_all(b"answer").unwrap();
    drop(server);
    ready(&mut c);
    assert_eq!(c.copy(&mut means), Turn::Done);
    drop(c);
    text.clear();
    program.read_to_string(&mut text).unwrap();
    assert_eq!(text, "answer");
}

#[test]
fn a_slow_reader_bounds_what_is_kept() {
    let mut means = Means::default();
    let (mut c, program, mut server) = connection(NameGuard::None);
    program.set_nonblocking(true).unwrap();
    let mut written = 0u64;
    for _ in 0..1000 {
        while let Ok(n) = (&program).write(&[7; 4096]) {
            written += n as u64;
        }
        ready(&mut c);
        c.copy(&mut means);
        assert!(c.up.pending.len() <= BLOCK, "{}", c.up.pending.len());
    }
    drop(program);
    // Everything arrives.
    let mut read = 0u64;
    loop {
        ready(&mut c);
        c.copy(&mut means);
        server.set_nonblocking(true).unwrap();
        match server.read(&mut vec![0; 65536]) {
            Ok(0) => break,
            Ok(n) => read += n as u64,
            Err(_) => {}
        }
    }
    assert_eq!((read, c.up.bytes), (written, written));
}

#[test]
fn what_is_refused_does_not_go_on_and_what_came_before_does() {
    let mut means = Means::default();
    let (mut c, mut program, mut server) = connection(NameGuard::Http(Http::new("a.test", 80)));
    let good = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    program.write_all(format!("{good}GET / HTTP/1.1\r\nHost: b.test\r\n\r\n").as_bytes()).unwrap();
    assert!(matches!(c.copy(&mut means), Turn::Refused(_)));
    drop(c);
    let mut text = String::new();
    server.read_to_string(&mut text).unwrap();
    assert_eq!(text, good);
}

/// Bytes whose order shows.
fn pattern(from: usize, n: usize) -> Vec<u8> {
    (from..from + n).map(|i| (i / 251 + i) as u8).collect()
}

#[test]
fn a_stream_through_pipes_arrives_in_order_and_loses_them_in_a_pause() {
    let mut means = Means::default();
    let (mut c, program, server) = connection(NameGuard::None);
    for socket in [&program, &server] {
        socket.set_nonblocking(true).unwrap();
        nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::SndBuf, &(1 << 20)).unwrap();
    }
    let (mut sent, mut received, mut had_one) = (0, 0, false);
    let mut block = vec![0; 300_000];
    while sent < 8 << 20 {
        while let Ok(n) = (&program).write(&pattern(sent, BLOCK * 2)) {
            sent += n;
        }
        ready(&mut c);
        assert!(!matches!(c.copy(&mut means), Turn::Reset));
        had_one |= c.up.pipe.is_some();
        while let Ok(n) = (&server).read(&mut block) {
            assert!(block[..n] == pattern(received, n), "at {received}");
            received += n;
        }
    }
    assert!(had_one, "it has never had a pipe");
    for _ in 0..100 {
        ready(&mut c);
        c.copy(&mut means);
        c.up.release_idle(&mut means.pipes);
        while let Ok(n) = (&server).read(&mut block) {
            received += n;
        }
    }
    assert_eq!((received as u64, c.up.bytes), (sent as u64, sent as u64));
    assert!(c.up.pipe.is_none() && !means.pipes.are_used(), "it holds a pipe in a pause");
}

/// Its half is closed, so no read shows that it is gone; the other side says nothing.
#[test]
fn a_side_that_is_gone_after_its_end_ends_the_connection() {
    let mut means = Means::default();
    for of_program in [true, false] {
        let (mut c, program, server) = connection(NameGuard::None);
        let ends = if of_program { &program } else { &server };
        ends.shutdown(std::net::Shutdown::Write).unwrap();
        ready(&mut c);
        assert_eq!(c.copy(&mut means), Turn::Idle, "half closed");
        let gone = if of_program { Some(&mut c.inside) } else { c.outside.as_mut() };
        gone.unwrap().note((libc::EPOLLERR | libc::EPOLLHUP) as u32);
        assert_eq!(c.copy(&mut means), Turn::Reset);
    }
}
