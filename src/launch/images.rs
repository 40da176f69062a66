//! Errors for an image or another path in place of a bundle; each names the command to use.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Why images are refused, and the two commands that make a bundle of one.
pub const IMAGES: &str = "safebox runs bundles and directories, not images: skopeo copy docker://IMAGE oci:DIR:latest, then \
                          umoci unpack --image DIR:latest BUNDLE";

/// The program of this name in the caller's `$PATH`.
pub fn on_path(name: &str) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') {
        return None;
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Refuses a word in the place of a container id, where no bundle is, that a newcomer means as a program or an image.
pub fn no_id(id: &str) -> Error {
    let here = match std::env::current_dir() {
        Ok(dir) => dir.join("config.json"),
        Err(_) => "config.json".into(),
    };
    let remedy = match on_path(id) {
        Some(_) => format!("for this machine's program: safebox run -- {id}"),
        None => {
            format!("this machine's programs come after --: safebox run -- PROGRAM; for an image: {IMAGES}")
        }
    };
    if looks_like_a_file(Path::new(id)) {
        return Error::msg(format!("{id}: no such file or directory ({remedy})"));
    }
    Error::msg(format!(
        "JSON specification file {} not readable: no such file or directory ({id} is taken as a container id; {remedy}; safebox spec writes such a file)",
        here.display()
    ))
}

/// The place of a program that was not found inside, outside: `None` if this machine has none that is not shown.
pub fn outside(program: &str) -> Option<String> {
    let file = if program.contains('/') {
        std::path::absolute(program).ok().filter(|file| is_program(file))
    } else {
        on_path(program)
    }?;
    let dir = file.parent()?.display();
    Some(format!("{} of this machine is not shown: --ro {dir} shows it", file.display()))
}

/// Refuses an image, and a directory that is no bundle, with the commands that make a bundle from it.
pub fn no_image(path: &Path, bundle: bool) -> Result<()> {
    let shown = path.display();
    if bundle && path.join("config.json").is_file() {
        return Ok(());
    }
    if is_program(path) && !is_archive(path) {
        return Err(Error::msg(format!(
            "{shown} is a file, not a directory: to run this machine's program: safebox run -- {shown}"
        )));
    }
    if looks_like_a_file(path) && !path.exists() {
        return Err(Error::msg(format!("{shown}: no such file or directory (for an image: {IMAGES})")));
    }
    if path.is_file() {
        let make = format!(
            "skopeo copy {}:{shown} oci:image:latest && umoci unpack --image image:latest bundle",
            archive(path)
        );
        return Err(Error::msg(format!(
            "{shown} is a file, not a directory: make a bundle from an image archive with: {make}"
        )));
    }
    if path.join("oci-layout").is_file() {
        let tag = tag(path).unwrap_or_else(|| "TAG".into());
        return Err(Error::msg(format!(
            "{shown} is an OCI image layout: make a bundle from it with: umoci unpack --image {shown}:{tag} bundle && safebox run bundle/ (umoci; or: skopeo copy oci:{shown}:{tag} ...)"
        )));
    }
    if bundle && path.is_dir() && !path.join("config.json").exists() && is_rootfs(path) {
        let host =
            if path == Path::new("/") { "; for this machine's programs: safebox run -- PROGRAM" } else { "" };
        return Err(Error::msg(format!(
            "{shown} has no config.json: to use a directory as the root file system: safebox run --rootfs {shown} -- PROGRAM{host}"
        )));
    }
    Ok(())
}

/// Whether a word is named as archives, configs and scripts are.
fn looks_like_a_file(word: &Path) -> bool {
    const ENDINGS: [&str; 12] =
        ["tar", "tgz", "gz", "xz", "zst", "bz2", "zip", "oci", "json", "yaml", "sh", "py"];
    word.extension().is_some_and(|end| ENDINGS.iter().any(|known| end.eq_ignore_ascii_case(known)))
}

fn is_rootfs(path: &Path) -> bool {
    ["bin", "usr/bin"].iter().any(|dir| path.join(dir).is_dir())
}

/// Whether a file is a tar archive, compressed or not (tar(5), RFC 1952, RFC 8878).
fn is_archive(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(512).read_to_end(&mut head));
    let magics: [&[u8]; 3] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh"];
    read.is_ok()
        && (head.get(257..262) == Some(b"ustar") || magics.iter().any(|magic| head.starts_with(magic)))
}

/// skopeo's transport name of an archive: `docker save` writes manifest.json, others write an OCI layout.
fn archive(path: &Path) -> &'static str {
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(1 << 20).read_to_end(&mut head));
    let oci = read.is_ok() && head.windows(10).any(|w| w == b"oci-layout");
    if oci { "oci-archive" } else { "docker-archive" }
}

/// Bytes of the largest index of an OCI layout.
const LARGEST_INDEX: u64 = 4 << 20;

/// The first tag of an OCI layout, if a shell reads it as one word.
fn tag(path: &Path) -> Option<String> {
    // The image's author chooses the file: a FIFO would wait for its writer.
    let mut options = std::fs::File::options();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path.join("index.json")).ok()?;
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let text = crate::sys::read::at_most(file, LARGEST_INDEX).ok()?;
    let index: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let name = index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"].as_str()?;
    // The user pastes it into a shell.
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/@+".contains(c);
    name.chars().all(plain).then(|| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_one_word_and_an_index_ends() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str| {
            let index = serde_json::json!({ "manifests": [{ "annotations": {
                "org.opencontainers.image.ref.name": name } }] });
            std::fs::write(dir.path().join("index.json"), index.to_string()).unwrap();
            tag(dir.path())
        };
        assert_eq!(of("docker.io/a/b:1.2-x").as_deref(), Some("docker.io/a/b:1.2-x"));
        for bad in ["x; rm -rf /", "$(id)", "`id`", "a b", "\u{1b}[31m", "a\nb", "a'b", "a|b"] {
            assert_eq!(of(bad), None, "{bad}");
        }
        for endless in ["/dev/zero", "fifo"] {
            std::fs::remove_file(dir.path().join("index.json")).unwrap();
            if endless == "fifo" {
                nix::unistd::mkfifo(&dir.path().join("index.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
            } else {
                std::os::unix::fs::symlink(endless, dir.path().join("index.json")).unwrap();
            }
            assert_eq!(tag(dir.path()), None, "{endless}");
        }
    }
}
