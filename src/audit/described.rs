//! Files that describe containers: compose files, manifests, `docker run` lines. Each container is judged as the config
//! that Docker would make of it, and a finding names the line of the file.

use std::path::Path;

use super::{Kind, Report};
use crate::error::{Error, Result};
use crate::input::yaml::parse;
use crate::input::{Description, Spot, compose, config, docker, interpolate, pod, read};
use crate::policy::{Machine, Place, Posture, Verdict};

/// Containers that one file describes at most.
const MOST: usize = 2000;

/// Judges a file, by what it holds.
///
/// A container that cannot be read is an error of its own: the others of the file are judged.
pub fn audit(path: &Path, machine: Machine) -> Result<Vec<Result<Report>>> {
    let text = read(path)?;
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if name.starts_with("Dockerfile") || name.starts_with("Containerfile") || name.ends_with(".dockerfile") {
        return Ok(vec![Ok(super::dockerfile::audit(path, &text))]);
    }
    let shown = path.display();
    let mut described = Vec::new();
    for mut document in pod::flat(parse(path, &text)?) {
        if compose::is(&document) {
            interpolate::apply(&mut document)?;
            for (service, _) in compose::services(&document).into_iter().take(MOST + 1) {
                described.push(compose::describe(&document, service));
            }
        } else if pod::is(&document) {
            for (container, node) in pod::containers(&document).into_iter().take(MOST + 1) {
                described.push(pod::describe(&document, &container, node));
            }
        }
    }
    if described.len() > MOST {
        return Err(Error::msg(format!("{shown}: more than {MOST} containers")));
    }
    if described.is_empty() {
        return Err(Error::msg(format!(
            "{shown}: neither a bundle's directory, nor a compose file, nor a Kubernetes manifest with containers, nor a Dockerfile"
        )));
    }
    let judge = |d: Result<Description>| d.and_then(|d| judge(&format!("{shown}: {}", d.name), &d, machine));
    Ok(described.into_iter().map(judge).collect())
}

/// Judges a `docker run` line.
pub fn line(line: &str, machine: Machine) -> Result<Report> {
    judge("docker run", &docker::describe("-", line)?, machine)
}

fn judge(target: &str, d: &Description, machine: Machine) -> Result<Report> {
    let made = config::make(d)?;
    let config = made.config().map_err(|e| match e {
        Error::Config(e) => Error::msg(format!("{}: {}", made.place(&e.pointer).unwrap_or(&d.at), e.message)),
        e => e,
    })?;
    let mut posture = Posture::of_config(&config, machine);
    if let Some(why) = &made.user {
        posture.user = Err(why.clone());
    }
    // A variable that is passed on has a value where the container starts.
    for entry in posture.environment.iter_mut().flatten() {
        if made.passed.iter().any(|name| entry.strip_suffix('=') == Some(name)) {
            entry.push_str("the caller's");
        }
    }
    // An engine confines what names no profile, but for privileged containers.
    let named = !made.json["process"]["apparmorProfile"].is_null();
    if machine.apparmor && !named && d.said.iter().all(|said| said.option != "privileged") {
        posture.lsm = Ok(Some("the engine's own profile".into()));
    }
    let mut report = Report::of_posture(target.to_string(), Kind::Description, &posture);
    for judgement in &mut report.judgements {
        if let Verdict::Fail(found) = &mut judgement.verdict {
            for evidence in found {
                if let Place::Pointer(pointer) = &evidence.at {
                    let at = made.place(pointer).unwrap_or(&d.at);
                    evidence.at = place(at);
                }
            }
        }
    }
    let unknown = d.unknown.iter().map(|(at, key)| (place(at), key.clone()));
    let stops = d.stops.iter().map(|(at, key, why)| (place(at), format!("{key}: {why}")));
    report.unknown = unknown.chain(stops).collect();
    report.beside = made.left.iter().map(|(at, text)| (place(at), text.clone())).collect();
    Ok(report)
}

fn place(at: &Spot) -> Place {
    Place::Line(at.file.clone(), at.line)
}
