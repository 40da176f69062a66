//! What exceptions know a container by, and which of its annotations can be believed.
//!
//! A user of Podman or Docker sets any annotation (`--annotation`), Podman copies those of the image, and CRI-O those of the
//! pod. An annotation of an engine's own is believed only where it goes with the container's id, which the engine chooses
//! after all of these:
//!
//! | engine | what proves that its annotations are its own |
//! | --- | --- |
//! | CRI-O | `io.kubernetes.cri-o.ContainerID` is the container's id |
//! | containerd, a pod's sandbox | `io.kubernetes.cri.sandbox-id` is the container's id |
//! | containerd, another container | `io.kubernetes.cri.sandbox-id` is the id of a sandbox of containerd in the same state root |

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::Config;
use crate::state::State;

/// Annotations that containerd and CRI-O write.
const SANDBOX_ID: &str = "io.kubernetes.cri.sandbox-id";
const KIND: &str = "io.kubernetes.cri.container-type";
const IMAGE: &str = "io.kubernetes.cri.image-name";
const CRIO_ID: &str = "io.kubernetes.cri-o.ContainerID";
const CRIO_KIND: &str = "io.kubernetes.cri-o.ContainerType";
const CRIO_IMAGE: &str = "io.kubernetes.cri-o.ImageName";

/// What exceptions know a container by.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The config's annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// `linux.cgroupsPath`.
    pub cgroup: Option<&'a str>,
    /// The directory of the bundle, without symlinks.
    pub bundle: &'a Path,
    /// The container that only holds a pod's namespaces. It runs no program of the pod, and the pod cannot set its
    /// security context: the rules of `baseline` are for it.
    pub sandbox: bool,
    /// The image's name, where the engine has written it.
    pub image: Option<&'a str>,
}

impl<'a> Subject<'a> {
    /// Of a container that is to be made. `is_sandbox`: whether a container of the same state root is a pod's sandbox
    /// ([`Subject::is_sandbox`]).
    pub fn of_config(
        id: &str,
        (config, bundle): (&'a Config, &'a Path),
        is_sandbox: &dyn Fn(&str) -> bool,
    ) -> Self {
        Self::new(id, (&config.annotations, config.cgroups_path.as_deref(), bundle), is_sandbox)
    }

    /// Of a container that exists.
    pub fn of_state(state: &'a State, is_sandbox: &dyn Fn(&str) -> bool) -> Self {
        Self::new(&state.id, (&state.annotations, state.cgroups_path.as_deref(), &state.bundle), is_sandbox)
    }

    /// Whether these are the annotations of a pod's sandbox that containerd has made under this id.
    pub fn is_sandbox(id: &str, annotations: &BTreeMap<String, String>) -> bool {
        let is = |key: &str, value: &str| annotations.get(key).is_some_and(|v| v == value);
        is(SANDBOX_ID, id) && is(KIND, "sandbox")
    }

    fn new(
        id: &str,
        (annotations, cgroup, bundle): (&'a BTreeMap<String, String>, Option<&'a str>, &'a Path),
        is_sandbox: &dyn Fn(&str) -> bool,
    ) -> Self {
        let get = |key: &str| annotations.get(key).map(String::as_str);
        if get(CRIO_ID) == Some(id) {
            let sandbox = get(CRIO_KIND) == Some("sandbox");
            return Subject { annotations, cgroup, bundle, sandbox, image: get(CRIO_IMAGE) };
        }
        let sandbox = Self::is_sandbox(id, annotations);
        let proved = sandbox || get(SANDBOX_ID).is_some_and(is_sandbox);
        Subject { annotations, cgroup, bundle, sandbox, image: get(IMAGE).filter(|_| proved) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_s_annotations_go_with_its_id() {
        let of = |pairs: &[(&str, &str)]| {
            let annotations = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            let subject = Subject::new("me", (&annotations, None, Path::new("/b")), &|id| id == "pod");
            (subject.sandbox, subject.image.map(str::to_string))
        };
        let image = Some("trusted".to_string());
        for (pairs, want) in [
            (&[(KIND, "sandbox")] as &[_], (false, None)),
            (&[(KIND, "sandbox"), (SANDBOX_ID, "other")], (false, None)),
            (&[(KIND, "sandbox"), (SANDBOX_ID, "me")], (true, None)),
            (&[(CRIO_KIND, "sandbox"), (CRIO_ID, "other")], (false, None)),
            (&[(CRIO_KIND, "sandbox"), (CRIO_ID, "me")], (true, None)),
            (&[(IMAGE, "trusted"), (CRIO_IMAGE, "trusted")], (false, None)),
            (&[("org.opencontainers.image.ref.name", "trusted")], (false, None)),
            (&[(IMAGE, "trusted"), (SANDBOX_ID, "nothing")], (false, None)),
            (&[(IMAGE, "trusted"), (SANDBOX_ID, "pod"), (KIND, "container")], (false, image.clone())),
            (&[(CRIO_IMAGE, "trusted"), (CRIO_ID, "me")], (false, image.clone())),
            // The pod's author has set what is containerd's, below CRI-O.
            (&[(CRIO_IMAGE, "own"), (IMAGE, "trusted"), (CRIO_ID, "me")], (false, Some("own".into()))),
            (&[(CRIO_ID, "me"), (CRIO_KIND, "container"), (KIND, "sandbox")], (false, None)),
        ] {
            assert_eq!(of(pairs), want, "{pairs:?}");
        }
    }
}
