//! Secrets of a launch. The sources are checked early; the contents are read once and late, into memfds that
//! only the launch has open.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::value::Launch;
use super::volumes::made_on_the_host;
use crate::config::secrets::{DIRECTORY, LARGEST, Secret, SecretSource};
use crate::config::{Config, Mount};
use crate::error::{Error, Result};
use crate::policy::{Change, Facts, Policy, add_mount};

/// Applies `--secret`, and warns of environment variables that look like secrets.
pub(super) fn apply(
    launch: &Launch,
    facts: &Facts<'_>,
    config: &mut Config,
    changes: &mut Vec<Change>,
) -> Result<()> {
    if facts.policy != Policy::Privileged {
        changes.extend(revealed(config));
    }
    if launch.secrets.is_empty() {
        return Ok(());
    }
    if let Some(mount) = config.mounts.iter().find(|m| m.destination.starts_with(DIRECTORY)) {
        let place = mount.destination.display();
        return Err(Error::msg(format!(
            "--secret: another mount is at {place}, the directory of the secrets: use another path for it"
        )));
    }
    for secret in &launch.secrets {
        let mut secret = secret.clone();
        secret.size = look(&secret)?;
        if let Some(place) = &secret.also {
            if config.mounts.iter().any(|m| m.destination == *place) {
                let option = secret.option();
                return Err(Error::msg(format!(
                    "{option}: another mount is at {}: use another target",
                    place.display()
                )));
            }
            made_on_the_host(&secret.option(), place, config)?;
        }
        config.secrets.push(secret);
    }
    add_mount(&mut config.mounts, tmpfs(config.secrets.len()), usize::MAX);
    Ok(())
}

/// The tmpfs, large enough for all secrets at the maximum size.
fn tmpfs(secrets: usize) -> Mount {
    let size = (secrets as u64 + 1) * LARGEST;
    Mount {
        destination: DIRECTORY.into(),
        fs_type: Some("tmpfs".into()),
        source: Some("secrets".into()),
        attr_set: libc::MOUNT_ATTR_NOSUID
            | libc::MOUNT_ATTR_NODEV
            | libc::MOUNT_ATTR_NOEXEC
            | libc::MOUNT_ATTR_RDONLY,
        data: vec![("size".into(), Some(size.to_string())), ("mode".into(), Some("0755".into()))],
        ..Mount::default()
    }
}

/// Checks a source and returns its size, if it is known before reading.
fn look(secret: &Secret) -> Result<Option<u64>> {
    let failed = |why: String| Error::msg(format!("{}: {why}", secret.option()));
    let size = match &secret.source {
        SecretSource::Variable(name) => {
            let value = std::env::var_os(name).ok_or_else(|| {
                failed(format!(
                    "the variable {name} is not set: use src=FILE or env=VAR to name the source of the secret"
                ))
            })?;
            let size = value.len() as u64;
            wipe(&mut value.into_vec());
            Some(size)
        }
        SecretSource::File(path) => {
            let meta = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?;
            // The symlinks on the way are looked at before anything is launched, and again when it is read.
            if meta.is_file() {
                super::links::open_file(path).map_err(|e| failed(e.to_string()))?;
            }
            if meta.is_dir() {
                return Err(failed("it is a directory, not a file".into()));
            }
            meta.is_file().then_some(meta.len())
        }
    };
    match size {
        Some(bytes) if bytes > LARGEST => {
            Err(failed(format!("{bytes} bytes; the maximum of a secret is 1 MiB")))
        }
        size => Ok(size),
    }
}

/// Reads every secret into its own memfd, rewound to the start, and records the sizes.
pub fn take(secrets: &mut [Secret]) -> Result<Vec<OwnedFd>> {
    secrets
        .iter_mut()
        .map(|secret| {
            let failed = |e: std::io::Error| Error::msg(format!("{}: {e}", secret.option()));
            let (fd, size) = read(&secret.source).map_err(failed)?;
            if size > LARGEST {
                return Err(Error::msg(format!("{}: larger than 1 MiB", secret.option())));
            }
            secret.size = Some(size);
            Ok(fd)
        })
        .collect()
}

fn read(source: &SecretSource) -> std::io::Result<(OwnedFd, u64)> {
    let mut memory = File::from(crate::sys::memfd::memory_file(c"secret")?);
    let mut total = 0;
    match source {
        SecretSource::Variable(name) => {
            let mut value = std::env::var_os(name).unwrap_or_default().into_vec();
            total = value.len() as u64;
            let written = memory.write_all(&value);
            wipe(&mut value);
            written?;
        }
        SecretSource::File(path) => {
            let mut from = super::links::open_file(path)?;
            let mut buffer = [0; 4096];
            loop {
                let n = match from.read(&mut buffer) {
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                    n => n?,
                };
                if n == 0 || total > LARGEST {
                    break;
                }
                memory.write_all(&buffer[..n])?;
                total += n as u64;
            }
            wipe(&mut buffer);
        }
    }
    std::io::Seek::rewind(&mut memory)?;
    Ok((memory.into(), total))
}

/// Overwrites the content. The compiler must not optimise the writes away.
fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    std::hint::black_box(bytes);
}

/// Words in names of variables that hold secrets.
const WORDS: [&str; 7] = ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "CREDENTIALS"];
/// Suffixes of such names.
const ENDS: [&str; 6] = ["API_KEY", "APIKEY", "ACCESS_KEY", "PRIVATE_KEY", "AUTH_KEY", "ENCRYPTION_KEY"];
/// Suffixes of names whose values are locations, not secrets.
const PLACES: [&str; 5] = ["_FILE", "_PATH", "_DIR", "_URL", "_NAME"];
/// Prefixes of the keys of well-known services.
const BEGINNINGS: [&str; 9] =
    ["ghp_", "gho_", "github_pat_", "glpat-", "sk-", "xoxb-", "xoxp-", "AKIA", "-----BEGIN"];

/// Whether a variable looks like a secret.
fn looks_secret(name: &str, value: &str) -> bool {
    if BEGINNINGS.iter().any(|b| value.starts_with(b) && value.len() >= b.len() + 8) {
        return true;
    }
    let name = name.to_ascii_uppercase();
    let named = ENDS.iter().any(|end| name.ends_with(end)) || name.split('_').any(|w| WORDS.contains(&w));
    let place = PLACES.iter().any(|end| name.ends_with(end)) || value.starts_with('/');
    named && !place && value.len() >= 4
}

/// Returns a warning for each variable of the container that looks like a secret.
fn revealed(config: &Config) -> Vec<Change> {
    let env = config.process.iter().flat_map(|p| &p.env);
    env.filter_map(|entry| entry.split_once('='))
        .filter(|(name, value)| looks_secret(name, value))
        .map(|(name, _)| {
            Change::weaker(
                "secrets",
                format!(
                    "the variable {name} looks like a secret: every process inside and the container's state have it; \
                     --secret id={name} makes it the file {}",
                    Path::new(DIRECTORY).join(name).display()
                ),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_look_like_secrets() {
        for (name, value) in [
            ("API_TOKEN", "abcd1234"),
            ("POSTGRES_PASSWORD", "hunter2"),
            ("aws_secret_access_key", "abcdef"),
            ("STRIPE_API_KEY", "abcdef"),
            ("WHATEVER", "ghp_0123456789abcdef"),
            ("KEY", "-----BEGIN PRIVATE KEY-----"),
        ] {
            assert!(looks_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("PASSWORD_FILE", "secret.txt"),
            ("TOKEN", "/run/secrets/token"),
            ("GPG_KEY", "E3FF2839C048B25C084DEBE9B26995E310250568"),
            ("TOKENIZERS_PARALLELISM", "false"),
            ("PATH", "/usr/bin"),
            ("TOKEN", ""),
        ] {
            assert!(!looks_secret(name, value), "{name}");
        }
    }
}
