//! Rules for Dockerfiles: the main ones of CIS Docker 4, hadolint and dockle.

use std::path::Path;

use super::{About, AuditedKind, Judgement, Report};
use crate::input::dockerfile::{Instruction, parse};
use crate::policy::{Evidence, Place, Severity, Verdict};

mod find;
mod shell;

/// Finds what is wrong: (line, what).
type Find = fn(&[Instruction]) -> find::FoundLines;

/// Why a rule that finds nothing cannot be said to pass.
type Unclear = fn(&[Instruction]) -> Option<String>;

struct DockerfileRow {
    about: About,
    find: Find,
    unclear: Unclear,
}

const fn row(
    (id, title): (&'static str, &'static str),
    severity: Severity,
    references: &'static [&'static str],
    remedy: &'static str,
    (find, unclear): (Find, Unclear),
) -> DockerfileRow {
    DockerfileRow { about: About { id, title, severity, references, remedy }, find, unclear }
}

/// The file says everything.
fn clear(_: &[Instruction]) -> Option<String> {
    None
}

const RULES: &[DockerfileRow] = &[
    row(
        ("dockerfile-user", "the program does not run as root"),
        Severity::High,
        &["CIS Docker 4.1", "hadolint DL3002", "dockle CIS-DI-0001"],
        "end with USER and a number that is not 0",
        (find::user, find::unknown_user),
    ),
    row(
        ("dockerfile-tag", "images have a tag that stays"),
        Severity::Medium,
        &["CIS Docker 4.2", "hadolint DL3006, DL3007", "dockle DKL-DI-0006"],
        "name a version: FROM image:1.2.3",
        (find::moving_tags, find::unknown_image),
    ),
    row(
        ("dockerfile-digest", "images are pinned by their digest"),
        Severity::Low,
        &["CIS Docker 4.2", "NIST SP 800-190 4.1.5"],
        "FROM image:1.2.3@sha256:...",
        (
            |all| {
                let bad = find::images(all).into_iter().filter(|(_, image)| !image.contains("@sha256:"));
                bad.map(|(line, image)| (line, format!("{image} has no digest"))).collect()
            },
            find::unknown_image,
        ),
    ),
    row(
        ("dockerfile-add", "files are copied with COPY"),
        Severity::Low,
        &["CIS Docker 4.9", "hadolint DL3020"],
        "use COPY; fetch with a checksum: ADD --checksum=sha256:...",
        (
            |all| {
                let bad = find::named(all, "ADD").filter(|i| i.flag("checksum").is_none());
                bad.map(|i| (i.line, format!("ADD {}", i.rest))).collect()
            },
            clear,
        ),
    ),
    row(
        ("dockerfile-secrets", "no secret is in a layer"),
        Severity::High,
        &["CIS Docker 4.10", "dockle CIS-DI-0010"],
        "use RUN --mount=type=secret,id=NAME; give secrets when the container runs; list the file in .dockerignore",
        (find::secrets, clear),
    ),
    row(
        ("dockerfile-healthcheck", "the image says how its health is asked"),
        Severity::Low,
        &["CIS Docker 4.6", "dockle CIS-DI-0006"],
        "add HEALTHCHECK CMD [...]",
        (
            |all| {
                let stage = find::last_stage(all);
                let last = find::named(stage, "HEALTHCHECK").last();
                if last.is_none_or(|i| i.rest.eq_ignore_ascii_case("none")) {
                    vec![(stage.first().map_or(1, |i| i.line), "no HEALTHCHECK".into())]
                } else {
                    Vec::new()
                }
            },
            clear,
        ),
    ),
    row(
        ("dockerfile-packages", "packages are installed once, and leave no lists"),
        Severity::Low,
        &[
            "CIS Docker 4.7",
            "hadolint DL3009, DL3015, DL3019, DL3032, DL3042",
            "dockle DKL-DI-0004, DKL-DI-0005",
        ],
        "RUN apt-get update && apt-get install -y --no-install-recommends NAME=VERSION && rm -rf /var/lib/apt/lists/*",
        (find::packages, clear),
    ),
    row(
        ("dockerfile-sudo", "no sudo is in the image"),
        Severity::Medium,
        &["hadolint DL3004", "dockle DKL-DI-0001"],
        "run as USER; gosu or setpriv change the user once",
        (find::sudo, clear),
    ),
    row(
        ("dockerfile-curl-pipe", "nothing is executed as it is fetched"),
        Severity::High,
        &["CIS Docker 4.11", "dockle CIS-DI-0011"],
        "fetch a file, check its checksum or signature, then execute it",
        (find::piped, clear),
    ),
    row(
        ("dockerfile-unverified", "what is fetched is verified"),
        Severity::Medium,
        &["CIS Docker 4.11", "dockle CIS-DI-0011"],
        "leave the option out; install the certificate or the key that is missing",
        (find::unverified, clear),
    ),
    row(
        ("dockerfile-ssh", "no SSH server is in the image"),
        Severity::Medium,
        &["CIS Docker 5.7", "trivy DS004"],
        "remove it: docker exec and kubectl exec do the same",
        (find::ssh, clear),
    ),
    row(
        ("dockerfile-setuid", "no file is made setuid"),
        Severity::High,
        &["CIS Docker 4.8", "dockle CIS-DI-0008"],
        "leave the bit out, or chmod a-s",
        (find::setuid, clear),
    ),
    row(
        ("dockerfile-workdir", "WORKDIR is absolute"),
        Severity::Low,
        &["hadolint DL3000"],
        "WORKDIR /app",
        (find::relative, clear),
    ),
    row(
        ("dockerfile-exec-form", "the program itself is process 1"),
        Severity::Low,
        &["hadolint DL3025"],
        "CMD [\"program\", \"argument\"]",
        (find::shell_form, clear),
    ),
];

/// Judges the text of a Dockerfile.
pub fn audit(path: &Path, text: &str) -> Report {
    let all = parse(text);
    let judge = |row: &DockerfileRow| {
        let found = (row.find)(&all).into_iter().map(|(line, text)| Evidence {
            at: Place::Line(path.to_path_buf(), line),
            text,
            reference: None,
        });
        let found: Vec<_> = found.collect();
        let none = !all.iter().any(|i| i.name == "FROM");
        let verdict = match (found.is_empty(), (row.unclear)(&all)) {
            _ if none => Verdict::CannotTell("there is no FROM: it is no whole Dockerfile".into()),
            (true, Some(why)) => Verdict::CannotTell(why),
            (true, None) => Verdict::Pass,
            (false, _) => Verdict::Fail(found),
        };
        Judgement { rule: row.about, verdict }
    };
    let judgements = RULES.iter().map(judge).collect();
    let at = |i: &Instruction| Place::Line(path.to_path_buf(), i.line);
    let unknown = all.iter().filter(|i| !i.is_known() || i.rest.is_empty());
    Report {
        target: path.display().to_string(),
        kind: AuditedKind::Dockerfile,
        judgements,
        document: None,
        unknown: unknown.map(|i| (at(i), format!("{} {}", i.name, i.rest).trim_end().to_string())).collect(),
        beside: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
