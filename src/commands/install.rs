//! `safebox install`: the few lines of configuration with which containerd, Podman, Docker and CRI-O find safebox.
//!
//! Each caller has one file. Podman and CRI-O read drop-ins, which are safebox's alone; Docker's daemon.json
//! gets one key; containerd's config.toml gets a block between two marks. What is there already is kept, in
//! the file and beside it as a backup, and doing it twice changes nothing.

use crate::sys::start::ExitCode;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};

use crate::cli::InstallArgs;
use crate::commands::common::VerbResult;
use crate::policy::Policy;
use crate::sys::replace::{ReplaceMode, replace_path};

/// The runtime as a caller is to know it.
struct Handler {
    /// Its name there.
    name: String,
    /// Its path; `None` takes it out.
    program: Option<String>,
}

/// A caller of OCI runtimes.
struct Caller {
    /// Its option.
    name: &'static str,
    /// Its file, below /etc.
    file: &'static str,
    /// The file's new text, from the old one and the runtime; `None`: the file is to go.
    edit: Edit,
    /// What makes it read the file again.
    reload: &'static str,
    /// How a container gets this runtime.
    usage: &'static str,
}

type Edit = fn(Option<&str>, &Handler) -> anyhow::Result<Option<String>>;

const CALLERS: &[Caller] = &[
    Caller {
        name: "containerd",
        file: "containerd/config.toml",
        edit: containerd,
        reload: "systemctl restart containerd",
        usage: "a RuntimeClass with `handler: safebox`, or `ctr run --runc-binary`",
    },
    Caller {
        name: "podman",
        file: "containers/containers.conf.d/50-safebox.conf",
        edit: podman,
        reload: "nothing: Podman reads it at each call",
        usage: "podman --runtime safebox run ...",
    },
    Caller {
        name: "docker",
        file: "docker/daemon.json",
        edit: docker,
        reload: "systemctl reload docker",
        usage: "docker run --runtime safebox ...",
    },
    Caller {
        name: "crio",
        file: "crio/crio.conf.d/50-safebox.conf",
        edit: crio,
        reload: "systemctl restart crio",
        usage: "a RuntimeClass with `handler: safebox`",
    },
];

/// Writes, prints or takes out the lines of the callers that were named.
pub fn install(args: &InstallArgs) -> VerbResult {
    let asked = |c: &&Caller| match c.name {
        "containerd" => args.containerd,
        "podman" => args.podman,
        "docker" => args.docker,
        _ => args.crio,
    };
    if args.auditd {
        return auditd(args);
    }
    let callers: Vec<&Caller> = CALLERS.iter().filter(asked).collect();
    if callers.is_empty() {
        bail!("install: say for whom: --containerd, --podman, --docker or --crio");
    }
    let handler = handler(args)?;
    // All are worked out before the first is written: one that cannot be edited stops them all.
    let mut edits = Vec::new();
    for caller in callers {
        let path = args.etc.join(caller.file);
        let old = read(&path)?;
        let new = (caller.edit)(old.as_deref(), &handler).with_context(|| path.display().to_string())?;
        edits.push((caller, path, old, new));
    }
    let etc = match args.etc.to_str() {
        Some("/etc") => String::new(),
        _ => format!(" --etc '{}'", args.etc.display().to_string().replace('\'', "'\\''")),
    };
    let mut out = std::io::stdout().lock();
    for (caller, path, old, new) in edits {
        if args.print {
            write!(out, "# {}\n{}", path.display(), new.unwrap_or_default())?;
            continue;
        }
        let done =
            apply(&path, old.as_deref(), new.as_deref()).with_context(|| path.display().to_string())?;
        writeln!(out, "{}: {}: {done}", caller.name, path.display())?;
        if !args.undo {
            let usage = caller.usage.replace("handler: safebox`", &format!("handler: {}`", handler.name));
            let policy = args.policy.map(|p| format!(" --policy {p}")).unwrap_or_default();
            writeln!(out, "  then: {}\n  use:  {usage}", caller.reload)?;
            writeln!(out, "  undo: safebox install --undo --{}{policy}{etc}", caller.name)?;
        }
    }
    if args.policy.is_some() && !args.print {
        link(args, &handler, &mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The rules by which auditd(8) records changes to the runtime, its policy, its state and the ids of its containers. A
/// watch of a directory that is missing would cover its name alone (audit.rules(7)), so the directories are made first.
fn auditd(args: &InstallArgs) -> VerbResult {
    const FILE: &str = "/etc/audit/rules.d/safebox.rules";
    let program = program(args)?;
    let places = [
        (program.as_str(), "wxa", "the runtime: changed or executed"),
        ("/etc/safebox", "wa", "its policy"),
        ("/run/safebox", "wa", "the state root, with the spool of safebox watch"),
        (crate::host::ID_RANGES, "wa", "the id ranges of containers"),
        ("/var/cache/safebox", "wa", "compiled seccomp filters"),
    ];
    let private: Vec<&str> = places[2..].iter().map(|(path, ..)| *path).collect();
    let private = private.join(" ");
    let mut out = std::io::stdout().lock();
    writeln!(out, "# Rules for auditd(8), which `ausearch -k safebox` finds.")?;
    writeln!(out, "# do:   mkdir -p /etc/safebox; mkdir -p -m 700 {private}")?;
    writeln!(out, "#       safebox install --auditd >{FILE} && augenrules --load")?;
    writeln!(
        out,
        "#       /run is empty after a boot: lines `d PATH 0700 root root` in /etc/tmpfiles.d/safebox.conf"
    )?;
    writeln!(out, "# undo: rm {FILE} && augenrules --load")?;
    for (path, access, what) in places {
        writeln!(out, "# {what}\n-w {path} -p {access} -k safebox")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What goes into the files. By its name a program fixes the level that it enforces.
fn handler(args: &InstallArgs) -> anyhow::Result<Handler> {
    let program = program(args)?;
    let Some(policy) = args.policy else {
        return Ok(Handler { name: "safebox".into(), program: (!args.undo).then_some(program) });
    };
    if policy == Policy::Privileged {
        bail!(
            "--policy privileged: the handler safebox takes configs as written; restricted and baseline refuse"
        );
    }
    let name = format!("safebox-{policy}");
    let path = Path::new(&program).with_file_name(&name);
    Ok(Handler { program: (!args.undo).then(|| path.display().to_string()), name })
}

/// The link by which the program gets its other name.
fn link(args: &InstallArgs, handler: &Handler, out: &mut impl std::io::Write) -> anyhow::Result<()> {
    let program = PathBuf::from(program(args)?);
    let link = program.with_file_name(&handler.name);
    let ours = std::fs::read_link(&link).is_ok_and(|to| Some(to.as_os_str()) == program.file_name());
    if args.undo {
        if ours {
            std::fs::remove_file(&link).with_context(|| link.display().to_string())?;
            writeln!(out, "{}: removed", link.display())?;
        }
        return Ok(());
    }
    let name = program.file_name().unwrap_or_default();
    match program.exists() && link.symlink_metadata().is_err() {
        true => {
            std::os::unix::fs::symlink(name, &link).with_context(|| link.display().to_string())?;
            writeln!(out, "{}: a link to {}", link.display(), program.display())?;
        }
        false if ours => {}
        false => {
            writeln!(
                out,
                "  and:  ln -s {} {} (where the caller runs)",
                name.to_string_lossy(),
                link.display()
            )?;
        }
    }
    Ok(())
}

/// The path that goes into the files. Callers pick behaviour by its last component, so that is a rule too.
fn program(args: &InstallArgs) -> anyhow::Result<String> {
    let path = match &args.program {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("this program's path")?,
    };
    let text = path.to_str().filter(|t| t.chars().all(|c| !c.is_control() && c != '"' && c != '\\'));
    let text = text.ok_or_else(|| anyhow!("--program: {path:?} cannot be written into configuration"))?;
    if !path.is_absolute() {
        bail!("--program: {text:?} is not an absolute path");
    }
    Ok(text.to_string())
}

fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

/// Writes whole or not at all, after a backup of a file that another program wrote. Returns what was done.
fn apply(path: &Path, old: Option<&str>, new: Option<&str>) -> anyhow::Result<String> {
    if old == new {
        return Ok("nothing to do".into());
    }
    let Some(new) = new else {
        std::fs::remove_file(path)?;
        return Ok("removed".into());
    };
    let Some(old) = old else {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        replace(path, new, 0o644)?;
        return Ok("written".into());
    };
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    let mut done = "changed".to_string();
    let backup = suffixed(path, ".before-safebox");
    // The first backup is the one without safebox: it stays.
    if !backup.exists() {
        replace(&backup, old, mode)?;
        write!(done, "; as it was: {}", backup.display())?;
    }
    // A link, as configuration management makes them, stays one.
    replace(&std::fs::canonicalize(path)?, new, mode)?;
    Ok(done)
}

fn replace(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let temp = suffixed(path, ".safebox-new");
    replace_path(&temp, path, text.as_bytes(), ReplaceMode { mode, sync: true })?;
    Ok(())
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A drop-in of Podman. The lists replace the built-in ones, whose names are repeated (containers.conf(5));
/// `runtime_supports_nocgroup` is the key that is read, whatever the manual calls it.
fn podman(_: Option<&str>, handler: &Handler) -> anyhow::Result<Option<String>> {
    Ok(handler.program.as_ref().map(|program| {
        format!(
            "# Written by `safebox install --podman`.\n\
             [engine]\n\
             runtime_supports_json = [\"crun\", \"runc\", \"kata\", \"runsc\", \"youki\", \"krun\", \"ocijail\", \"safebox\"]\n\
             runtime_supports_nocgroup = [\"crun\", \"krun\", \"safebox\"]\n\
             [engine.runtimes]\n\
             safebox = [\"{program}\"]\n"
        )
    }))
}

/// A drop-in of CRI-O (crio.conf(5), crio.runtime.runtimes).
fn crio(_: Option<&str>, handler: &Handler) -> anyhow::Result<Option<String>> {
    Ok(handler.program.as_ref().map(|program| {
        format!(
            "# Written by `safebox install --crio`.\n\
             [crio.runtime.runtimes.safebox]\n\
             runtime_path = \"{program}\"\n\
             runtime_type = \"oci\"\n\
             runtime_root = \"/run/safebox\"\n"
        )
    }))
}

/// The key `runtimes.safebox` of daemon.json (dockerd(8)).
fn docker(old: Option<&str>, handler: &Handler) -> anyhow::Result<Option<String>> {
    let program = handler.program.as_deref();
    let text = old.filter(|t| !t.trim().is_empty());
    let mut config: Value = match text {
        Some(text) => serde_json::from_str(text).context("not JSON, so it is left alone")?,
        None if program.is_none() => return Ok(old.map(str::to_string)),
        None => json!({}),
    };
    let unchanged = config.clone();
    let object = config.as_object_mut().ok_or_else(|| anyhow!("not a JSON object, so it is left alone"))?;
    let runtimes = object.entry("runtimes").or_insert(json!({}));
    let runtimes = runtimes.as_object_mut().ok_or_else(|| anyhow!("/runtimes: not an object"))?;
    match program {
        Some(program) => drop(runtimes.insert("safebox".into(), json!({ "path": program }))),
        None => drop(runtimes.remove("safebox")),
    }
    if runtimes.is_empty() {
        object.remove("runtimes");
    }
    // What says the same already keeps its look, and what is empty without safebox was made for it.
    if config == unchanged {
        return Ok(old.map(str::to_string));
    }
    if config == json!({}) {
        return Ok(None);
    }
    Ok(Some(format!("{}\n", serde_json::to_string_pretty(&config)?)))
}

/// The lines around a handler's block.
fn marks(name: &str) -> (String, String) {
    let policy =
        name.strip_prefix("safebox-").map(|policy| format!(" --policy {policy}")).unwrap_or_default();
    (
        format!("# {name}: begin (written by `safebox install --containerd{policy}`)\n"),
        format!("# {name}: end\n"),
    )
}

/// A runtime handler of containerd's CRI plugin: the stock shim, with safebox as its program.
fn containerd(old: Option<&str>, handler: &Handler) -> anyhow::Result<Option<String>> {
    let name = &handler.name;
    let (begin, end) = marks(name);
    let others = without_block(old.unwrap_or_default(), &begin, &end)?;
    let Some(program) = &handler.program else {
        // A file with nothing but the version line was made for safebox.
        let made = others.trim().is_empty() || others.trim() == "version = 2";
        return Ok(if made && old.is_some_and(|o| o.contains(&begin)) { None } else { old.map(|_| others) });
    };
    let table = [format!(".runtimes.{name}]"), format!(".runtimes.{name}.")];
    let theirs = |l: &str| l.trim_start().starts_with('[') && table.iter().any(|t| l.contains(t));
    if others.lines().any(theirs) {
        bail!("it has a runtime `{name}` that this program did not write, so it is left alone");
    }
    let version = top_level(&others, "version");
    let (others, plugin) = match version.as_deref() {
        None if others.trim().is_empty() => {
            ("version = 2\n".into(), "plugins.\"io.containerd.grpc.v1.cri\".containerd")
        }
        None | Some("1") => (others, "plugins.cri.containerd"),
        Some("2") => (others, "plugins.\"io.containerd.grpc.v1.cri\".containerd"),
        Some("3") => (others, "plugins.\"io.containerd.cri.v1.runtime\".containerd"),
        Some(other) => bail!("version = {other}: not a version that is known here"),
    };
    // If systemd makes the cgroups of runc's containers, it makes those of these containers as well.
    let systemd = others
        .lines()
        .any(|l| l.split('#').next().unwrap_or("").replace(' ', "").contains("SystemdCgroup=true"));
    // The built-in table of runtimes, which holds the default `runc`, is gone as soon as a file has one.
    let alone = !others.lines().any(|l| l.trim_start().starts_with('[') && l.contains(".runtimes."));
    let mut text = others;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&begin);
    if alone {
        write!(text, "[{plugin}.runtimes.runc]\n  runtime_type = \"io.containerd.runc.v2\"\n")?;
    }
    write!(
        text,
        "[{plugin}.runtimes.{name}]\n  runtime_type = \"io.containerd.runc.v2\"\n  \
         [{plugin}.runtimes.{name}.options]\n    BinaryName = \"{program}\"\n    SystemdCgroup = {systemd}\n{end}"
    )?;
    Ok(Some(text))
}

/// The text without safebox's block.
fn without_block(text: &str, begin: &str, end: &str) -> anyhow::Result<String> {
    let Some((before, rest)) = text.split_once(begin) else { return Ok(text.to_string()) };
    let (_, after) = rest.split_once(end).ok_or_else(|| anyhow!("the block of safebox has no end mark"))?;
    Ok(format!("{before}{after}"))
}

/// The value of a key before the first table.
fn top_level(text: &str, key: &str) -> Option<String> {
    let lines = text.lines().map(str::trim).take_while(|l| !l.starts_with('['));
    let mut values = lines.filter_map(|l| l.split('#').next()?.split_once('='));
    values.find(|(k, _)| k.trim() == key).map(|(_, v)| v.trim().to_string())
}

#[cfg(test)]
mod tests;
