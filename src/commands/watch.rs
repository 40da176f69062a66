//! `safebox watch`: writes the audit trail of a state root until a signal ends it.

use crate::sys::start::ExitCode;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use crate::cli::{GlobalArgs, WatchArgs};
use crate::commands::common::{VerbResult, root};
use crate::error::{Error, Result, escaped_line};
use crate::policy::Posture;
use crate::state::State;
use crate::sys::{io, rlimit, signal};
use crate::trail::chain::{Bounds, Chain, verify};
use crate::trail::event::{self, EventSource, TrailEvent, event};
use crate::trail::observer::Observer;
use crate::trail::spool::Spool;

/// The smallest file: some lines must fit.
const LEAST: i64 = 64 << 10;

/// Writes the trail, or checks one.
pub fn watch(global: &GlobalArgs, args: &WatchArgs) -> VerbResult {
    if let Some(path) = &args.verify {
        return checked(path, args.head.as_deref());
    }
    let root = root(global)?;
    let max_size = args.max_size.unwrap_or(10 << 20);
    if max_size < LEAST {
        return Err(Error::msg("--max-size: at least 64k is needed").into());
    }
    let bounds =
        Bounds { max_size: max_size.unsigned_abs(), max_files: args.max_files.unwrap_or(5) as usize };
    // A pidfd, and on cgroup v1 two more descriptors, for each container.
    let files = rlimit::started_with(libc::RLIMIT_NOFILE).map_err(|e| Error::os("prlimit", "", e))?;
    rlimit::raise_files(files).map_err(|e| Error::os("prlimit", "", e))?;
    let signals = signal::signalfd(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]);
    let signals = signals.map_err(|e| Error::os("signalfd", "", e))?;
    let output = args.output.as_deref().map(|path| outside(&root, path)).transpose()?;
    let (chain, torn) = match &output {
        Some(path) => Chain::open(path, bounds)?,
        None => (Chain::stdout(), 0),
    };
    let spool = Spool::open(&root)?;
    let observer = Observer::new(&root, &spool)?;
    let resumed = spool.resumed;
    let mut watcher = Watcher { root, output, chain, spool, observer, wrote: false, closed: false };
    let watched = watcher.begin(resumed, torn).and_then(|()| watcher.run(signals));
    match watched {
        Ok(number) => watcher.end(number),
        Err(e) if watcher.output.is_some() => Err(e.into()),
        // Only a file can be gone on with.
        Err(e) => {
            watcher.spool.close()?;
            if watcher.closed { Ok(ExitCode::SUCCESS) } else { Err(e.into()) }
        }
    }
}

/// The watcher's parts.
struct Watcher {
    root: PathBuf,
    output: Option<PathBuf>,
    chain: Chain,
    spool: Spool,
    observer: Observer,
    /// Something was written that is not on disk yet.
    wrote: bool,
    /// The reader of standard output has closed it.
    closed: bool,
}

impl Watcher {
    /// The first events: that the watch begins, and the containers that exist.
    fn begin(&mut self, resumed: bool, torn: u64) -> Result<()> {
        let cut = (torn > 0).then_some(torn);
        let details = json!({ "root": self.root, "resumed": resumed, "removedBytes": cut });
        let first = event(EventSource::Reported, "begin", "", details);
        let listed = self.observer.list();
        self.write(std::iter::once(first).chain(listed))?;
        crate::lifecycle::notify::notify_ready();
        Ok(())
    }

    /// Writes until a signal comes.
    fn run(&mut self, signals: i32) -> Result<i32> {
        loop {
            // What verbs reported comes before what is seen now.
            self.reports()?;
            let seen = self.observer.look();
            if self.spool.lost() {
                let why = "a verb could not write its report: the disk is full, or no watcher read them";
                self.write([event(EventSource::Observed, "lost", "", json!({ "why": why }))])?;
            }
            self.write(seen)?;
            if std::mem::take(&mut self.wrote) {
                let synced = self.chain.sync();
                synced.map_err(|e| self.failed(&e))?;
            }
            self.spool.done()?;
            let mut interests = self.observer.interests();
            // Of standard output only errors: its reader may end.
            interests.extend([(signals, libc::POLLIN), (if self.output.is_none() { 1 } else { -1 }, 0)]);
            let left = self.observer.due().map(|at| at.saturating_duration_since(Instant::now()).as_millis());
            let left = left.map_or(-1, |millis| i32::try_from(millis + 1).unwrap_or(i32::MAX));
            let ready = io::poll(&interests, left).map_err(|e| Error::os("poll", "", e))?;
            if let Some(number) = signal::next_signal(signals) {
                return Ok(number);
            }
            if ready.last().is_some_and(|events| *events != 0) {
                return Err(self.failed(&std::io::ErrorKind::BrokenPipe.into()));
            }
        }
    }

    /// Moves the reports of verbs into the trail.
    fn reports(&mut self) -> Result<()> {
        loop {
            let lines = self.spool.read()?;
            if lines.is_empty() {
                return Ok(());
            }
            self.take(&lines)?;
        }
    }

    fn take(&mut self, lines: &[String]) -> Result<()> {
        for line in lines {
            let reported: TrailEvent = match serde_json::from_str(line) {
                Ok(Value::Object(reported)) => reported,
                // Cut short by a full disk.
                _ => event(EventSource::Observed, "unreadable", "", json!({ "line": event::text(line) })),
            };
            let before = self.observer.reported(&reported);
            let exposed = self.exposed(&reported);
            self.write(before)?;
            self.write(std::iter::once(reported).chain(exposed))?;
        }
        Ok(())
    }

    /// A new container that can see the trail's file.
    fn exposed(&self, reported: &TrailEvent) -> Option<TrailEvent> {
        let text = |key: &str| reported.get(key).and_then(Value::as_str).unwrap_or_default();
        let file = self.output.as_ref().filter(|_| text("event") == "create")?;
        let container = crate::lifecycle::container::Container::load(&self.root, text("id")).ok()?;
        let why = sees(container.state.as_ref()?, file)?;
        Some(event(EventSource::Observed, "exposed", text("id"), json!({ "file": file, "why": why })))
    }

    fn write(&mut self, events: impl IntoIterator<Item = TrailEvent>) -> Result<()> {
        for event in events {
            self.wrote = true;
            if let Err(e) = self.chain.write(&event) {
                return Err(self.failed(&e));
            }
        }
        Ok(())
    }

    fn failed(&mut self, e: &std::io::Error) -> Error {
        self.closed = e.kind() == std::io::ErrorKind::BrokenPipe;
        Error::msg(match &self.output {
            None => format!("standard output: {e}: the watch ends"),
            Some(path) => format!(
                "{}: {e}: the watch ends; reports of verbs are kept for the next watch, up to 16 MiB",
                path.display()
            ),
        })
    }

    /// Ends the watch: the last reports, and the last line.
    fn end(mut self, number: i32) -> VerbResult {
        self.reports()?;
        let Watcher { mut chain, spool, mut observer, .. } = self;
        for line in spool.close()? {
            if let Ok(Value::Object(reported)) = serde_json::from_str(&line) {
                for event in observer.reported(&reported).into_iter().chain([reported]) {
                    chain.write(&event)?;
                }
            }
        }
        let signal = crate::tables::signals::name(number);
        chain.write(&event(EventSource::Reported, "finish", "", json!({ "signal": signal })))?;
        chain.sync()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The absolute path of the trail's file; refused if an existing container can see it.
fn outside(root: &Path, path: &Path) -> Result<PathBuf> {
    let failed = |why: String| Error::msg(format!("--output {}: {why}", path.display()));
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = std::fs::canonicalize(dir).map_err(|e| failed(e.to_string()))?;
    let name = path.file_name().ok_or_else(|| failed("it names no file".into()))?;
    let full = dir.join(name);
    let (seen, _) = crate::lifecycle::container::all(root, |container| {
        Some((container.id.clone(), sees(container.state.as_ref()?, &full)?))
    });
    match seen.into_iter().flatten().next() {
        Some((id, why)) => Err(failed(format!("container {id} can see it ({why}): choose another place"))),
        None => Ok(full),
    }
}

/// Why a container can see a file of the host: the directory that contains it.
fn sees(state: &State, file: &Path) -> Option<String> {
    let asked: Option<Posture> =
        state.asked.as_ref().and_then(|asked| serde_json::from_str(asked.get()).ok());
    let mounts = asked.and_then(|posture| posture.mounts.ok()).unwrap_or_default();
    let sources = mounts.into_iter().filter_map(|mount| mount.source);
    // A container of this machine's programs has the directories that are mounted, not all of /.
    let own = Some(state.rootfs.clone()).filter(|_| state.bundle != state.rootfs);
    let mut places = own.into_iter().chain(sources);
    places.find(|place| file.starts_with(place)).map(|place| format!("it is below {}", place.display()))
}

/// `--verify`: 0 if the chain is whole, 1 if it is not.
fn checked(path: &Path, head: Option<&str>) -> VerbResult {
    let mut out = std::io::stdout().lock();
    let shown = escaped_line(&path.display().to_string());
    match verify(path, head)? {
        Err(broken) => {
            let file = escaped_line(&broken.file.display().to_string());
            writeln!(out, "{file}:{}: the chain is broken: {}", broken.line, broken.why)?;
            Ok(ExitCode::from(1))
        }
        Ok(found) if head.is_some() && !found.found => {
            writeln!(
                out,
                "{shown}: the chain is whole, but has no line with the hash of --head: lines were cut off at its end, older files removed, or it was written anew"
            )?;
            Ok(ExitCode::from(1))
        }
        Ok(found) => {
            let from = match found.first {
                0 | 1 => String::new(),
                first => format!("; it begins with line {first}: older files were removed"),
            };
            let files = if found.files == 1 { "1 file".into() } else { format!("{} files", found.files) };
            writeln!(out, "{shown}: {} lines in {files}, whole{from}", found.lines)?;
            writeln!(out, "head {} (kept elsewhere, it finds lines that are cut off: --head)", found.head)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
