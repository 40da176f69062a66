//! Errors for an image or another path in place of a bundle; each names the command to use.

use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// Refuses an image, and a directory that is no bundle, with the commands that make a bundle from it.
pub fn no_image(path: &Path, bundle: bool) -> Result<()> {
    let shown = path.display();
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

fn is_rootfs(path: &Path) -> bool {
    ["bin", "usr/bin"].iter().any(|dir| path.join(dir).is_dir())
}

/// skopeo's transport name of an archive: `docker save` writes manifest.json, others write an OCI layout.
fn archive(path: &Path) -> &'static str {
    let mut head = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(1 << 20).read_to_end(&mut head));
    let oci = read.is_ok() && head.windows(10).any(|w| w == b"oci-layout");
    if oci { "oci-archive" } else { "docker-archive" }
}

/// The first tag of an OCI layout.
fn tag(path: &Path) -> Option<String> {
    let text = std::fs::read(path.join("index.json")).ok()?;
    let index: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let name = &index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"];
    name.as_str().map(str::to_string)
}
