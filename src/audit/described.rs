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
    if machine.apparmor && !named && d.options.iter().all(|option| option.name != "privileged") {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(report: &Report, id: &str) -> Verdict {
        report.judgements.iter().find(|j| j.rule.id == id).unwrap().verdict.clone()
    }

    fn of(words: &str, machine: Machine) -> Report {
        line(&format!("docker run {words} image"), machine).unwrap()
    }

    #[test]
    fn what_the_caller_decides_is_neither_passed_nor_lost() {
        let report = of("-e NOT_SET_ANYWHERE_TOKEN", Machine::NONE);
        let Verdict::Fail(found) = verdict(&report, "environment-secrets") else { panic!("{report:?}") };
        assert_eq!(found[0].text, "NOT_SET_ANYWHERE_TOKEN holds a secret, by its name");
        assert_eq!(verdict(&of("-e NOT_SET_ANYWHERE", Machine::NONE), "environment-secrets"), Verdict::Pass);
        let report = of("-u $(id -u)", Machine::NONE);
        assert!(matches!(verdict(&report, "non-root"), Verdict::CannotTell(_)), "{report:?}");
        assert_eq!(verdict(&of("-u app", Machine::NONE), "non-root"), Verdict::Pass);
        let report = of("--name a --frob --tmpfs /t:size=1m", Machine::NONE);
        let texts = |all: &[(Place, String)]| all.iter().map(|(_, what)| what.clone()).collect::<Vec<_>>();
        assert_eq!(
            (texts(&report.unknown), texts(&report.beside)),
            (vec!["--frob".into()], vec!["name a".into()])
        );
    }

    #[test]
    fn an_engine_s_own_profile_counts() {
        let machine = Machine { apparmor: true, ..Machine::NONE };
        for (words, passes) in [
            ("", true),
            ("--security-opt apparmor=mine", true),
            ("--security-opt apparmor=unconfined", false),
            ("--privileged", false),
        ] {
            assert_eq!(verdict(&of(words, machine), "lsm") == Verdict::Pass, passes, "{words}");
        }
    }

    #[test]
    fn variables_of_a_file_are_judged_where_they_stand() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("app.env");
        std::fs::write(&file, "# settings\nLEVEL=1\nexport DB_PASSWORD=x\n").unwrap();
        let report = of(&format!("--env-file {}", file.display()), Machine::NONE);
        let Verdict::Fail(found) = verdict(&report, "environment-secrets") else { panic!("{report:?}") };
        assert_eq!(found[0].at, Place::Line(file, 3));
    }

    #[test]
    fn a_container_that_cannot_be_read_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pod.yaml");
        let text = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: a\n    resources: { limits: { cpu: 100u } }\n  - name: b\n    securityContext: { capabilities: { add: [FROB] } }\n  - name: c\n    env: [{ name: DB_PASSWORD, valueFrom: { secretKeyRef: { name: s, key: k } } }]\n";
        std::fs::write(&file, text).unwrap();
        let all = audit(&file, Machine::NONE).unwrap();
        let errors: Vec<String> =
            all.iter().filter_map(|r| r.as_ref().err().map(ToString::to_string)).collect();
        let shown = file.display();
        assert!(errors[0].starts_with(&format!("{shown}:6: quota 10 ")), "{errors:?}");
        assert!(errors[1].starts_with(&format!("{shown}:8: cap-add FROB: ")), "{errors:?}");
        let last = all[2].as_ref().unwrap();
        assert!(last.target.ends_with(": c"));
        // A secret of the cluster is in the environment, too.
        let Verdict::Fail(found) = verdict(last, "environment-secrets") else { panic!("{last:?}") };
        assert_eq!(found[0].at, Place::Line(file, 10));
    }
}
