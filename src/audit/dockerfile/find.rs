//! What each rule looks for: (line, what).

use super::shell::{has, is, pipelines, prints, program, runs, text, words};
use crate::input::dockerfile::Instruction;
use crate::policy::judge::{known_secret, secret_in};

pub(super) type FoundLines = Vec<(u32, String)>;

pub(super) fn named<'a>(all: &'a [Instruction], name: &'a str) -> impl Iterator<Item = &'a Instruction> {
    all.iter().filter(move |i| i.name == name)
}

/// The instructions of the last stage: the image that is made.
pub(super) fn last_stage(all: &[Instruction]) -> &[Instruction] {
    all.iter().rposition(|i| i.name == "FROM").map_or(all, |at| &all[at..])
}

/// Images that are no stages of this file.
pub(super) fn images(all: &[Instruction]) -> FoundLines {
    let mut stages: Vec<String> = Vec::new();
    let mut images = Vec::new();
    for from in named(all, "FROM") {
        let words = from.words();
        let image = words.first().copied().unwrap_or_default();
        if !stages.iter().any(|s| s == image) && !["scratch", ""].contains(&image) && !image.contains('$') {
            images.push((from.line, image.to_string()));
        }
        if let Some(at) = words.iter().position(|w| w.eq_ignore_ascii_case("as")) {
            stages.extend(words.get(at + 1).map(|name| (*name).to_string()));
        }
    }
    images
}

/// An image whose name nothing in the file decides.
pub(super) fn unknown_image(all: &[Instruction]) -> Option<String> {
    let image = |i: &Instruction| i.words().first().map(|image| (*image).to_string());
    let open = named(all, "FROM").filter_map(image).find(|image| image.contains('$'));
    open.map(|image| format!("which image {image} is, the caller of the build decides"))
}

/// The tag of an image; the part before it may have a port.
pub(super) fn tag(image: &str) -> Option<&str> {
    let name = image.split('@').next().unwrap_or(image);
    name.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag)
}

pub(super) fn moving_tags(all: &[Instruction]) -> FoundLines {
    let moves = |image: &str| match tag(image) {
        _ if image.contains('@') => None,
        None => Some(format!("{image} has no tag, which means latest: the next build may get another image")),
        Some("latest") => Some(format!("{image}: the next build may get another image")),
        Some(_) => None,
    };
    images(all).into_iter().filter_map(|(line, image)| Some((line, moves(&image)?))).collect()
}

/// The commands of all RUNs. A here-document of COPY is a file, line by line.
fn commands(all: &[Instruction]) -> impl Iterator<Item = (u32, String)> {
    let of = |i: &Instruction| {
        let line = i.line;
        pipelines(&text(i)).into_iter().flatten().map(move |command| (line, command))
    };
    all.iter().filter(|i| i.name == "RUN" || i.rest.contains("<<")).flat_map(of)
}

/// The last USER of the image, which may be that of the stage that it begins with.
fn last_user(all: &[Instruction]) -> Option<&Instruction> {
    let stage = last_stage(all);
    let before = &all[..all.len() - stage.len()];
    named(stage, "USER").last().or_else(|| {
        let from = stage.first()?.words().first().copied()?;
        let ends = |i: &Instruction| {
            let words = i.words();
            i.name == "FROM" && words.len() == 3 && words[1].eq_ignore_ascii_case("as") && words[2] == from
        };
        let at = before.iter().rposition(ends)?;
        let next =
            before[at + 1..].iter().position(|i| i.name == "FROM").map_or(before.len(), |n| at + 1 + n);
        last_user(&before[..next])
    })
}

fn user_name(i: &Instruction) -> &str {
    i.rest.trim_matches(['"', '\'']).split(':').next().unwrap_or_default()
}

pub(super) fn user(all: &[Instruction]) -> FoundLines {
    let Some(i) = last_user(all) else {
        // Images of distroless and Chainguard say so in the tag.
        let nonroot =
            images(all).last().is_some_and(|(_, image)| tag(image).is_some_and(|t| t.contains("nonroot")));
        let line = last_stage(all).first().map_or(1, |i| i.line);
        let found = (line, "no USER: the program runs as root, or as the image's user".into());
        return if nonroot { Vec::new() } else { vec![found] };
    };
    let name = user_name(i);
    let root = name.eq_ignore_ascii_case("root") || name.parse::<u32>().is_ok_and(|uid| uid == 0);
    if root { vec![(i.line, format!("the last USER is {name}"))] } else { Vec::new() }
}

/// A user whose name nothing in the file decides.
pub(super) fn unknown_user(all: &[Instruction]) -> Option<String> {
    let name = user_name(last_user(all)?);
    name.contains('$').then(|| format!("who {name} is, the caller of the build decides"))
}

/// Whether a file of this name holds secrets, as a rule.
fn is_secret_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let shown = ["example", "sample", "template", "dist", "defaults"].iter().any(|end| name.ends_with(end));
    let env = name
        .strip_prefix(".env")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '*', '-', '_']));
    let whole = [
        ".npmrc",
        ".netrc",
        ".pypirc",
        ".pgpass",
        ".htpasswd",
        ".git-credentials",
        "credentials",
        "kubeconfig",
        ".dockercfg",
        ".aws",
        ".ssh",
    ];
    let ends = ["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", ".pem", ".key", ".p12", ".pfx", ".jks", ".ppk"];
    env && !shown || whole.contains(&name.as_str()) || ends.iter().any(|end| name.ends_with(end))
}

/// Values of `password=` and the like that are in the text itself.
fn assigned(command: &str) -> Option<String> {
    let lower = command.to_ascii_lowercase();
    for word in ["password=", "passwd=", "secret=", "token=", "api_key="] {
        for (at, _) in lower.match_indices(word) {
            let value = lower[at + word.len()..].trim_start_matches(['"', '\'']);
            if !value.is_empty() && !value.starts_with(['$', '`', '<', ' ']) {
                let start = lower[..at].rfind([' ', '"', '\'']).map_or(0, |n| n + 1);
                return Some(format!("{}=... is written into a layer", &command[start..at + word.len() - 1]));
            }
        }
    }
    None
}

/// A password in an address, or a token that its beginning gives away.
fn shown(command: &str) -> Option<String> {
    for (at, _) in command.match_indices("://") {
        let rest = command[at + 3..]
            .split(|c: char| c.is_whitespace() || "\"'".contains(c))
            .next()
            .unwrap_or_default();
        let login = rest.split_once('@').and_then(|(login, _)| login.split_once(':'));
        if login.is_some_and(|(_, password)| !password.is_empty() && !password.starts_with('$')) {
            return Some("an address with a password is written into a layer".into());
        }
    }
    let parts = command.split(|c: char| c.is_whitespace() || "\"'=:@/".contains(c));
    parts.filter_map(known_secret).next().map(|what| format!("{what} is written into a layer"))
}

pub(super) fn secrets(all: &[Instruction]) -> FoundLines {
    let mut found = Vec::new();
    for i in all.iter().filter(|i| matches!(i.name.as_str(), "ENV" | "ARG" | "LABEL")) {
        let words = i.rest.split_whitespace().filter_map(|w| w.split_once('='));
        let pairs: Vec<(&str, &str)> = match i.rest.contains('=') {
            true => words.collect(),
            // `ENV NAME VALUE`, and an argument that the build gets.
            false => vec![i.rest.split_once(' ').unwrap_or((&i.rest, "given"))],
        };
        let secret = pairs.iter().filter_map(|(n, v)| secret_in(n, v.trim_matches(['"', '\''])));
        found.extend(secret.map(|text| (i.line, text)));
    }
    for i in all.iter().filter(|i| matches!(i.name.as_str(), "COPY" | "ADD")) {
        let words = i.words();
        let sources = words.iter().take(words.len().saturating_sub(1));
        let secret = sources.filter(|w| is_secret_file(w));
        found.extend(secret.map(|w| (i.line, format!("{w} goes into a layer"))));
    }
    let command =
        |(line, command): (u32, String)| Some((line, assigned(&command).or_else(|| shown(&command))?));
    found.extend(commands(all).filter_map(command));
    for i in named(all, "RUN") {
        let sets = |p: &&Vec<String>| p.last().is_some_and(|last| runs(last, "chpasswd"));
        let given = |p: &Vec<String>| prints(&p[0]) && p[0].contains(':') && !p[0].contains('$');
        if pipelines(&text(i)).iter().filter(sets).any(given) {
            found.push((i.line, "chpasswd sets a password that is written into a layer".into()));
        }
    }
    found
}

const SHELLS: [&str; 8] = ["sh", "bash", "ash", "dash", "zsh", "python", "python3", "perl"];

pub(super) fn piped(all: &[Instruction]) -> FoundLines {
    let fetches = |command: &str| runs(command, "curl") || runs(command, "wget");
    let shell = |command: &str| {
        program(command)
            .is_some_and(|p| SHELLS.iter().any(|shell| is(p, shell)) || ["eval", "source", "."].contains(&p))
    };
    let inner = ["$(curl", "$(wget", "`curl", "`wget", "<(curl", "<(wget"];
    let executes = |p: &Vec<String>| {
        let first = p.iter().position(|command| fetches(command));
        let later = first.is_some_and(|at| p[at + 1..].iter().any(|command| shell(command)));
        later || p.iter().any(|command| shell(command) && inner.iter().any(|start| command.contains(start)))
    };
    let hit = |i: &Instruction| {
        pipelines(&text(i)).into_iter().find(|p| executes(p)).map(|p| (i.line, p.join(" | ")))
    };
    named(all, "RUN").filter_map(hit).collect()
}

pub(super) fn setuid(all: &[Instruction]) -> FoundLines {
    let mode = |text: &str| {
        let number = u32::from_str_radix(text, 8).ok().filter(|_| text.len() >= 4);
        let words = text.contains(['+', '=']) && text.chars().all(|c| "ugoa+=rwxst,".contains(c));
        number.is_some_and(|mode| mode & 0o6000 != 0) || (words && text.contains('s'))
    };
    let sets = |c: &str| {
        let words = words(c);
        let chmod =
            words.iter().position(|w| is(w, "chmod")).is_some_and(|at| words[at..].iter().any(|w| mode(w)));
        let value =
            |w: &&str| w.strip_prefix("--mode=").or_else(|| w.strip_prefix("-m")).unwrap_or(w).to_string();
        chmod || runs(c, "install") && words.iter().map(value).any(|w| mode(&w))
    };
    let mut found: FoundLines = commands(all).filter(|(_, c)| sets(c)).collect();
    found.extend(all.iter().filter(|i| i.flag("chmod").is_some_and(mode)).map(|i| (i.line, i.rest.clone())));
    found
}

pub(super) fn packages(all: &[Instruction]) -> FoundLines {
    let mut found = Vec::new();
    for i in named(all, "RUN") {
        let run = text(i);
        let all: Vec<String> = pipelines(&run).into_iter().flatten().collect();
        let does = |names: &[&str], verb: &str| {
            all.iter().find(|c| names.iter().any(|name| runs(c, name)) && has(c, verb))
        };
        let removed = |dirs: &[&str]| dirs.iter().any(|dir| run.contains(dir));
        // A cache mount is no part of the layer.
        let cached = i.rest.contains("type=cache");
        let mut add = |text: &str| found.push((i.line, text.to_string()));
        let (update, install) = (does(&APT, "update"), does(&APT, "install"));
        if update.is_some() && install.is_none() && does(&APT, "upgrade").is_none() {
            add("apt-get update alone: its layer is cached, and old packages are installed later");
        }
        if let Some(install) = install {
            if update.is_none() {
                add("apt-get install without update in the same RUN");
            }
            if !has(install, "--no-install-recommends") {
                add("apt-get install without --no-install-recommends");
            }
            if !cached && !removed(&["/var/lib/apt/lists"]) {
                add("the package lists stay in the layer: rm -rf /var/lib/apt/lists/*");
            }
        }
        if does(&["apk"], "add").is_some_and(|c| !has(c, "--no-cache"))
            && !cached
            && !removed(&["/var/cache/apk"])
        {
            add("apk add without --no-cache");
        }
        let cleans = |names: &[&str]| ["clean", "cc"].iter().any(|verb| does(names, verb).is_some());
        for (names, dir) in [(&YUM[..], "/var/cache"), (&["zypper"], "/var/cache/zypp")] {
            let installs = ["install", "in", "update"].iter().any(|verb| does(names, verb).is_some());
            if installs && !cleans(names) && !cached && !removed(&[dir]) {
                add("the package manager's cache stays in the layer: clean all in the same RUN");
            }
        }
        let pip = all.iter().find(|c| (has(c, "pip") || has(c, "pip3")) && has(c, "install") && !prints(c));
        if pip.is_some_and(|c| !has(c, "--no-cache-dir")) && !cached && !removed(&["PIP_NO_CACHE_DIR"]) {
            add("pip install without --no-cache-dir");
        }
    }
    found
}

const APT: [&str; 3] = ["apt-get", "apt", "aptitude"];
const YUM: [&str; 3] = ["yum", "dnf", "microdnf"];

/// Options that take what comes without its certificate or signature: (program, option).
const UNVERIFIED: [(&str, &str); 15] = [
    ("curl", "--insecure"),
    ("curl", "-k"),
    ("wget", "--no-check-certificate"),
    ("apt-get", "--allow-unauthenticated"),
    ("apt", "--allow-unauthenticated"),
    ("apt-get", "--force-yes"),
    ("apt-get", "--allow-insecure-repositories"),
    ("apk", "--allow-untrusted"),
    ("yum", "--nogpgcheck"),
    ("dnf", "--nogpgcheck"),
    ("dnf", "--no-gpg-checks"),
    ("zypper", "--no-gpg-checks"),
    ("rpm", "--nosignature"),
    ("pip", "--trusted-host"),
    ("pip3", "--trusted-host"),
];

/// Variables that switch the check of certificates off: (name, value).
const UNCHECKED: [(&str, &str); 4] = [
    ("NODE_TLS_REJECT_UNAUTHORIZED", "0"),
    ("PYTHONHTTPSVERIFY", "0"),
    ("GIT_SSL_NO_VERIFY", ""),
    ("NPM_CONFIG_STRICT_SSL", "false"),
];

pub(super) fn unverified(all: &[Instruction]) -> FoundLines {
    let takes = |c: &str| {
        let short = |w: &&str| w.starts_with('-') && !w.starts_with("--") && w.contains('k');
        UNVERIFIED.iter().any(|(name, option)| runs(c, name) && has(c, option))
            || runs(c, "curl") && words(c).iter().any(short)
    };
    let mut found: FoundLines = commands(all).filter(|(_, c)| takes(c)).collect();
    for i in named(all, "ENV") {
        let pairs = i.rest.split_whitespace().filter_map(|w| w.split_once('='));
        let pair = i.rest.split_once(' ').filter(|_| !i.rest.contains('='));
        let off = pairs.chain(pair).find(|(name, value)| {
            UNCHECKED
                .iter()
                .any(|(n, v)| n == name && (v.is_empty() || v == &value.trim_matches(['"', '\''])))
        });
        found.extend(off.map(|(name, value)| (i.line, format!("{name}={value}: no certificate is checked"))));
    }
    found
}

pub(super) fn sudo(all: &[Instruction]) -> FoundLines {
    commands(all).filter(|(_, c)| !prints(c) && has(c, "sudo")).collect()
}

pub(super) fn ssh(all: &[Instruction]) -> FoundLines {
    let port = |i: &&Instruction| {
        i.words().iter().any(|word| {
            let ports = word.split('/').next().unwrap_or_default();
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&22))
        })
    };
    let mut found: FoundLines = named(all, "EXPOSE")
        .filter(port)
        .map(|i| (i.line, "port 22 is that of an SSH server".into()))
        .collect();
    let server = |c: &str| !prints(c) && (has(c, "openssh-server") || has(c, "dropbear") || runs(c, "sshd"));
    found.extend(commands(all).filter(|(_, c)| server(c)));
    let starts = |i: &&Instruction| i.words().first().is_some_and(|program| is(program, "sshd"));
    let programs = last_stage(all).iter().filter(|i| matches!(i.name.as_str(), "CMD" | "ENTRYPOINT"));
    found.extend(programs.filter(starts).map(|i| (i.line, "the program is an SSH server".into())));
    found
}

/// The last CMD and the last ENTRYPOINT count. One that begins with `exec` replaces its shell.
pub(super) fn shell_form(all: &[Instruction]) -> FoundLines {
    let last = ["CMD", "ENTRYPOINT"].into_iter().filter_map(|name| named(last_stage(all), name).last());
    last.filter(|i| !i.is_exec_form() && !i.rest.starts_with("exec "))
        .map(|i| (i.line, format!("{} {}: a shell is process 1 and keeps signals", i.name, i.rest)))
        .collect()
}

pub(super) fn relative(all: &[Instruction]) -> FoundLines {
    let bad = |i: &&Instruction| !i.rest.trim_matches('"').starts_with(['/', '$']) && !i.rest.contains(":\\");
    named(all, "WORKDIR")
        .filter(bad)
        .map(|i| (i.line, format!("WORKDIR {} depends on the image", i.rest)))
        .collect()
}
