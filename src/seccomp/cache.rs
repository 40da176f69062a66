//! The cache of compiled filters: one file per profile, safebox build and libseccomp version.
//!
//! A filter is only as trustworthy as its file, so a file is used only if no other user can have written it.
//! A cache hit takes six system calls:
//! - `geteuid`: the user id to compare with;
//! - `statx` of the directory, not following a symlink: owned and writable only by this user. So no other
//!   user can add, rename or replace files in it. (The path to it is the caller's choice and must be root's,
//!   such as `/run/safebox`; a symlink in that path changes which directory is checked, not the check);
//! - `open` with `O_NOFOLLOW | O_NONBLOCK`: refuses a symlink, and does not block on a FIFO;
//! - `statx` of the descriptor: a regular file of this user, mode 0600 or less, one link (a hard link could
//!   name a file from elsewhere), of a plausible size;
//! - `read`, `close`.
//!
//! The content must start with the requested key, so a file that was renamed to another key is refused. It
//! carries a checksum, because the file is not synced to disk and may be incomplete after a crash. Finally
//! the program must pass [`bpf::check`].
//!
//! The hash is BLAKE2b, because it does not execute CPUID, which in a virtual machine costs as much as a
//! hundred system calls.

use blake2::{Blake2b256, Digest};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Filter, FilterSource, bpf, library, profile};
use crate::config::ConfigError;
use crate::sys::replace::{ReplaceMode, replace_path};

/// Changes when the layout of the file changes.
const MAGIC: &[u8; 8] = b"SBXBPF\x00\x03";
/// Magic, key, checksum, flags, unused.
const HEADER: usize = 8 + 32 + 32 + 4 + 4;
/// Maximum number of files. When a file is added to a full cache, the least recently used quarter is removed.
/// A start that finds its filter does neither.
const MOST_FILES: usize = 64;
/// A hit updates the modification time as a use mark, if it is older than this: one system call per hour.
const MARKED: std::time::Duration = std::time::Duration::from_secs(3600);

type CacheKey = [u8; 32];

/// Hash of everything except the profile that decides the result of a compilation: the sources of this
/// module. The compiler computes it, so a filter that an older rule table produced never matches, not even
/// between two builds of one version.
const SOURCES: u64 = fnv1a(&[
    include_bytes!("bpf.rs"),
    include_bytes!("builtin.rs"),
    include_bytes!("library.rs"),
    include_bytes!("mod.rs"),
    include_bytes!("numbers.rs"),
    include_bytes!("profile.rs"),
]);

/// FNV-1a. It distinguishes builds; its input is not attacker-controlled, so it need not resist attacks.
#[allow(long_running_const_eval)] // bounded by the size of the sources, well under a second
const fn fnv1a(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut i = 0;
    while i < parts.len() {
        let mut j = 0;
        while j < parts[i].len() {
            hash = (hash ^ parts[i][j] as u64).wrapping_mul(0x0000_0100_0000_01b3);
            j += 1;
        }
        i += 1;
    }
    hash
}

/// See [`super::compile_cached`].
pub fn compile_cached(mode: &FilterSource, dir: &Path) -> Result<Filter, ConfigError> {
    let Some(key) = key(mode) else { return super::compile(mode) };
    let path = dir.join(file_name(&key));
    if let Some(filter) = load(mode, dir, &path, &key)? {
        return Ok(filter);
    }
    let filter = super::compile(mode)?;
    if store(dir, &path, &key, &filter).is_err() {
        // Only time is lost: the next start compiles again.
    }
    Ok(filter)
}

/// Everything that the result depends on; `None`: no key is possible, so the cache is not used.
fn key(mode: &FilterSource) -> Option<CacheKey> {
    let version = libseccomp::ScmpVersion::current().ok()?;
    let mut hash = Blake2b256::new();
    hash.update(concat!(env!("CARGO_PKG_VERSION"), "\0"));
    hash.update(std::env::consts::ARCH);
    for number in [SOURCES, version.major.into(), version.minor.into(), version.micro.into()] {
        hash.update(number.to_ne_bytes());
    }
    match mode {
        FilterSource::BuiltIn { caps, allow } => {
            hash.update(b"built-in");
            for name in allow {
                hash.update(name.as_bytes());
                hash.update([0]);
            }
            hash.update(caps.0.to_ne_bytes());
        }
        // The fields are written in the order of the type's declaration, so equal profiles have equal bytes.
        FilterSource::Profile(profile) => {
            hash.update(b"profile");
            hash.update(serde_json::to_vec(profile).ok()?);
        }
    }
    Some(hash.finalize().into())
}

fn file_name(key: &CacheKey) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    key.iter().flat_map(|b| [b >> 4, b & 15]).map(|d| DIGITS[usize::from(d)]).collect()
}

/// The cached filter; `None` if there is none that can be trusted. The listener is not cached: it comes from
/// the config, and its errors are the only possible errors here.
fn load(mode: &FilterSource, dir: &Path, path: &Path, key: &CacheKey) -> Result<Option<Filter>, ConfigError> {
    let Some((instructions, flags)) = read(dir, path).and_then(|bytes| decode(&bytes, key)) else {
        return Ok(None);
    };
    let listener = match mode {
        FilterSource::BuiltIn { .. } => None,
        FilterSource::Profile(profile) => profile::listener(profile)?,
    };
    Ok(Some(Filter { instructions, flags, listener }))
}

/// The bytes of a file that only this user can have written.
fn read(dir: &Path, path: &Path) -> Option<Vec<u8>> {
    let us = nix::unistd::geteuid().as_raw();
    let dir = fs::symlink_metadata(dir).ok()?;
    if !dir.is_dir() || !exclusively(us, &dir) {
        return None;
    }
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let meta = file.metadata().ok()?;
    let size = usize::try_from(meta.len()).ok()?;
    let plausible = (HEADER..=HEADER + 8 * bpf::MAX_INSTRUCTIONS).contains(&size);
    if !meta.is_file() || !exclusively(us, &meta) || meta.nlink() != 1 || !plausible {
        return None;
    }
    let mut bytes = vec![0; size];
    let whole = file.read(&mut bytes).ok()? == size;
    let now = std::time::SystemTime::now();
    if whole && meta.modified().is_ok_and(|m| now.duration_since(m).is_ok_and(|age| age > MARKED)) {
        // On a read-only file system the mark cannot be updated; nothing is stored there, so nothing is
        // removed.
        file.set_modified(now).unwrap_or_default();
    }
    whole.then_some(bytes)
}

/// Whether the file is owned by this user and no other user may write it.
fn exclusively(user: u32, meta: &fs::Metadata) -> bool {
    meta.uid() == user && meta.mode() & 0o022 == 0
}

/// The program and its flags, if the bytes are complete and belong to `key`.
fn decode(bytes: &[u8], key: &CacheKey) -> Option<(Vec<libc::sock_filter>, u32)> {
    let (header, program) = bytes.split_at_checked(HEADER)?;
    let (magic, rest) = header.split_first_chunk::<8>()?;
    let (file_key, rest) = rest.split_first_chunk::<32>()?;
    let (sum, rest) = rest.split_first_chunk::<32>()?;
    let (flags, _) = rest.split_first_chunk::<4>()?;
    if magic != MAGIC || file_key != key || *sum != checksum(key, *flags, program) {
        return None;
    }
    let instructions = library::decode(program)?;
    bpf::check(&instructions).ok()?;
    Some((instructions, u32::from_ne_bytes(*flags)))
}

fn encode(key: &CacheKey, filter: &Filter) -> Vec<u8> {
    let program = library::encode(&filter.instructions);
    let flags = filter.flags.to_ne_bytes();
    let sum = checksum(key, flags, &program);
    [MAGIC.as_slice(), key, &sum, &flags, &[0; 4], &program].concat()
}

fn checksum(key: &CacheKey, flags: [u8; 4], program: &[u8]) -> CacheKey {
    let mut hash = Blake2b256::new();
    hash.update(key);
    hash.update(flags);
    hash.update(program);
    hash.finalize().into()
}

/// Writes the file under a unique temporary name and renames it, so a reader sees the complete file or none.
fn store(dir: &Path, path: &Path, key: &CacheKey, filter: &Filter) -> io::Result<()> {
    if let Err(e) = DirBuilder::new().mode(0o700).create(dir)
        && e.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(e);
    }
    let meta = fs::symlink_metadata(dir)?;
    if !meta.is_dir() || !exclusively(nix::unistd::geteuid().as_raw(), &meta) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    prune(dir)?;
    replace_path(&temporary(path), path, &encode(key, filter), ReplaceMode::PRIVATE)
}

/// A unique temporary name: processes differ by pid, threads by the counter, and a stale file of a dead
/// process with the same pid by the time.
fn temporary(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos());
    let unique = format!("{}.{}.{now}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    path.with_extension(unique)
}

/// Removes old files from a full directory. Another process may do the same concurrently.
fn prune(dir: &Path) -> io::Result<()> {
    let entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    if entries.len() < MOST_FILES {
        return Ok(());
    }
    let used = |entry: &fs::DirEntry| entry.metadata().and_then(|m| m.modified()).ok();
    let mut files: Vec<_> = entries.iter().map(|e| (used(e), e.path())).collect();
    files.sort();
    for (_, path) in &files[..=files.len() - MOST_FILES * 3 / 4] {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::capabilities::CapSet;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const MODE: FilterSource = FilterSource::BuiltIn { caps: CapSet::EMPTY, allow: Vec::new() };

    struct Cached {
        _parent: tempfile::TempDir,
        dir: PathBuf,
        path: PathBuf,
        key: CacheKey,
    }

    /// A directory that contains the built-in profile.
    fn filled() -> Cached {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("seccomp");
        compile_cached(&MODE, &dir).unwrap();
        let key = key(&MODE).unwrap();
        let path = dir.join(file_name(&key));
        assert!(path.exists());
        Cached { _parent: parent, dir, path, key }
    }

    fn hit(c: &Cached) -> bool {
        load(&MODE, &c.dir, &c.path, &c.key).unwrap().is_some()
    }

    #[test]
    fn a_hit_is_what_was_compiled() {
        let c = filled();
        let cached = load(&MODE, &c.dir, &c.path, &c.key).unwrap().unwrap();
        let fresh = super::super::compile(&MODE).unwrap();
        assert_eq!(library::encode(&cached.instructions), library::encode(&fresh.instructions));
        assert_eq!(fs::metadata(&c.path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(&c.dir).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn every_changed_byte_is_noticed_and_replaced() {
        let c = filled();
        let good = fs::read(&c.path).unwrap();
        for at in (0..good.len()).filter(|at| !(76..80).contains(at)) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(decode(&bad, &c.key).is_none(), "byte {at}");
        }
        for bad in [&good[..good.len() - 8], &good[..40], &[], &[good.clone(), vec![0; 8]].concat()] {
            fs::write(&c.path, bad).unwrap();
            assert!(!hit(&c));
        }
        compile_cached(&MODE, &c.dir).unwrap();
        assert_eq!(fs::read(&c.path).unwrap(), good);
    }

    #[test]
    fn a_sound_checksum_over_an_unsound_program_is_refused() {
        let c = filled();
        let jump = libc::sock_filter { code: bpf::JA, jt: 0, jf: 0, k: 7 };
        let filter = Filter { instructions: vec![jump], flags: 0, listener: None };
        assert!(decode(&encode(&c.key, &filter), &c.key).is_none());
    }

    #[test]
    fn a_file_made_for_another_key_is_refused() {
        let c = filled();
        let other = FilterSource::BuiltIn { caps: CapSet(u64::MAX), allow: Vec::new() };
        compile_cached(&other, &c.dir).unwrap();
        let other = c.dir.join(file_name(&key(&other).unwrap()));
        assert!(hit(&c));
        fs::rename(other, &c.path).unwrap();
        assert!(!hit(&c));
    }

    #[test]
    fn links_modes_and_special_files_are_refused() {
        let c = filled();
        for mode in [0o620, 0o602, 0o666] {
            fs::set_permissions(&c.path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(!hit(&c), "{mode:o}");
        }
        fs::set_permissions(&c.path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(hit(&c));
        let aside = c.dir.join("aside");
        fs::hard_link(&c.path, &aside).unwrap();
        assert!(!hit(&c), "hard link");
        fs::remove_file(&c.path).unwrap();
        symlink(&aside, &c.path).unwrap();
        assert!(!hit(&c), "symbolic link");
        fs::remove_file(&c.path).unwrap();
        nix::unistd::mkfifo(&c.path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(!hit(&c), "fifo");
        compile_cached(&MODE, &c.dir).unwrap();
        assert!(hit(&c), "replaced");
    }

    #[test]
    fn a_foreign_owner_is_refused() {
        let c = filled();
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: only root can give files away");
            return;
        }
        std::os::unix::fs::chown(&c.path, Some(65534), None).unwrap();
        assert!(!hit(&c), "file");
        std::os::unix::fs::chown(&c.path, Some(0), None).unwrap();
        std::os::unix::fs::chown(&c.dir, Some(65534), None).unwrap();
        assert!(!hit(&c), "directory");
    }

    #[test]
    fn an_unusable_directory_is_done_without() {
        let c = filled();
        fs::set_permissions(&c.dir, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(!hit(&c));
        compile_cached(&MODE, &c.dir).unwrap();
        compile_cached(&MODE, Path::new("/nonexistent/a/b")).unwrap();
        compile_cached(&MODE, Path::new("/dev/null")).unwrap();
        let link = c.dir.parent().unwrap().join("link");
        fs::set_permissions(&c.dir, fs::Permissions::from_mode(0o700)).unwrap();
        symlink(&c.dir, &link).unwrap();
        assert!(read(&link, &link.join(file_name(&c.key))).is_none());
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let c = filled();
        let old = |path: &Path, hours: u32| {
            let then = std::time::SystemTime::now() - MARKED * hours;
            fs::File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
        };
        // The oldest file, except for this hit.
        old(&c.path, 1000);
        assert!(hit(&c));
        for i in 0..MOST_FILES as u32 {
            let path = c.dir.join(format!("stale{i:03}"));
            fs::write(&path, "").unwrap();
            old(&path, 2 + i);
        }
        let other = FilterSource::BuiltIn { caps: CapSet(1), allow: Vec::new() };
        compile_cached(&other, &c.dir).unwrap();
        let left: Vec<_> = fs::read_dir(&c.dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), MOST_FILES * 3 / 4);
        assert!(hit(&c), "it was used");
        assert!(left.contains(&"stale000".into()) && !left.contains(&"stale063".into()), "{left:?}");
        assert!(left.contains(&file_name(&key(&other).unwrap()).into()));
    }
}
