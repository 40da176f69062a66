//! The output of a detached container on disk: `--log-driver json-file`, in docker's format, a line of JSON for each line.
//!
//! `log.json` is written to, `log.json.1` is the file before it, and so on. What is dropped is the oldest file, whole.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::launch::value::LogRotation;
use crate::lifecycle::relay::{Count, RelayEnd};
use crate::lifecycle::sidecar::Sidecar;
use crate::state::files::LOG;
use crate::sys::Errno;
use crate::sys::io::Interest;

/// A longer line is several entries, of which the last one alone ends with a line break; as docker has it.
const LONGEST: usize = 16_384;
/// Bytes that are read at a time.
const ROOM: usize = 65_536;
/// What is taken after the container's end at most: more than a pipe holds (fs.pipe-max-size).
const LAST: u64 = 2 << 20;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// What was written, with its line break.
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// When, RFC 3339 with nanoseconds.
    pub time: String,
}

/// The files of a log, for the process that writes them.
pub struct LogFile {
    dir: PathBuf,
    file: File,
    size: u64,
    options: LogRotation,
}

impl LogFile {
    /// In the container's directory.
    pub fn create(dir: &Path, options: LogRotation) -> std::io::Result<Self> {
        let file = open(&dir.join(LOG))?;
        let size = file.metadata()?.len();
        Ok(LogFile { dir: dir.into(), file, size, options })
    }

    /// Writes whole lines of JSON; a full disk loses them, and stops nothing.
    fn write(&mut self, lines: &[u8]) -> bool {
        let mut written = true;
        for line in lines.split_inclusive(|b| *b == b'\n') {
            if self.size > 0 && self.size + line.len() as u64 > self.options.max_size {
                self.rotate();
            }
            let whole = self.file.write_all(line).is_ok();
            self.size += line.len() as u64;
            written &= whole;
        }
        written
    }

    /// The oldest file goes, and a new one begins. Where that fails the present one goes on.
    fn rotate(&mut self) {
        let name = |n: usize| path(&self.dir, n);
        let oldest = self.options.max_file.saturating_sub(1);
        if oldest == 0 {
            std::fs::remove_file(name(0)).unwrap_or_default();
        }
        for n in (0..oldest).rev() {
            // A file that is not there yet.
            std::fs::rename(name(n), name(n + 1)).unwrap_or_default();
        }
        if let Ok(file) = open(&name(0)) {
            (self.file, self.size) = (file, 0);
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(flags).open(path)
}

/// The file with number `n`; 0 is the one that is written to.
fn path(dir: &Path, n: usize) -> PathBuf {
    if n == 0 { dir.join(LOG) } else { dir.join(format!("{LOG}.{n}")) }
}

/// Copies one stream of the program's into the log.
pub struct LogCopy {
    from: Option<RelayEnd>,
    stream: &'static str,
    number: u8,
    /// A line that has not ended yet.
    line: Vec<u8>,
    taken: u64,
    lost: u64,
    log: std::rc::Rc<std::cell::RefCell<LogFile>>,
}

impl LogCopy {
    /// Of stdout (1) or stderr (2).
    pub fn new(
        from: OwnedFd,
        number: u8,
        log: std::rc::Rc<std::cell::RefCell<LogFile>>,
    ) -> crate::sys::SysResult<Self> {
        let stream = if number == 1 { "stdout" } else { "stderr" };
        let from = Some(RelayEnd::own(from)?);
        Ok(LogCopy { from, stream, number, line: Vec::new(), taken: 0, lost: 0, log })
    }

    /// The number of the stream, and what came of it.
    pub fn count(&self) -> (u8, Count) {
        (self.number, Count { bytes: self.taken, cut: 0, lost: self.lost })
    }

    /// Reads once, as much as the pipe has.
    fn fill(&mut self) {
        let Some(from) = &self.from else { return };
        let mut buffer = vec![0; ROOM];
        match from.read(&mut buffer) {
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Ok(n) if n > 0 => self.take(&buffer[..n]),
            _ => {
                self.from = None;
                self.flush();
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.taken += bytes.len() as u64;
        let (time, mut lines) = (crate::time::now(), Vec::new());
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            self.line.extend_from_slice(part);
            while self.line.len() > LONGEST {
                let rest = self.line.split_off(boundary(&self.line));
                let piece = std::mem::replace(&mut self.line, rest);
                self.entry(&piece, &time, &mut lines);
            }
            if self.line.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.entry(&line, &time, &mut lines);
            }
        }
        self.write(&lines);
    }

    fn entry(&self, text: &[u8], time: &str, lines: &mut Vec<u8>) {
        let log = String::from_utf8_lossy(text).into_owned();
        let entry = LogEntry { log, stream: self.stream.into(), time: time.into() };
        // Texts become JSON whatever they are.
        serde_json::to_writer(&mut *lines, &entry).unwrap_or_default();
        lines.push(b'\n');
    }

    fn write(&mut self, lines: &[u8]) {
        if !self.log.borrow_mut().write(lines) {
            self.lost += lines.len() as u64;
        }
    }

    /// The last line, where it has no end.
    fn flush(&mut self) {
        if !self.line.is_empty() {
            let (line, mut lines) = (std::mem::take(&mut self.line), Vec::new());
            self.entry(&line, &crate::time::now(), &mut lines);
            self.write(&lines);
        }
    }
}

/// Where a long line is divided: not inside a character.
fn boundary(line: &[u8]) -> usize {
    (LONGEST - 4..=LONGEST).rev().find(|at| line[*at] & 0xc0 != 0x80).unwrap_or(LONGEST)
}

impl Sidecar for LogCopy {
    fn descriptors(&self) -> Vec<Interest> {
        vec![(self.from.as_ref().map_or(-1, RelayEnd::as_raw_fd), libc::POLLIN)]
    }

    fn ready(&mut self, events: &[i16]) {
        if events.iter().any(|e| *e != 0) {
            self.fill();
        }
    }

    /// A process that outlives the container may hold the other end open: what is not there now is not waited for.
    fn is_done(&mut self) -> bool {
        let first = self.taken;
        while self.from.is_some() {
            let before = self.taken;
            self.fill();
            if self.taken == before || self.taken - first > LAST {
                self.from = None;
            }
        }
        self.flush();
        true
    }
}

/// Reads a log while it is written and turned over.
pub struct LogReader {
    dir: PathBuf,
    file: Option<File>,
    /// What was read and is no whole line yet.
    rest: Vec<u8>,
}

impl LogReader {
    /// From the oldest entry on.
    pub fn new(dir: &Path) -> Self {
        let oldest = files(dir).into_iter().next();
        LogReader { dir: dir.into(), file: oldest.map(|(_, file)| file), rest: Vec::new() }
    }

    /// What was written since the last call; empty: nothing yet.
    pub fn read(&mut self) -> std::io::Result<Vec<LogEntry>> {
        use std::io::Read;
        let mut entries = Vec::new();
        let mut buffer = vec![0; ROOM];
        loop {
            let Some(file) = &mut self.file else {
                self.file = files(&self.dir).into_iter().next().map(|(_, file)| file);
                if self.file.is_none() {
                    return Ok(entries);
                }
                continue;
            };
            let n = file.read(&mut buffer)?;
            self.rest.extend_from_slice(&buffer[..n]);
            if let Some(end) = self.rest.iter().rposition(|b| *b == b'\n') {
                let lines = self.rest[..end].split(|b| *b == b'\n');
                entries.extend(lines.filter_map(|line| serde_json::from_slice::<LogEntry>(line).ok()));
                self.rest.drain(..=end);
            }
            if !entries.is_empty() {
                return Ok(entries);
            }
            if n == 0 && !self.next() {
                return Ok(entries);
            }
        }
    }

    /// Goes on to the file after this one, if there is one by now.
    fn next(&mut self) -> bool {
        use std::io::Read;
        let Some(mut file) = self.file.take() else { return false };
        let Ok(meta) = file.metadata() else { return false };
        let all = files(&self.dir);
        let at = all.iter().position(|(inode, _)| *inode == meta.ino());
        // One that was dropped meanwhile has the oldest after it.
        let after = at.map_or(0, |at| at + 1);
        // What was written to it between the last read and its end.
        let mut last = Vec::new();
        if file.read_to_end(&mut last).is_ok_and(|n| n > 0) {
            self.rest.extend(last);
            self.file = Some(file);
            return true;
        }
        match all.into_iter().nth(after) {
            Some((_, next)) => {
                self.file = Some(next);
                true
            }
            None => {
                self.file = Some(file);
                false
            }
        }
    }
}

/// The files of a log, the oldest first, with their inodes.
fn files(dir: &Path) -> Vec<(u64, File)> {
    let mut found = Vec::new();
    for n in 0.. {
        // While one is renamed, a name may be missing for a moment: the one after it is looked for, too.
        match File::open(path(dir, n)) {
            Ok(file) => found.extend(file.metadata().map(|m| (m.ino(), file)).ok()),
            Err(_) if n > found.len() + 1 => break,
            Err(_) => {}
        }
    }
    found.reverse();
    found.dedup_by_key(|(inode, _)| *inode);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn copy(dir: &Path, max_size: u64, max_file: usize) -> (LogCopy, std::io::PipeWriter) {
        let (reader, writer) = std::io::pipe().unwrap();
        let log = LogFile::create(dir, LogRotation { max_size, max_file }).unwrap();
        (LogCopy::new(reader.into(), 1, Rc::new(RefCell::new(log))).unwrap(), writer)
    }

    #[test]
    fn lines_are_docker_s() {
        let dir = tempfile::tempdir().unwrap();
        let (mut copy, mut writer) = copy(dir.path(), 1 << 20, 2);
        let long = "x".repeat(LONGEST + 5);
        writer.write_all(format!("a \"b\"\n{long}\nno end").as_bytes()).unwrap();
        copy.ready(&[libc::POLLIN]);
        drop(writer);
        assert!(copy.is_done());
        let text = std::fs::read_to_string(dir.path().join(LOG)).unwrap();
        assert!(text.starts_with(r#"{"log":"a \"b\"\n","stream":"stdout","time":"2"#), "{text}");
        let logs: Vec<_> = LogReader::new(dir.path()).read().unwrap().into_iter().map(|e| e.log).collect();
        assert_eq!(logs.concat(), format!("a \"b\"\n{long}\nno end"));
        assert_eq!(logs.len(), 4);
        assert_eq!(copy.count().1.bytes, 6 + LONGEST as u64 + 6 + 6);
    }

    /// A reader that keeps up misses nothing, and the file holds the newest lines at the end.
    #[test]
    fn a_log_that_is_turned_over_loses_the_oldest_only() {
        let dir = tempfile::tempdir().unwrap();
        let (mut copy, mut writer) = copy(dir.path(), 2000, 3);
        let mut reader = LogReader::new(dir.path());
        let (mut seen, mut written) = (Vec::new(), Vec::new());
        for n in 0..400 {
            writer.write_all(format!("line {n}\n").as_bytes()).unwrap();
            written.push(format!("line {n}\n"));
            copy.ready(&[libc::POLLIN]);
            if n % 7 == 0 {
                loop {
                    let more = reader.read().unwrap();
                    if more.is_empty() {
                        break;
                    }
                    seen.extend(more.into_iter().map(|e| e.log));
                }
            }
        }
        while let Ok(more) = reader.read()
            && !more.is_empty()
        {
            seen.extend(more.into_iter().map(|e| e.log));
        }
        assert_eq!(seen, written);
        let mut kept = Vec::new();
        let mut again = LogReader::new(dir.path());
        while let Ok(more) = again.read()
            && !more.is_empty()
        {
            kept.extend(more.into_iter().map(|e| e.log));
        }
        assert!(kept.len() > 40 && written.ends_with(&kept), "{}", kept.len());
        assert!(std::fs::read_dir(dir.path()).unwrap().count() == 3);
    }
}
