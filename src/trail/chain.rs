//! The trail's lines: a hash chain, over one or more files.
//!
//! Each line is a JSON object that begins with `seq`, its number, and `prev`, the SHA-256 of the line before it without
//! its line break (64 zeros for the first). So a line that is changed, removed, added or moved breaks the chain at the
//! next one. Lines that are cut off at the end, or a chain that is computed again, can only be found with a hash that was
//! kept elsewhere ([`verify`]).

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::event::{TrailEvent, line};
use crate::error::{Error, Result};

/// `prev` of the first line.
const FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// How each line begins.
const BEGIN: &[u8] = b"{\"seq\":";
/// Bytes of the longest line that is read.
const LONGEST: u64 = 1 << 20;

/// Bounds of the files: the trail has at most `max_size` times `max_files` bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of one file.
    pub max_size: u64,
    /// Files: FILE, FILE.1 and so on.
    pub max_files: usize,
}

/// Where the lines go.
enum Out {
    Stdout,
    File { path: PathBuf, file: File, size: u64, bounds: Bounds },
}

/// The trail that is written.
pub struct Chain {
    seq: u64,
    prev: String,
    out: Out,
}

/// SHA-256 of a line, in hexadecimal.
fn hash(line: &[u8]) -> String {
    Sha256::digest(line).iter().map(|b| format!("{b:02x}")).collect()
}

impl Chain {
    /// A new chain on standard output.
    pub fn stdout() -> Self {
        Chain { seq: 0, prev: FIRST.into(), out: Out::Stdout }
    }

    /// Goes on with the chain in `path`, or begins one. A last line without its end, as a crash leaves it, is removed;
    /// the number of its bytes is returned.
    pub fn open(path: &Path, bounds: Bounds) -> Result<(Self, u64)> {
        let failed = |e: std::io::Error| Error::msg(format!("--output {}: {e}", path.display()));
        check_place(path)?;
        let mut file = create(path).map_err(failed)?;
        check_file(path, &file)?;
        if crate::sys::fs::try_lock(std::os::fd::AsRawFd::as_raw_fd(&file)).is_err() {
            return Err(Error::msg(format!("--output {}: another process writes it", path.display())));
        }
        let Last { mut line, end: size, torn } = last_line(&mut file).map_err(failed)?;
        if line.is_none()
            && let Ok(mut older) = File::open(numbered(path, 1))
        {
            // A crash right after a rotation.
            line = last_line(&mut older).map_err(failed)?.line;
        }
        let foreign = |why: &str| {
            Error::msg(format!("--output {}: not a trail: {why}: choose another file", path.display()))
        };
        let (seq, prev) = match line {
            None => (0, FIRST.to_string()),
            Some(line) => (parse(&line).map_err(|why| foreign(&why))?.0, hash(&line)),
        };
        if !BEGIN.starts_with(&torn[..torn.len().min(BEGIN.len())]) {
            return Err(foreign("its last line is something else"));
        }
        if !torn.is_empty() {
            file.set_len(size).map_err(failed)?;
        }
        let torn = torn.len() as u64;
        let out = Out::File { path: path.into(), file, size, bounds };
        Ok((Chain { seq, prev, out }, torn))
    }

    /// Appends an event. A failure leaves no part of a line.
    pub fn write(&mut self, event: &TrailEvent) -> std::io::Result<()> {
        let mut object = Map::new();
        object.insert("seq".into(), (self.seq + 1).into());
        object.insert("prev".into(), self.prev.clone().into());
        object.extend(event.clone().into_iter().filter(|(key, _)| key != "seq" && key != "prev"));
        let line = line(&object);
        match &mut self.out {
            Out::Stdout => {
                let mut out = std::io::stdout().lock();
                writeln!(out, "{line}")?;
                out.flush()?;
            }
            Out::File { path, file, size, bounds } => {
                let bytes = format!("{line}\n");
                if *size > 0 && *size + bytes.len() as u64 > bounds.max_size {
                    file.sync_data()?;
                    (*file, *size) = (rotate(path, bounds.max_files)?, 0);
                }
                if let Err(e) = file.write_all(bytes.as_bytes()) {
                    file.set_len(*size)?;
                    return Err(e);
                }
                *size += bytes.len() as u64;
            }
        }
        (self.seq, self.prev) = (self.seq + 1, hash(line.as_bytes()));
        Ok(())
    }

    /// Forces what was written to disk.
    pub fn sync(&self) -> std::io::Result<()> {
        match &self.out {
            Out::Stdout => Ok(()),
            Out::File { file, .. } => file.sync_data(),
        }
    }
}

/// Only this user may be able to replace the file: the directory is root's or this user's, and not writable by others
/// (or sticky).
fn check_place(path: &Path) -> Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |why: String| Err(Error::msg(format!("--output {}: {why}", path.display())));
    let meta = match std::fs::metadata(dir) {
        Ok(meta) => meta,
        Err(e) => return failed(e.to_string()),
    };
    let me = nix::unistd::geteuid().as_raw();
    if (meta.uid() != me && meta.uid() != 0) || (meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0) {
        return failed(format!(
            "other users can replace files in {}: choose another directory",
            dir.display()
        ));
    }
    Ok(())
}

fn check_file(path: &Path, file: &File) -> Result<()> {
    let meta = file.metadata().map_err(|e| Error::msg(format!("--output {}: {e}", path.display())))?;
    let mine = meta.uid() == nix::unistd::geteuid().as_raw() && meta.mode() & 0o022 == 0;
    if !meta.is_file() || !mine || meta.nlink() != 1 {
        let what =
            "it must be a regular file of this user, without other names, that no other user can write";
        return Err(Error::msg(format!("--output {}: {what}", path.display())));
    }
    Ok(())
}

fn create(path: &Path) -> std::io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    File::options().read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(path)
}

fn numbered(path: &Path, n: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if n > 0 {
        name.push(format!(".{n}"));
    }
    name.into()
}

/// The oldest file goes, and a new one begins.
fn rotate(path: &Path, max_files: usize) -> std::io::Result<File> {
    let oldest = max_files.saturating_sub(1);
    if oldest == 0 {
        std::fs::remove_file(path)?;
    }
    for n in (0..oldest).rev() {
        match std::fs::rename(numbered(path, n), numbered(path, n + 1)) {
            Err(e) if n > 0 && e.kind() == std::io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    let file = create(path)?;
    // Held by this process alone, as the file before it was.
    crate::sys::fs::try_lock(std::os::fd::AsRawFd::as_raw_fd(&file)).map_err(std::io::Error::from)?;
    Ok(file)
}

/// The end of a file.
struct Last {
    /// The last complete line.
    line: Option<Vec<u8>>,
    /// The bytes up to its end.
    end: u64,
    /// What is after it.
    torn: Vec<u8>,
}

fn last_line(file: &mut File) -> std::io::Result<Last> {
    let from = file.metadata()?.len().saturating_sub(LONGEST);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(LONGEST).read_to_end(&mut tail)?;
    let Some(end) = tail.iter().rposition(|b| *b == b'\n') else {
        return Ok(Last { line: None, end: from, torn: tail });
    };
    let start = tail[..end].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let torn = tail.split_off(end + 1);
    Ok(Last { line: Some(tail[start..end].to_vec()), end: from + end as u64 + 1, torn })
}

/// `seq` and `prev` of a line, or why it is none.
fn parse(line: &[u8]) -> std::result::Result<(u64, String), String> {
    let value: Value = serde_json::from_slice(line).map_err(|_| "a line is no JSON".to_string())?;
    let seq = value["seq"].as_u64().ok_or("a line has no seq")?;
    let prev = value["prev"].as_str().ok_or("a line has no prev")?;
    Ok((seq, prev.to_string()))
}

/// What a whole trail holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its files.
    pub files: usize,
    /// Its lines.
    pub lines: u64,
    /// `seq` of the first line; more than 1 where older files were removed.
    pub first: u64,
    /// Hash of the last line.
    pub head: String,
    /// The hash that was looked for is a line's.
    pub found: bool,
}

/// The first line that breaks the chain.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// The file.
    pub file: PathBuf,
    /// The line's number in it, from 1.
    pub line: u64,
    /// What is wrong.
    pub why: String,
}

/// Reads a trail, FILE and the older FILE.1 and so on, from its oldest line on.
pub fn verify(path: &Path, head: Option<&str>) -> Result<std::result::Result<Verified, Broken>> {
    let older = (1..).take_while(|n| numbered(path, *n).exists()).count();
    let mut found = Verified { files: older + 1, lines: 0, first: 0, head: FIRST.into(), found: false };
    let mut expected: Option<u64> = None;
    for n in (0..=older).rev() {
        let name = numbered(path, n);
        let failed = |e: std::io::Error| Error::msg(format!("{}: {e}", name.display()));
        let mut file = BufReader::new(File::open(&name).map_err(failed)?);
        for number in 1.. {
            let mut line = Vec::new();
            Read::by_ref(&mut file).take(LONGEST).read_until(b'\n', &mut line).map_err(failed)?;
            if line.is_empty() {
                break;
            }
            let broken = |why: String| Ok(Err(Broken { file: name.clone(), line: number, why }));
            if line.pop() != Some(b'\n') {
                return broken("it has no end".into());
            }
            let (seq, prev) = match parse(&line) {
                Ok(parsed) => parsed,
                Err(why) => return broken(why),
            };
            let first = expected.is_none() && seq > 1;
            if expected.unwrap_or(seq.max(1)) != seq {
                return broken(format!("seq is {seq}, not {}", expected.unwrap_or(1)));
            }
            if prev != found.head && !first {
                return broken(
                    "prev is not the hash of the line before it: that line or this one was changed".into(),
                );
            }
            if expected.is_none() {
                found.first = seq;
            }
            (expected, found.lines, found.head) = (Some(seq + 1), found.lines + 1, hash(&line));
            found.found |= head == Some(found.head.as_str());
        }
    }
    Ok(Ok(found))
}
