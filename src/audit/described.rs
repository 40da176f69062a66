//! Files that describe containers: compose files, manifests, `docker run` lines. Each container is judged as the config
//! that Docker would make of it, and a finding names the line of the file.

use std::path::Path;

use super::{AuditedKind, Report, manifest};
use crate::error::{Error, Result};
use crate::input::yaml::parse;
use crate::input::{Description, Engine, OptionAt, Spot, compose, config, docker, interpolate, pod, read};
use crate::policy::{Evidence, MachineFacts, Place, PortView, Posture, Verdict};

/// Containers that one file describes at most.
const MOST: usize = 2000;

/// Judges a file, by what it holds.
///
/// A container that cannot be read is an error of its own: the others of the file are judged.
pub fn audit(path: &Path, machine: MachineFacts) -> Result<Vec<Result<Report>>> {
    let text = read(path)?;
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if name.starts_with("Dockerfile") || name.starts_with("Containerfile") || name.ends_with(".dockerfile") {
        return Ok(vec![Ok(super::dockerfile::audit(path, &text))]);
    }
    let shown = path.display();
    let mut described: Vec<Result<Report>> = Vec::new();
    let judged = |d: Result<Description>, of: &str| {
        d.and_then(|d| judge(&format!("{shown}: {of}{}", d.name), &d, machine))
    };
    let mut documents = pod::flat(parse(path, &text)?);
    let pods = documents.iter().filter(|document| pod::is(document)).count();
    for document in &mut documents {
        if compose::is(document) {
            interpolate::apply(document)?;
            for (service, _) in compose::services(document).into_iter().take(MOST + 1) {
                described.push(judged(compose::describe(document, service), ""));
            }
        } else if let Some(whole) = pod::Pod::of(document).filter(|_| pod::is(document)) {
            // Where a file has several objects, two can have a container of one name.
            let object = if pods > 1 { whole.object() } else { String::new() };
            for (container, node) in pod::containers(document).into_iter().take(MOST + 1) {
                let mut report = judged(pod::describe(document, &container, node), &object);
                if let Ok(report) = &mut report {
                    manifest::judge(document, &whole, node, report);
                }
                described.push(report);
            }
        } else if let Some(node) = pod::hidden_containers(document) {
            let text = "containers of an object of this kind are not judged: their pod is not where other kinds have it";
            described.push(Err(document.error(node, text)));
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
    Ok(described)
}

/// Judges a `docker run` line.
pub fn line(line: &str, machine: MachineFacts) -> Result<Report> {
    judge("docker run", &docker::describe("-", line)?, machine)
}

fn judge(target: &str, d: &Description, machine: MachineFacts) -> Result<Report> {
    let made = config::make(d)?;
    let config = made.config().map_err(|e| match e {
        Error::Config(e) => Error::msg(format!("{}: {}", made.place(&e.pointer).unwrap_or(&d.at), e.message)),
        e => e,
    })?;
    let mut posture = Posture::of_config(&config, machine);
    if let Some(why) = &made.user {
        posture.user = Err(why.clone());
    }
    for (kind, whose) in &made.joined {
        let why = format!("its {} namespace is that of {whose}, which is judged by itself", kind.row().oci);
        posture.namespaces.iter_mut().filter(|(k, _)| k == kind).for_each(|(_, ns)| *ns = Err(why.clone()));
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
    posture.ports = Ok(ports(d));
    let mut report = Report::of_posture(target.to_string(), AuditedKind::Description, &posture);
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
    for (rule, reference, at, text) in in_words(d) {
        report.add(rule, Evidence { at: place(at), text, reference: Some(reference) });
    }
    let unknown = d.unknown.iter().map(|(at, key)| (place(at), key.clone()));
    let stops = d.stops.iter().map(|(at, key, why)| (place(at), format!("{key}: {why}")));
    report.unknown = unknown.chain(stops).collect();
    let beside = made.left.iter().filter(|(_, text)| !text.starts_with("publish"));
    report.beside = beside.map(|(at, text)| (place(at), text.clone())).collect();
    Ok(report)
}

/// What no config shows: (rule, item of a benchmark, where, what). The machine that is described may have the security
/// modules that this one lacks.
fn in_words(d: &Description) -> Vec<(&'static str, &'static str, &Spot, String)> {
    let found = d.options.iter().filter_map(|option| {
        // Docker takes a colon for the sign, too.
        let value = option.value.split_once(['=', ':']).map(|(name, given)| format!("{name}={given}"));
        let value = value.unwrap_or_else(|| option.value.clone());
        let (rule, reference, text) = match (option.name.as_str(), value.as_str()) {
            ("security-opt", "apparmor=unconfined") => {
                ("lsm", "CIS Docker 5.2", "AppArmor does not confine it".to_string())
            }
            ("security-opt", "label=disable" | "label=type:spc_t" | "label=type:unconfined_t") => {
                ("lsm", "CIS Docker 5.3", "SELinux does not confine it".to_string())
            }
            ("gpus", count) => ("devices", "CIS Docker 5.18", format!("GPUs of the host are given: {count}")),
            ("device", name) if !name.starts_with('/') => {
                ("devices", "CIS Docker 5.18", format!("the devices of {} are given", option.value))
            }
            _ => return None,
        };
        Some((rule, reference, &option.at, text))
    });
    found.collect()
}

/// The ports of the host that a description publishes.
fn ports(d: &Description) -> Vec<PortView> {
    let of_pod = d.engine == Engine::Kubernetes;
    let view = |option: &OptionAt| match option.name.as_str() {
        "publish" => Some(PortView::of_publish(&option.value, of_pod, place(&option.at))),
        // Every port that the image names, at a free one.
        "publish-all" => Some(PortView::of_publish("", of_pod, place(&option.at))),
        _ => None,
    };
    d.options.iter().filter_map(view).collect()
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

    fn of(words: &str, machine: MachineFacts) -> Report {
        line(&format!("docker run {words} image"), machine).unwrap()
    }

    #[test]
    fn what_the_caller_decides_is_neither_passed_nor_lost() {
        let report = of("-e NOT_SET_ANYWHERE_TOKEN", MachineFacts::NONE);
        let Verdict::Fail(found) = verdict(&report, "environment-secrets") else { panic!("{report:?}") };
        assert_eq!(found[0].text, "NOT_SET_ANYWHERE_TOKEN holds a secret, by its name");
        assert_eq!(
            verdict(&of("-e NOT_SET_ANYWHERE", MachineFacts::NONE), "environment-secrets"),
            Verdict::Pass
        );
        let report = of("-u $(id -u)", MachineFacts::NONE);
        assert!(matches!(verdict(&report, "non-root"), Verdict::CannotTell(_)), "{report:?}");
        assert_eq!(verdict(&of("-u app", MachineFacts::NONE), "non-root"), Verdict::Pass);
        let report = of("--name a --frob --tmpfs /t:size=1m", MachineFacts::NONE);
        let texts = |all: &[(Place, String)]| all.iter().map(|(_, what)| what.clone()).collect::<Vec<_>>();
        assert_eq!(
            (texts(&report.unknown), texts(&report.beside)),
            (vec!["--frob".into()], vec!["name a".into()])
        );
    }

    #[test]
    fn an_engine_s_own_profile_counts() {
        let machine = MachineFacts { apparmor: true, ..MachineFacts::NONE };
        for (words, passes) in [
            ("", true),
            ("--security-opt apparmor=mine", true),
            ("--security-opt apparmor=unconfined", false),
            ("--privileged", false),
        ] {
            assert_eq!(verdict(&of(words, machine), "lsm") == Verdict::Pass, passes, "{words}");
        }
    }

    /// The machine of the audit lacks what the description switches off.
    #[test]
    fn what_no_config_shows_is_found_in_the_words() {
        for (words, rule) in [
            ("--security-opt apparmor=unconfined", "lsm"),
            ("--security-opt apparmor:unconfined", "lsm"),
            ("--security-opt label=disable", "lsm"),
            ("--security-opt label=type:spc_t", "lsm"),
            ("--gpus all", "devices"),
            ("--device vendor.com/class=x", "devices"),
            ("-P", "host-ports"),
            ("-p 8080:80", "host-ports"),
            ("-p 127.0.0.1:80:80", "host-ports"),
        ] {
            assert_eq!(verdict(&of(words, MachineFacts::NONE), rule).name(), "fail", "{words}");
        }
        assert_eq!(verdict(&of("-p 127.0.0.1:8080:80", MachineFacts::NONE), "host-ports"), Verdict::Pass);
        let host = of("--network host -p 80:80", MachineFacts::NONE);
        assert_eq!(verdict(&host, "host-ports").name(), "not-applicable");
        let joined = of("--network container:x", MachineFacts::NONE);
        assert_eq!(verdict(&joined, "host-namespaces").name(), "cannot-tell");
        // What is known counts beside what is not.
        let both = of("--network container:x --pid host", MachineFacts::NONE);
        assert_eq!(verdict(&both, "host-namespaces").name(), "fail");
    }

    #[test]
    fn objects_of_one_file_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("all.yaml");
        let pod = |name: &str| {
            format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec: {{ containers: [{{ name: c, image: x }}] }}\n"
            )
        };
        let workflow = "---\napiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec:\n  templates:\n  - name: a\n    container: { image: x }\n";
        std::fs::write(&file, pod("a") + &pod("b") + workflow).unwrap();
        let all = audit(&file, MachineFacts::NONE).unwrap();
        let shown = file.display();
        assert_eq!(all[0].as_ref().unwrap().target, format!("{shown}: Pod/a: c"));
        assert_eq!(all[1].as_ref().unwrap().target, format!("{shown}: Pod/b: c"));
        let error = all[2].as_ref().err().unwrap().to_string();
        assert!(error.starts_with(&format!("{shown}:17: containers of an object of this kind")), "{error}");
    }

    #[test]
    fn variables_of_a_file_are_judged_where_they_stand() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("app.env");
        std::fs::write(&file, "# settings\nLEVEL=1\nexport DB_PASSWORD=x\n").unwrap();
        let report = of(&format!("--env-file {}", file.display()), MachineFacts::NONE);
        let Verdict::Fail(found) = verdict(&report, "environment-secrets") else { panic!("{report:?}") };
        assert_eq!(found[0].at, Place::Line(file, 3));
    }

    #[test]
    fn a_container_that_cannot_be_read_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pod.yaml");
        let text = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: a\n    resources: { limits: { cpu: 100u } }\n  - name: b\n    securityContext: { capabilities: { add: [FROB] } }\n  - name: c\n    env: [{ name: DB_PASSWORD, valueFrom: { secretKeyRef: { name: s, key: k } } }]\n";
        std::fs::write(&file, text).unwrap();
        let all = audit(&file, MachineFacts::NONE).unwrap();
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
