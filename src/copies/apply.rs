//! Writes the changes of a layer to its base.
//!
//! A kill at any moment leaves every path either old or new. First every new file is copied to a temporary name in its
//! own directory; a journal in the layer's directory names these. Then the journal says that writing begins, and each
//! path is replaced by rename(2). `safebox apply` after an interruption removes the temporary files, or finishes.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::at::{self, Base, Copies};
use super::{ChangeKind, PathChange};
use crate::error::{Error, Result};
use crate::host::mountinfo::mounts_below;
use crate::state::layers::{self, LayerRecord};
use crate::state::tree;
use crate::sys::replace::{self, replace_path};

/// Name of the journal in a container's directory of layers.
const JOURNAL: &str = "apply.json";
/// Conflicts that an error lists.
const LISTED: usize = 10;

/// How far an apply has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum ApplyPhase {
    /// New files are being copied to temporary names.
    Staging,
    /// Paths are being replaced: it can only be finished.
    Writing,
}

#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    phase: ApplyPhase,
    steps: Vec<ApplyStep>,
}

/// What is done to one path.
#[derive(Debug, Serialize, Deserialize)]
struct ApplyStep {
    /// Number of the base.
    base: usize,
    /// The path below it. JSON has no text for a name that is not UTF-8.
    #[serde(with = "bytes")]
    path: PathBuf,
    /// Temporary name, in the path's directory.
    temp: String,
    act: ApplyAct,
}

/// A path as a list of its bytes.
mod bytes {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_bytes().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Vec::deserialize(from).map(|bytes| OsString::from_vec(bytes).into())
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum ApplyAct {
    /// The temporary file takes the path's place.
    Put,
    /// The same, where one of the two is a directory: the old one goes to another temporary name first.
    Replace,
    /// The path with this inode is removed, by way of the temporary name.
    Remove(u64),
    /// A directory gets this mode.
    Mode(u32),
}

/// What was done.
#[derive(Debug, Default)]
pub struct Applied {
    /// Paths that were written or removed; a new directory counts once.
    pub paths: usize,
    /// Files that cannot be written back, with the reason.
    pub skipped: Vec<String>,
    /// It finished an apply that was interrupted.
    pub finished: bool,
    /// Changes remain in the layer.
    pub remaining: bool,
}

/// The layers of one container.
pub struct ContainerLayers<'a> {
    /// Directory of all layers.
    pub store: &'a Path,
    /// What is recorded of these.
    pub record: &'a LayerRecord,
}

impl ContainerLayers<'_> {
    fn dir(&self) -> PathBuf {
        self.store.join(&self.record.id)
    }

    fn upper(&self, base: usize) -> PathBuf {
        layers::upper(self.store, &self.record.id, base)
    }

    /// Excludes another apply or discard of the same layers while the file is open.
    fn lock(&self) -> Result<std::fs::File> {
        let path = self.dir().join(layers::RECORD);
        let file = std::fs::File::open(&path).map_err(|e| failed(&path, &e))?;
        match crate::sys::fs::try_lock(file.as_raw_fd()) {
            Ok(()) => Ok(file),
            Err(_) => Err(Error::msg(format!(
                "{}: another safebox writes or removes these changes",
                self.record.id
            ))),
        }
    }

    /// Every change, with the number of its base.
    pub fn changes(&self) -> Result<Vec<(usize, PathChange)>> {
        let mut all = Vec::new();
        for (i, base) in self.record.bases.iter().enumerate() {
            let upper = self.upper(i);
            let found = super::changes(base, &upper).map_err(|e| failed(&upper, &e))?;
            all.extend(found.into_iter().map(|change| (i, change)));
        }
        Ok(all)
    }

    /// Whether an apply was interrupted after it began to write.
    pub fn is_interrupted(&self) -> Result<bool> {
        Ok(self.journal()?.is_some_and(|j| j.phase == ApplyPhase::Writing))
    }

    fn journal(&self) -> Result<Option<Journal>> {
        let path = self.dir().join(JOURNAL);
        match std::fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed(&path, &e)),
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| failed(&path, &e.into())),
        }
    }

    fn write_journal(&self, journal: &Journal) -> Result<()> {
        let path = self.dir().join(JOURNAL);
        let bytes = serde_json::to_vec(journal).map_err(|e| failed(&path, &e.into()))?;
        let kind = replace::ReplaceMode { mode: 0o600, sync: true };
        replace_path(&self.dir().join("apply.json.new"), &path, &bytes, kind).map_err(|e| failed(&path, &e))
    }

    fn remove_journal(&self) -> Result<()> {
        let path = self.dir().join(JOURNAL);
        std::fs::remove_file(&path).map_err(|e| failed(&path, &e))
    }

    fn open_bases(&self) -> Result<Vec<Base>> {
        self.record.bases.iter().map(|base| Base::open(base).map_err(|e| failed(base, &e))).collect()
    }

    /// Writes the changes at or below `paths`, or all. Refuses, before anything is written, what changed in the base since
    /// the run began.
    pub fn apply(&self, paths: &[PathBuf]) -> Result<Applied> {
        let _lock = self.lock()?;
        let bases = self.open_bases()?;
        let finished = self.resume(&bases)?;
        let changes = self.changes()?;
        if changes.is_empty() && finished {
            self.discard_empty()?;
            return Ok(Applied { finished, ..Applied::default() });
        }
        let chosen = self.choose(&changes, paths)?;
        self.refuse_conflicts(&chosen)?;
        let mut journal = Journal { phase: ApplyPhase::Staging, steps: self.steps(&chosen) };
        self.write_journal(&journal)?;
        let staged = self.stage(&bases, &journal.steps).and_then(|skipped| {
            journal.phase = ApplyPhase::Writing;
            self.write_journal(&journal).map(|()| skipped)
        });
        let skipped = match staged {
            Ok(skipped) => skipped,
            Err(e) => {
                // A disk that is full by now must not stay so.
                self.unstage(&bases, &journal.steps)?;
                self.remove_journal()?;
                return Err(e);
            }
        };
        self.write(&bases, &journal.steps)?;
        self.remove_journal()?;
        // What cannot be written back is gone with the layer.
        let rest = self.changes()?;
        let special = |(_, change): &(usize, PathChange)| {
            let kind = change.meta.file_type();
            !kind.is_file() && !kind.is_dir() && !kind.is_symlink()
        };
        let remaining = !rest.iter().all(special);
        if !remaining {
            self.discard_empty()?;
        }
        Ok(Applied { paths: journal.steps.len(), skipped, finished, remaining })
    }

    fn discard_empty(&self) -> Result<()> {
        layers::discard(self.store, &self.record.id).map_err(|e| failed(&self.dir(), &e))
    }

    /// Removes the layers with all changes.
    pub fn discard(&self) -> Result<()> {
        let _lock = self.lock()?;
        match self.journal()? {
            Some(journal) if journal.phase == ApplyPhase::Writing => {
                return Err(Error::msg(format!(
                    "{0}: an apply was interrupted after it began to write: safebox apply {0} finishes it",
                    self.record.id
                )));
            }
            Some(journal) => self.unstage(&self.open_bases()?, &journal.steps)?,
            None => {}
        }
        self.discard_empty()
    }

    /// Finishes an apply that was interrupted while it wrote, or removes the files of one that had not begun to.
    fn resume(&self, bases: &[Base]) -> Result<bool> {
        let Some(journal) = self.journal()? else { return Ok(false) };
        match journal.phase {
            ApplyPhase::Writing => self.write(bases, &journal.steps)?,
            ApplyPhase::Staging => self.unstage(bases, &journal.steps)?,
        }
        self.remove_journal()?;
        Ok(journal.phase == ApplyPhase::Writing)
    }

    fn choose<'c>(
        &self,
        all: &'c [(usize, PathChange)],
        paths: &[PathBuf],
    ) -> Result<Vec<&'c (usize, PathChange)>> {
        let full = |(base, change): &(usize, PathChange)| self.record.bases[*base].join(&change.path);
        for path in paths {
            if !all.iter().any(|c| full(c).starts_with(path)) {
                return Err(Error::msg(format!(
                    "{}: no change at or below this path (safebox diff {})",
                    path.display(),
                    self.record.id
                )));
            }
        }
        let chosen: Vec<_> =
            all.iter().filter(|c| paths.is_empty() || paths.iter().any(|p| full(c).starts_with(p))).collect();
        for change in &chosen {
            let parent = change.1.path.parent().unwrap_or(Path::new(""));
            let new_dir_of =
                |c: &(usize, PathChange)| c.0 == change.0 && c.1.path == parent && !c.1.mode_only;
            if all.iter().any(new_dir_of) && !chosen.iter().any(|c| new_dir_of(c)) {
                return Err(Error::msg(format!(
                    "{}: its directory is new: apply {}",
                    full(change).display(),
                    self.record.bases[change.0].join(parent).display()
                )));
            }
        }
        Ok(chosen)
    }

    /// What changed in the base since the run began.
    fn refuse_conflicts(&self, chosen: &[&(usize, PathChange)]) -> Result<()> {
        let mut conflicts = Vec::new();
        let mounts = std::fs::read("/proc/self/mountinfo").map_err(|e| failed(Path::new("/proc"), &e))?;
        for (base, change) in chosen {
            let path = self.record.bases[*base].join(&change.path);
            let goes = change.kind == ChangeKind::Deleted || !change.meta.is_dir();
            // The program has seen what the mounts cover, and the removal would remove what they show.
            if let Some((at, _)) = mounts_below(&mounts, &path).pop().filter(|_| goes) {
                return Err(Error::msg(format!(
                    "nothing is written: {}: the mount at {} is below it: umount it first",
                    path.display(),
                    at.display()
                )));
            }
            if changed_since(&path, self.record.since, goes).map_err(|e| failed(&path, &e))? {
                conflicts.push(path.display().to_string());
            }
        }
        if conflicts.is_empty() {
            return Ok(());
        }
        let more = conflicts.len().saturating_sub(LISTED);
        conflicts.truncate(LISTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Err(Error::msg(format!(
            "nothing is written: changed on the host since the run began: {}{more} (safebox apply {} PATH... writes others)",
            conflicts.join(", "),
            self.record.id
        )))
    }

    /// A new directory is one step, with all that is in it.
    fn steps(&self, chosen: &[&(usize, PathChange)]) -> Vec<ApplyStep> {
        let (mut steps, token): (Vec<ApplyStep>, _) = (Vec::new(), tree::token());
        for (number, (base, change)) in chosen.iter().enumerate() {
            let is_inside = |s: &ApplyStep| {
                s.base == *base && !matches!(s.act, ApplyAct::Mode(_)) && change.path.starts_with(&s.path)
            };
            if steps.iter().rev().any(is_inside) {
                continue;
            }
            let old = self.record.bases[*base].join(&change.path).symlink_metadata().ok();
            let act = match (change.kind, old) {
                (_, _) if change.mode_only => ApplyAct::Mode(change.meta.mode() & 0o1777),
                (ChangeKind::Deleted, Some(old)) => ApplyAct::Remove(old.ino()),
                (_, Some(old)) if old.is_dir() || change.meta.is_dir() => ApplyAct::Replace,
                _ => ApplyAct::Put,
            };
            // Neither the base nor the layer has such a name: the program could not guess it.
            let temp = format!(".safebox-{token}-{number}");
            steps.push(ApplyStep { base: *base, path: change.path.clone(), temp, act });
        }
        steps
    }

    /// Copies the new files to their temporary names; returns those that cannot be written back.
    fn stage(&self, bases: &[Base], steps: &[ApplyStep]) -> Result<Vec<String>> {
        let mut skipped = Vec::new();
        for (number, base) in bases.iter().enumerate() {
            // Files of two layers are never one.
            let mut copies = Copies::default();
            let of_base =
                |s: &&ApplyStep| s.base == number && matches!(s.act, ApplyAct::Put | ApplyAct::Replace);
            for step in steps.iter().filter(of_base) {
                let from = self.upper(number).join(&step.path);
                at::copy(&from, base, &step.path.with_file_name(&step.temp), &mut copies)
                    .map_err(|e| failed(&self.record.bases[number].join(&step.path), &e))?;
            }
            skipped.append(&mut copies.skipped);
        }
        bases.iter().try_for_each(Base::sync).map_err(|e| failed(&self.dir(), &e))?;
        Ok(skipped)
    }

    fn unstage(&self, bases: &[Base], steps: &[ApplyStep]) -> Result<()> {
        for step in steps {
            let removed = bases[step.base]
                .parent(&step.path)
                .and_then(|(dir, _)| tree::remove(&dir, &at::c(&step.temp)?));
            match removed {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&self.record.bases[step.base].join(&step.path), &e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Does every step that is not done yet.
    fn write(&self, bases: &[Base], steps: &[ApplyStep]) -> Result<()> {
        for step in steps {
            step.perform(&bases[step.base])
                .map_err(|e| failed(&self.record.bases[step.base].join(&step.path), &e))?;
        }
        bases.iter().try_for_each(Base::sync).map_err(|e| failed(&self.dir(), &e))
    }
}

impl ApplyStep {
    fn perform(&self, base: &Base) -> io::Result<()> {
        let (dir, name) = base.parent(&self.path)?;
        let (fd, temp) = (dir.as_raw_fd(), at::c(&self.temp)?);
        let old = at::c(format!("{}-old", self.temp))?;
        match self.act {
            ApplyAct::Mode(mode) => at::chmod(&dir, &name, mode),
            ApplyAct::Put => match at::stat(fd, &temp)? {
                Some(_) => at::rename(&dir, &temp, &name),
                None => Ok(()),
            },
            ApplyAct::Replace => {
                if at::stat(fd, &temp)?.is_some() {
                    if at::stat(fd, &old)?.is_none() && at::stat(fd, &name)?.is_some() {
                        at::rename(&dir, &name, &old)?;
                    }
                    at::rename(&dir, &temp, &name)?;
                }
                tree::remove(&dir, &old)
            }
            ApplyAct::Remove(inode) => {
                // Another file may have the name by now.
                if at::stat(fd, &name)?.is_some_and(|st| st.st_ino == inode) {
                    at::rename(&dir, &name, &temp)?;
                }
                tree::remove(&dir, &temp)
            }
        }
    }
}

/// Whether the status of a file, or with `tree` of one below it, changed after `since`.
fn changed_since(path: &Path, since: (i64, u32), tree: bool) -> io::Result<bool> {
    let Some(meta) = meta(path)? else { return Ok(false) };
    // The content of a directory that stays is not replaced, so only its files count.
    if (tree || !meta.is_dir()) && (meta.ctime(), meta.ctime_nsec()) > (since.0, i64::from(since.1)) {
        return Ok(true);
    }
    if tree && meta.is_dir() {
        for name in names(path)? {
            if changed_since(&path.join(name), since, true)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn names(dir: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let entries = std::fs::read_dir(dir).map_err(|e| super::named(dir, &e))?;
    entries.map(|e| e.map(|e| e.file_name())).collect()
}

/// A file's attributes; `None` where it does not exist.
fn meta(path: &Path) -> io::Result<Option<std::fs::Metadata>> {
    match path.symlink_metadata() {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        meta => meta.map(Some).map_err(|e| super::named(path, &e)),
    }
}

fn failed(path: &Path, e: &io::Error) -> Error {
    Error::msg(format!("{}: {e}", path.display()))
}
