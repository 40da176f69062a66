//! Tests of the chain and the spool.

use std::path::Path;

use serde_json::json;

use super::chain::{Bounds, Chain, verify};
use super::event::{self, EventSource, TrailEvent, event, line};
use super::spool::{SPOOL, Spool, report};

fn observed(name: &str, details: serde_json::Value) -> TrailEvent {
    event(EventSource::Observed, name, "c", details)
}

fn bounds(max_size: u64, max_files: usize) -> Bounds {
    Bounds { max_size, max_files }
}

fn write(path: &Path, bounds: Bounds, count: usize) {
    let (mut chain, _) = Chain::open(path, bounds).unwrap();
    (0..count).for_each(|n| chain.write(&observed("x", json!({ "n": n }))).unwrap());
}

#[test]
fn hostile_text_is_ascii_in_one_line() {
    let text = "a\n\u{9b}31m\u{202e}\u{1f600}\"\u{7f}";
    let line = line(&observed("x", json!({ "args": event::words(&[text.to_string()]) })));
    assert!(line.is_ascii() && !line.contains('\n') && !line.contains('\u{7f}'), "{line}");
    let back: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(back["args"][0], text);
    let cut = event::words(&["é".repeat(5000), "b".into()]);
    assert_eq!((&cut["cutBytes"], &cut["cutWords"]), (&json!(5905), &json!(1)), "{cut}");
}

#[test]
fn each_change_of_a_trail_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trail");
    write(&path, bounds(1 << 20, 3), 3);
    // A later watch goes on.
    write(&path, bounds(1 << 20, 3), 3);
    let whole = std::fs::read_to_string(&path).unwrap();
    let found = verify(&path, None).unwrap().unwrap();
    assert_eq!((found.lines, found.first, found.files), (6, 1, 1));
    let lines: Vec<&str> = whole.lines().collect();
    let swapped = [lines[0], lines[2], lines[1], lines[3], lines[4], lines[5]].join("\n") + "\n";
    let edited = whole.replacen("\"n\":1", "\"n\":7", 1);
    let removed = [&lines[..2], &lines[3..]].concat().join("\n") + "\n";
    let first = lines[1..].join("\n") + "\n";
    let renumbered = whole.replacen("\"seq\":6", "\"seq\":9", 1);
    for (text, line) in [(swapped, 2), (edited, 3), (removed, 3), (renumbered, 6)] {
        std::fs::write(&path, &text).unwrap();
        assert_eq!(verify(&path, None).unwrap().unwrap_err().line, line, "{text}");
    }
    // What no chain can tell is found with a hash that was kept: a missing end, and a missing beginning is reported.
    std::fs::write(&path, lines[..5].join("\n") + "\n").unwrap();
    assert!(!verify(&path, Some(&found.head)).unwrap().unwrap().found);
    std::fs::write(&path, first).unwrap();
    let later = verify(&path, Some(&found.head)).unwrap().unwrap();
    assert!(later.first == 2 && later.found);
    std::fs::write(&path, "{\"seq\":1,\"prev\":\"00\"}\n").unwrap();
    assert_eq!(verify(&path, None).unwrap().unwrap_err().line, 1);
}

#[test]
fn rotation_goes_on_with_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trail");
    write(&path, bounds(1000, 3), 40);
    let found = verify(&path, None).unwrap().unwrap();
    assert!(found.files == 3 && found.first > 1 && found.first + found.lines == 41, "{found:?}");
    let sizes = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len());
    assert!(sizes.max().unwrap() <= 1000);
    // A crash between the rotation and the first line.
    std::fs::rename(&path, dir.path().join("trail.0")).unwrap();
    std::fs::remove_file(dir.path().join("trail.2")).unwrap();
    std::fs::rename(dir.path().join("trail.1"), dir.path().join("trail.2")).unwrap();
    std::fs::rename(dir.path().join("trail.0"), dir.path().join("trail.1")).unwrap();
    write(&path, bounds(1000, 3), 1);
    assert_eq!(verify(&path, None).unwrap().unwrap().files, 3);
}

#[test]
fn what_a_crash_leaves_is_removed_and_other_files_are_refused() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trail");
    write(&path, bounds(1 << 20, 3), 2);
    let mut file = std::fs::File::options().append(true).open(&path).unwrap();
    file.write_all(b"{\"seq\":3,\"pr").unwrap();
    drop(file);
    assert!(verify(&path, None).unwrap().is_err());
    assert_eq!(Chain::open(&path, bounds(1 << 20, 3)).unwrap().1, 12);
    assert_eq!(verify(&path, None).unwrap().unwrap().lines, 2);
    for foreign in ["precious", "precious\n", "{}\n", "{\"seq\":1,\"prev\":\"\"}\nprecious"] {
        std::fs::write(&path, foreign).unwrap();
        assert!(Chain::open(&path, bounds(1 << 20, 3)).is_err(), "{foreign}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), foreign);
    }
    std::os::unix::fs::symlink("trail", dir.path().join("link")).unwrap();
    assert!(Chain::open(&dir.path().join("link"), bounds(1 << 20, 3)).is_err());
}

#[test]
fn reports_are_kept_in_order_until_they_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    // No watch: nothing is built.
    report(&root, || unreachable!()).unwrap();
    let mut spool = Spool::open(&root).unwrap();
    assert!(Spool::open(&root).is_err_and(|e| e.to_string().contains("watches")));
    let send = |n: usize| report(&root, || vec![observed("x", json!({ "n": n }))]).unwrap();
    (0..5).for_each(send);
    let lines = spool.read().unwrap();
    assert_eq!(lines.len(), 5);
    assert!(lines[4].contains("\"n\":4"));
    spool.done().unwrap();
    // Killed: the next one begins where it was, and a line that was cut short spoils no other.
    send(5);
    let path = root.join(SPOOL);
    std::io::Write::write_all(&mut std::fs::File::options().append(true).open(path).unwrap(), b"\n{\"ev")
        .unwrap();
    send(6);
    drop(spool);
    let mut spool = Spool::open(&root).unwrap();
    assert!(spool.resumed);
    let lines = spool.read().unwrap();
    assert!(lines.len() == 3 && lines[0].contains("\"n\":5") && lines[1] == "{\"ev", "{lines:?}");
    send(7);
    assert_eq!(spool.close().unwrap().len(), 1);
    report(&root, || unreachable!()).unwrap();
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
}

#[test]
fn a_full_spool_is_reported_and_an_empty_one_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let mut spool = Spool::open(&root).unwrap();
    let big = json!({ "text": "x".repeat(100_000) });
    let mut sent = 0;
    while report(&root, || vec![observed("x", big.clone())]).is_ok() {
        sent += 1;
    }
    assert!(sent > 150 && !root.join(SPOOL).metadata().is_ok_and(|m| m.len() > 16 << 20));
    let mut read = 0;
    loop {
        match spool.read().unwrap().len() {
            0 => break,
            n => read += n,
        }
        spool.done().unwrap();
    }
    assert_eq!(read, sent);
    assert_eq!(root.join(SPOOL).metadata().unwrap().len(), 0);
    assert!(spool.lost() && !spool.lost());
    report(&root, || vec![observed("x", json!({}))]).unwrap();
    assert_eq!(spool.read().unwrap().len(), 1);
}
