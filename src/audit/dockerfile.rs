//! Rules for Dockerfiles: the main ones of CIS Docker 4, hadolint and dockle.

use std::path::Path;

use super::{About, Judgement, Kind, Report};
use crate::input::dockerfile::{Instruction, parse};
use crate::policy::judge::secret_in;
use crate::policy::{Evidence, Place, Severity, Verdict};

/// Finds what is wrong: (line, what).
type Find = fn(&[Instruction]) -> Vec<(u32, String)>;

struct Row {
    about: About,
    find: Find,
}

const fn row(
    (id, title): (&'static str, &'static str),
    severity: Severity,
    references: &'static [&'static str],
    remedy: &'static str,
    find: Find,
) -> Row {
    Row { about: About { id, title, severity, references, remedy }, find }
}

fn named<'a>(all: &'a [Instruction], name: &'a str) -> impl Iterator<Item = &'a Instruction> {
    all.iter().filter(move |i| i.name == name)
}

/// The instructions of the last stage: the image that is made.
fn last_stage(all: &[Instruction]) -> &[Instruction] {
    all.iter().rposition(|i| i.name == "FROM").map_or(all, |at| &all[at..])
}

/// Images that are no stages of this file.
fn images(all: &[Instruction]) -> Vec<(u32, String)> {
    let mut stages: Vec<String> = Vec::new();
    let mut images = Vec::new();
    for from in named(all, "FROM") {
        let words = from.words();
        let image = words.first().copied().unwrap_or_default();
        if !stages.iter().any(|s| s == image) && image != "scratch" && !image.starts_with('$') {
            images.push((from.line, image.to_string()));
        }
        if let Some(at) = words.iter().position(|w| w.eq_ignore_ascii_case("as")) {
            stages.extend(words.get(at + 1).map(|name| (*name).to_string()));
        }
    }
    images
}

/// The tag of an image; the part before it may have a port.
fn tag(image: &str) -> Option<&str> {
    let name = image.split('@').next().unwrap_or(image);
    name.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag)
}

/// The commands of a RUN, apart.
fn commands(i: &Instruction) -> impl Iterator<Item = &str> {
    i.rest.split(['&', ';', '|']).map(str::trim).filter(|c| !c.is_empty())
}

fn runs(all: &[Instruction], test: impl Fn(&str) -> bool) -> Vec<(u32, String)> {
    let hit = |i: &Instruction| commands(i).find(|c| test(c)).map(|c| (i.line, c.to_string()));
    // A here-document of COPY is a file, line by line.
    all.iter().filter(|i| i.name == "RUN" || i.rest.contains("<<")).filter_map(hit).collect()
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| c.is_whitespace() || "\"',[]".contains(c))
        .any(|w| w == word || w.ends_with(&format!("/{word}")))
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

fn user(all: &[Instruction]) -> Vec<(u32, String)> {
    let line = last_stage(all).first().map_or(1, |i| i.line);
    match last_user(all) {
        None => vec![(line, "no USER: the program runs as root, or as the image's user".into())],
        Some(i) => {
            let name = i.rest.split(':').next().unwrap_or_default();
            if name.eq_ignore_ascii_case("root") || name.parse::<u32>().is_ok_and(|uid| uid == 0) {
                vec![(i.line, format!("the last USER is {name}"))]
            } else {
                Vec::new()
            }
        }
    }
}

fn secrets(all: &[Instruction]) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for i in all.iter().filter(|i| matches!(i.name.as_str(), "ENV" | "ARG" | "LABEL")) {
        let words = i.rest.split_whitespace().filter_map(|w| w.split_once('='));
        let pairs: Vec<(&str, &str)> = match i.rest.contains('=') {
            true => words.collect(),
            // `ENV NAME VALUE`, and an argument that the build gets.
            false => vec![i.rest.split_once(' ').unwrap_or((&i.rest, "given"))],
        };
        found
            .extend(pairs.iter().filter_map(|(n, v)| secret_in(n, v.trim_matches('"'))).map(|t| (i.line, t)));
    }
    for i in all.iter().filter(|i| matches!(i.name.as_str(), "COPY" | "ADD")) {
        let words = i.words();
        let names = [
            ".env",
            "id_rsa",
            "id_ed25519",
            ".npmrc",
            ".netrc",
            ".pem",
            ".key",
            ".git-credentials",
            "credentials",
        ];
        let sources = words.iter().take(words.len().saturating_sub(1));
        let secret = sources.filter(|w| names.iter().any(|n| w.ends_with(n)));
        found.extend(secret.map(|w| (i.line, format!("{w} goes into a layer"))));
    }
    for (line, command) in runs(all, |c| {
        let lower = c.to_ascii_lowercase();
        ["password=", "passwd=", "secret=", "token=", "api_key="].iter().any(|w| lower.contains(w))
            && !lower.contains("=$")
    }) {
        let word =
            command.split('=').next().unwrap_or_default().rsplit([' ', '"', '\'']).next().unwrap_or_default();
        found.push((line, format!("{word}=... is written into a layer")));
    }
    found
}

fn piped(all: &[Instruction]) -> Vec<(u32, String)> {
    let shells = ["sh", "bash", "ash", "zsh", "python", "python3", "perl"];
    let hit = |i: &Instruction| {
        i.rest
            .split("&&")
            .flat_map(|c| c.split(';'))
            .find(|c| {
                let mut parts = c.split('|');
                let first = parts.next().unwrap_or_default();
                (has_word(first, "curl") || has_word(first, "wget"))
                    && parts.any(|p| {
                        p.split_whitespace()
                            .find(|w| *w != "sudo")
                            .is_some_and(|w| shells.iter().any(|s| w == *s || w.ends_with(&format!("/{s}"))))
                    })
            })
            .map(|c| (i.line, c.trim().to_string()))
    };
    named(all, "RUN").filter_map(hit).collect()
}

fn setuid(all: &[Instruction]) -> Vec<(u32, String)> {
    let mode = |text: &str| {
        let number = u32::from_str_radix(text, 8).ok().filter(|_| text.len() >= 4);
        let words = text.contains(['+', '=']) && text.chars().all(|c| "ugoa+=rwxst,".contains(c));
        number.is_some_and(|mode| mode & 0o6000 != 0) || (words && text.contains('s'))
    };
    let mut found = runs(all, |c| has_word(c, "chmod") && c.split_whitespace().skip(1).any(mode));
    found.extend(all.iter().filter(|i| i.flag("chmod").is_some_and(mode)).map(|i| (i.line, i.rest.clone())));
    found
}

fn packages(all: &[Instruction]) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for i in named(all, "RUN") {
        let text = &i.rest;
        let apt = has_word(text, "apt-get") || has_word(text, "apt");
        if apt && text.contains("update") && !text.contains("install") {
            found.push((
                i.line,
                "apt-get update alone: its layer is cached, and old packages are installed later".into(),
            ));
        }
        if apt && text.contains("install") && !text.contains("update") {
            found.push((i.line, "apt-get install without update in the same RUN".into()));
        }
        if apt && text.contains("install") && !text.contains("--no-install-recommends") {
            found.push((i.line, "apt-get install without --no-install-recommends".into()));
        }
        if apt && text.contains("install") && !text.contains("/var/lib/apt/lists") {
            found.push((i.line, "the package lists stay in the layer: rm -rf /var/lib/apt/lists/*".into()));
        }
        if has_word(text, "apk") && text.contains(" add") && !text.contains("--no-cache") {
            found.push((i.line, "apk add without --no-cache".into()));
        }
    }
    found
}

fn exposed(all: &[Instruction]) -> Vec<(u32, String)> {
    let ssh = |i: &&Instruction| {
        i.words().iter().any(|word| {
            let ports = word.split('/').next().unwrap_or_default();
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if (first..=last).contains(&22))
        })
    };
    named(all, "EXPOSE").filter(ssh).map(|i| (i.line, "port 22 is that of an SSH server".into())).collect()
}

fn shell_form(all: &[Instruction]) -> Vec<(u32, String)> {
    let stage = last_stage(all).iter().filter(|i| matches!(i.name.as_str(), "CMD" | "ENTRYPOINT"));
    stage
        .filter(|i| !i.is_exec_form())
        .map(|i| (i.line, format!("{} {}: a shell is process 1 and keeps signals", i.name, i.rest)))
        .collect()
}

fn relative(all: &[Instruction]) -> Vec<(u32, String)> {
    let bad = |i: &&Instruction| !i.rest.trim_matches('"').starts_with(['/', '$']) && !i.rest.contains(":\\");
    named(all, "WORKDIR")
        .filter(bad)
        .map(|i| (i.line, format!("WORKDIR {} depends on the image", i.rest)))
        .collect()
}

const RULES: &[Row] = &[
    row(
        ("dockerfile-user", "the program does not run as root"),
        Severity::High,
        &["CIS Docker 4.1", "hadolint DL3002", "dockle CIS-DI-0001"],
        "end with USER and a number that is not 0",
        user,
    ),
    row(
        ("dockerfile-tag", "images have a tag that stays"),
        Severity::Medium,
        &["CIS Docker 4.2", "hadolint DL3006, DL3007", "dockle DKL-DI-0006"],
        "name a version: FROM image:1.2.3",
        |all| {
            let bad = images(all)
                .into_iter()
                .filter(|(_, image)| !image.contains('@') && matches!(tag(image), None | Some("latest")));
            bad.map(|(line, image)| (line, format!("{image} is another image tomorrow"))).collect()
        },
    ),
    row(
        ("dockerfile-digest", "images are pinned by their digest"),
        Severity::Low,
        &["CIS Docker 4.2", "NIST SP 800-190 4.1.5"],
        "FROM image:1.2.3@sha256:...",
        |all| {
            let bad = images(all).into_iter().filter(|(_, image)| !image.contains("@sha256:"));
            bad.map(|(line, image)| (line, format!("{image} has no digest"))).collect()
        },
    ),
    row(
        ("dockerfile-add", "files are copied with COPY"),
        Severity::Low,
        &["CIS Docker 4.9", "hadolint DL3020"],
        "use COPY; fetch with a checksum: ADD --checksum=sha256:...",
        |all| {
            let bad = named(all, "ADD").filter(|i| i.flag("checksum").is_none());
            bad.map(|i| (i.line, format!("ADD {}", i.rest))).collect()
        },
    ),
    row(
        ("dockerfile-secrets", "no secret is in a layer"),
        Severity::High,
        &["CIS Docker 4.10", "dockle CIS-DI-0010"],
        "use RUN --mount=type=secret,id=NAME; give secrets when the container runs; list the file in .dockerignore",
        secrets,
    ),
    row(
        ("dockerfile-healthcheck", "the image says how its health is asked"),
        Severity::Low,
        &["CIS Docker 4.6", "dockle CIS-DI-0006"],
        "add HEALTHCHECK CMD [...]",
        |all| {
            let stage = last_stage(all);
            let last = named(stage, "HEALTHCHECK").last();
            if last.is_none_or(|i| i.rest.eq_ignore_ascii_case("none")) {
                vec![(stage.first().map_or(1, |i| i.line), "no HEALTHCHECK".into())]
            } else {
                Vec::new()
            }
        },
    ),
    row(
        ("dockerfile-packages", "packages are installed once, and leave no lists"),
        Severity::Low,
        &["CIS Docker 4.7", "hadolint DL3009, DL3015, DL3018"],
        "RUN apt-get update && apt-get install -y --no-install-recommends NAME=VERSION && rm -rf /var/lib/apt/lists/*",
        packages,
    ),
    row(
        ("dockerfile-sudo", "no sudo is in the image"),
        Severity::Medium,
        &["hadolint DL3004", "dockle DKL-DI-0001"],
        "run as USER; gosu or setpriv change the user once",
        |all| runs(all, |c| has_word(c, "sudo")),
    ),
    row(
        ("dockerfile-curl-pipe", "nothing is executed as it is fetched"),
        Severity::High,
        &["CIS Docker 4.11", "hadolint DL4006"],
        "fetch a file, check its checksum or signature, then execute it",
        piped,
    ),
    row(
        ("dockerfile-ssh", "no SSH server is in the image"),
        Severity::Medium,
        &["CIS Docker 5.7", "hadolint DL3011"],
        "remove it: docker exec and kubectl exec do the same",
        |all| {
            let mut found = exposed(all);
            found.extend(runs(all, |c| has_word(c, "openssh-server") || has_word(c, "sshd")));
            found
        },
    ),
    row(
        ("dockerfile-setuid", "no file is made setuid"),
        Severity::High,
        &["CIS Docker 4.8", "dockle CIS-DI-0008"],
        "leave the bit out, or chmod a-s",
        setuid,
    ),
    row(
        ("dockerfile-workdir", "WORKDIR is absolute"),
        Severity::Low,
        &["hadolint DL3000"],
        "WORKDIR /app",
        relative,
    ),
    row(
        ("dockerfile-exec-form", "the program itself is process 1"),
        Severity::Low,
        &["hadolint DL3025"],
        "CMD [\"program\", \"argument\"]",
        shell_form,
    ),
];

/// Judges the text of a Dockerfile.
pub fn audit(path: &Path, text: &str) -> Report {
    let all = parse(text);
    let judge = |row: &Row| {
        let found = (row.find)(&all).into_iter().map(|(line, text)| Evidence {
            at: Place::Line(path.to_path_buf(), line),
            text,
            reference: None,
        });
        let found: Vec<_> = found.collect();
        let none = !all.iter().any(|i| i.name == "FROM");
        let verdict = match found.is_empty() {
            _ if none => Verdict::CannotTell("there is no FROM: it is no whole Dockerfile".into()),
            true => Verdict::Pass,
            false => Verdict::Fail(found),
        };
        Judgement { rule: row.about, verdict }
    };
    let judgements = RULES.iter().map(judge).collect();
    Report {
        target: path.display().to_string(),
        kind: Kind::Dockerfile,
        judgements,
        document: None,
        unknown: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(text: &str) -> Vec<&'static str> {
        let report = audit(Path::new("Dockerfile"), text);
        report
            .judgements
            .iter()
            .filter(|j| matches!(j.verdict, Verdict::Fail(_)))
            .map(|j| j.rule.id)
            .collect()
    }

    const GOOD: &str = "FROM debian:12.8@sha256:00 AS build\nRUN apt-get update && apt-get install -y --no-install-recommends x=1 && rm -rf /var/lib/apt/lists/*\n\
        FROM build\nCOPY app /app\nENV PORT=80\nHEALTHCHECK CMD [\"/app\", \"health\"]\nWORKDIR /app\nUSER 1000\nCMD [\"/app\"]\n";

    #[test]
    fn a_good_file_passes_and_each_mistake_is_one_finding() {
        assert_eq!(failed(GOOD), Vec::<&str>::new());
        for (old, new, rule) in [
            ("USER 1000", "USER root", "dockerfile-user"),
            ("USER 1000\n", "", "dockerfile-user"),
            ("USER 1000", "ENV U=0\nUSER $U", "dockerfile-user"),
            ("FROM build\n", "FROM build AS last\nUSER 7\nFROM last\n", ""),
            ("USER 1000\n", "FROM build\nHEALTHCHECK CMD [\"x\"]\n", "dockerfile-user"),
            ("FROM debian:12.8@", "ARG V=latest\nFROM debian:${V}@", ""),
            ("FROM build\n", "FROM build\nONBUILD ADD http://x/y /z\n", "dockerfile-add"),
            ("CMD [\"/app\", \"health\"]", "NONE", "dockerfile-healthcheck"),
            ("ENV PORT=80", "COPY <<EOF /c\nSECRET=x\nEOF", "dockerfile-secrets"),
            ("ENV PORT=80", "COPY --chmod=u+s a /a", "dockerfile-setuid"),
            ("ENV PORT=80", "RUN install x && /bin/chmod 06755 /x", "dockerfile-setuid"),
            ("ENV PORT=80", "EXPOSE 20-30", "dockerfile-ssh"),
            ("debian:12.8@sha256:00", "debian@sha256:00", ""),
            ("debian:12.8@sha256:00", "debian:12.8", "dockerfile-digest"),
            ("debian:12.8@sha256:00", "localhost:5000/debian", "dockerfile-tag"),
            ("COPY app", "ADD app", "dockerfile-add"),
            ("COPY app", "COPY .env", "dockerfile-secrets"),
            ("ENV PORT=80", "ENV API_KEY=x", "dockerfile-secrets"),
            ("ENV PORT=80", "ARG NPM_TOKEN", "dockerfile-secrets"),
            ("ENV PORT=80", "RUN echo \"password=x\" >/c", "dockerfile-secrets"),
            ("HEALTHCHECK CMD [\"/app\", \"health\"]\n", "", "dockerfile-healthcheck"),
            (" --no-install-recommends", "", "dockerfile-packages"),
            ("ENV PORT=80", "RUN sudo x", "dockerfile-sudo"),
            ("ENV PORT=80", "RUN curl -s https://x | sh", "dockerfile-curl-pipe"),
            ("ENV PORT=80", "EXPOSE 22/tcp", "dockerfile-ssh"),
            ("ENV PORT=80", "RUN chmod u+s /x", "dockerfile-setuid"),
            ("ENV PORT=80", "COPY --chmod=4755 x /x", "dockerfile-setuid"),
            ("WORKDIR /app", "WORKDIR app", "dockerfile-workdir"),
            ("CMD [\"/app\"]", "CMD /app", "dockerfile-exec-form"),
        ] {
            assert!(GOOD.contains(old), "{old}");
            let found = failed(&GOOD.replace(old, new));
            let want: Vec<&str> = Some(rule).filter(|r| !r.is_empty()).into_iter().collect();
            let digest =
                if rule == "dockerfile-tag" { vec!["dockerfile-tag", "dockerfile-digest"] } else { want };
            assert_eq!(found, digest, "{new}");
        }
    }

    #[test]
    fn values_of_secrets_are_not_shown() {
        let report =
            audit(Path::new("Dockerfile"), "FROM a\nENV API_KEY=hunter2\nRUN echo password=hunter2 >/x\n");
        let texts: Vec<_> = report.findings().iter().map(|f| f.evidence.text.clone()).collect();
        assert!(texts.iter().all(|t| !t.contains("hunter2")), "{texts:?}");
    }
}
