//! Options about files: paths of the host at their own place, volumes, tmpfs, devices.

use std::path::{Component, Path, PathBuf};

use super::super::value::{Access, FileOptions, Launch, Volume};
use super::super::volumes;
use super::heading::FILES;
use super::verbs::{CONFIG, RUN};
use super::words::parse_size;
use super::{OptionRow, Says, ValueResult};

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    OptionRow::new(
        "ro",
        FILES,
        CONFIG,
        Says::Each("PATH", |l, v| path(&mut l.files, Access::Read, v)),
        "Show a path of the host at the same place, read-only. For root: where the path itself is closed to other users, the \
         program reads it as its owner, as it does the working directory; otherwise it reads what every user may read",
    )
    .effect(volumes::host_paths)
    .values(&["/srv/data", "."], &[""]),
    OptionRow::new(
        "rw",
        FILES,
        CONFIG,
        Says::Each("PATH", |l, v| path(&mut l.files, Access::Write, v)),
        "Show a path of the host at the same place, writable; what is written belongs to the owner of the directory",
    )
    .values(&["/srv/out", "."], &[""]),
    OptionRow::new(
        "overlay",
        FILES,
        CONFIG,
        Says::Each("PATH", |l, v| path(&mut l.files, Access::Copy, v)),
        "Show a directory of the host at the same place, writable; the changes go to a layer, and the host's files stay as they are",
    )
    .more("safebox diff ID lists the changes, apply ID writes them to the host's directory, discard ID removes them.")
    .values(&["/srv/project", "."], &[""]),
    OptionRow::new(
        "overlay-size",
        FILES,
        RUN,
        Says::One("SIZE", |l, v| {
            let bytes = u64::try_from(parse_size(v)?).ok().filter(|n| *n > 0);
            l.life.overlay_size = Some(bytes.ok_or("a size is needed")?);
            Ok(())
        }),
        "Kill the container once its layers of --overlay take more room than this on the disk, e.g. 1g; exit code 137",
    )
    .more(
        "Plain directories have no quota, so the launcher counts, once a second or, of many files, less often: a program can \
         exceed the limit for that long, and a file that is removed and still open is not counted. Layers that cannot be \
         counted end the run, too. Without this option a program can fill the disk that the layers are on (see --root)",
    )
    .values(&["1g", "64m"], &["", "0", "-1", "x"]),
    OptionRow::new(
        "hide",
        FILES,
        CONFIG,
        Says::Each("PATH", |l, v| path(&mut l.files, Access::Hide, v)),
        "Cover a path inside one that is shown; of --ro, --rw and --hide the most specific path wins",
    )
    .values(&["/srv/data/key"], &[""]),
    OptionRow::new(
        "volume",
        FILES,
        CONFIG,
        Says::Each("SRC:DST[:ro|rw,...]", volume),
        "Show a path of the host at DST, read-only unless :rw",
    )
    .short('v')
    .effect(volumes::volumes)
    .values(
        &["/srv:/data", "./x:/x:rw", "/srv:/data:rw,noexec"],
        &["", "/srv", "name:/data", "/srv:data", "/srv:/data:what", "/srv:/a:ro:x", "/srv:/", "/srv:/a/../b"],
    ),
    OptionRow::new(
        "mount",
        FILES,
        CONFIG,
        Says::Each("type=bind|tmpfs,...", mount),
        "type=bind,source=SRC,target=DST[,readonly=false] or type=tmpfs,target=DST[,tmpfs-size=SIZE][,tmpfs-mode=OCTAL]",
    )
    .values(
        &["type=bind,source=/srv,target=/data", "type=tmpfs,dst=/x,tmpfs-size=1m", "type=bind,src=/srv,dst=/d,readonly=false"],
        &["", "type=volume,src=x,dst=/y", "type=bind,source=/srv", "type=tmpfs", "type=bind,src=/s,dst=/d,what=1", "x"],
    ),
    OptionRow::new(
        "tmpfs",
        FILES,
        CONFIG,
        Says::Each("DST[:OPTIONS]", tmpfs),
        "An empty file system in memory at DST, e.g. /scratch:size=64m,mode=1777,exec",
    )
    .values(&["/scratch", "/x:size=1m,mode=700"], &["", "x", "/", "/x:size=what", "/x:ro,rw,what=1"]),
    OptionRow::new(
        "read-only",
        FILES,
        CONFIG,
        Says::Flag(|l| l.files.read_only = true),
        "The root file system cannot be written: the default, but for --policy baseline and privileged",
    )
    .effect(|l, _, config, _| {
        config.root.readonly |= l.files.read_only;
        Ok(())
    }),
    OptionRow::new(
        "device",
        FILES,
        CONFIG,
        Says::Each("PATH[:DST][:rwm]", device),
        "A device of the host, e.g. /dev/kvm; root alone may give one away",
    )
    .effect(volumes::devices)
    .values(&["/dev/kvm", "/dev/kvm:/dev/x:r"], &["", "kvm", "/dev/kvm:x", "/dev/kvm:/dev/x:z"]),
    OptionRow::new(
        "shm-size",
        FILES,
        CONFIG,
        Says::One("SIZE", |l, v| {
            let bytes = parse_size(v)?;
            if bytes < 1 {
                return Err("at least 1 byte is needed".into());
            }
            l.files.shm_size = Some(bytes);
            Ok(())
        }),
        "Size of /dev/shm [default: 64m]",
    )
    .effect(volumes::shm)
    .values(&["128m"], &["", "x", "0", "-1"]),
];

fn path(files: &mut FileOptions, access: Access, value: &str) -> ValueResult {
    if value.is_empty() || value.contains('\0') {
        return Err("a path of the host is needed".into());
    }
    files.paths.push((access, value.into()));
    Ok(())
}

/// An absolute path inside that is not the root.
fn destination(text: &str) -> std::result::Result<PathBuf, String> {
    let path = Path::new(text);
    let plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || text.contains('\0') || path.components().count() < 2 {
        return Err(format!(
            "{text:?}: an absolute path inside the container, without .. and other than /, is needed"
        ));
    }
    Ok(path.components().collect())
}

/// Words that a volume takes besides `ro` and `rw`.
const VOLUME_WORDS: [&str; 8] =
    ["nosuid", "nodev", "noexec", "exec", "private", "rprivate", "slave", "rslave"];

fn volume(launch: &mut Launch, value: &str) -> ValueResult {
    let mut parts = value.split(':');
    let (source, inside, words) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let Some(inside) = inside.filter(|_| !source.is_empty() && parts.next().is_none()) else {
        return Err("SRC:DST[:ro|rw,...] is needed".into());
    };
    if !source.contains('/') && source != "." && source != ".." {
        return Err(format!(
            "there are no named volumes: for the directory {source} write ./{source}:{inside}"
        ));
    }
    let (mut write, mut options) = (false, Vec::new());
    for word in words.into_iter().flat_map(|w| w.split(',')) {
        match word {
            "rw" => write = true,
            "ro" => write = false,
            "z" | "Z" => return Err("files of the host are not relabelled here: chcon(1) does it".into()),
            word if VOLUME_WORDS.contains(&word) => options.push(word.to_string()),
            word => return Err(format!("{word:?}: one of ro, rw, {}", VOLUME_WORDS.join(", "))),
        }
    }
    let option = format!("--volume {value}");
    let (source, destination) = (Some(source.into()), destination(inside)?);
    launch.files.volumes.push(Volume { option, source, destination, write, options });
    Ok(())
}

fn mount(launch: &mut Launch, value: &str) -> ValueResult {
    let (mut kind, mut source, mut inside, mut write) = (None, None, None, None);
    let mut options = Vec::new();
    for part in value.split(',') {
        let (key, given) = part.split_once('=').map_or((part, None), |(k, v)| (k, Some(v)));
        match (key, given) {
            ("type", Some(v)) => kind = Some(v),
            ("source" | "src", Some(v)) if !v.is_empty() => source = Some(v),
            ("target" | "dst" | "destination", Some(v)) => inside = Some(destination(v)?),
            ("readonly" | "ro", None | Some("true" | "1")) => write = Some(false),
            ("readonly" | "ro", Some("false" | "0")) => write = Some(true),
            ("tmpfs-size", Some(v)) => options.push(size_option(v)?),
            ("tmpfs-mode", Some(v)) => options.push(mode_option(v)?),
            ("bind-propagation", Some(v)) if VOLUME_WORDS.contains(&v) => options.push(v.into()),
            _ => {
                return Err(format!(
                    "{part:?}: one of type, source, target, readonly, tmpfs-size, tmpfs-mode, bind-propagation"
                ));
            }
        }
    }
    let destination = inside.ok_or("target=DST is needed")?;
    let of_tmpfs = options.iter().any(|o| o.starts_with("size=") || o.starts_with("mode="));
    let source: Option<PathBuf> = match (kind, source) {
        (Some("bind") | None, Some(source)) if !of_tmpfs => Some(source.into()),
        (Some("tmpfs"), None) => None,
        (Some("bind") | None, None) => return Err("source=SRC is needed".into()),
        (Some("bind" | "tmpfs") | None, _) => {
            return Err("a tmpfs has no source, and a bind mount neither size nor mode".into());
        }
        (Some(other), _) => return Err(format!("type={other}: bind or tmpfs (there are no named volumes)")),
    };
    let option = format!("--mount {value}");
    // A tmpfs can be written unless it says that it cannot; a volume is the other way round.
    if source.is_none() && write == Some(false) {
        options.push("ro".into());
    }
    let write = write.unwrap_or(false) || source.is_none();
    launch.files.volumes.push(Volume { option, source, destination, write, options });
    Ok(())
}

fn size_option(value: &str) -> std::result::Result<String, String> {
    let bytes = parse_size(value)?;
    if bytes < 1 {
        Err(format!("{value:?}: a size of at least 1 byte is needed"))
    } else {
        Ok(format!("size={bytes}"))
    }
}

fn mode_option(value: &str) -> std::result::Result<String, String> {
    let octal = !value.is_empty() && value.len() <= 5 && value.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if octal {
        Ok(format!("mode={value}"))
    } else {
        Err(format!("{value:?}: an octal mode such as 1777 is needed"))
    }
}

/// Words that a tmpfs takes besides `size` and `mode`.
const TMPFS_WORDS: [&str; 7] = ["rw", "ro", "exec", "noexec", "nosuid", "nodev", "noatime"];

fn tmpfs(launch: &mut Launch, value: &str) -> ValueResult {
    let (inside, words) = value.split_once(':').map_or((value, None), |(i, w)| (i, Some(w)));
    let mut options = Vec::new();
    for word in words.into_iter().flat_map(|w| w.split(',')) {
        options.push(match word.split_once('=') {
            Some(("size", v)) => size_option(v)?,
            Some(("mode", v)) => mode_option(v)?,
            None if TMPFS_WORDS.contains(&word) => word.to_string(),
            _ => return Err(format!("{word:?}: one of size=SIZE, mode=OCTAL, {}", TMPFS_WORDS.join(", "))),
        });
    }
    let option = format!("--tmpfs {value}");
    let destination = destination(inside)?;
    launch.files.volumes.push(Volume { option, source: None, destination, write: true, options });
    Ok(())
}

fn device(launch: &mut Launch, value: &str) -> ValueResult {
    let parts: Vec<&str> = value.split(':').collect();
    let rights = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let (path, inside, access) = match parts[..] {
        [path] => (path, path, "rwm"),
        [path, access] if rights(access) => (path, path, access),
        [path, inside] => (path, inside, "rwm"),
        [path, inside, access] if rights(access) => (path, inside, access),
        _ => return Err("PATH[:DST][:rwm] is needed".into()),
    };
    if !path.starts_with("/dev/") {
        return Err("a path below /dev is needed".into());
    }
    launch.files.devices.push((path.into(), destination(inside)?, access.into()));
    Ok(())
}
