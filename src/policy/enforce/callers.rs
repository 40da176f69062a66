//! Which containers an exception can be for: what the engine itself wrote into the config, and not its user.
//!
//! Annotations and the cgroup's parent are what people choose: `podman run --annotation`, `docker run --cgroup-parent`,
//! the annotations of an image that Podman copies, those of a pod that CRI-O copies. A rule that anyone can switch off
//! is none. So exceptions hold only for bundles in the directory of an engine that the file trusts, which the engine
//! chooses and its users do not; and of the annotations count those that the engine sets after its user's.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::config::Config;
use crate::state::State;

/// Annotations in which containerd, CRI-O, Podman and Docker write the image's name.
pub const IMAGES: [&str; 4] = [
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.ImageName",
    "org.opencontainers.image.ref.name",
    "io.podman.annotations.image",
];

/// Beginnings of the annotations that containerd's CRI plugin and CRI-O set themselves.
const OWN: [&str; 2] = ["io.kubernetes.cri.", "io.kubernetes.cri-o."];

/// Annotations by which containerd and CRI-O mark the container that only holds a pod's namespaces. It runs no program
/// of the pod, and the pod cannot set its security context: the rules of `baseline` are for it.
const SANDBOX: [(&str, &str); 2] =
    [("io.kubernetes.cri.container-type", "sandbox"), ("io.kubernetes.cri-o.ContainerType", "sandbox")];

/// The programs that call the runtime, known by the directories of their bundles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// containerd for the kubelet.
    ContainerdCri,
    /// CRI-O.
    CriO,
    /// Docker. Its users choose annotations and the cgroup's parent.
    Docker,
    /// Podman. Its users and its images choose annotations.
    Podman,
    /// Every caller: root's own scripts, too.
    Any,
}

impl Engine {
    /// Those that are trusted where the file says nothing.
    pub(super) fn of_kubernetes() -> Vec<Self> {
        vec![Engine::ContainerdCri, Engine::CriO]
    }

    /// Whether this engine made the bundle.
    fn made(self, bundle: &Path) -> bool {
        let parent = bundle.parent().unwrap_or(bundle);
        match self {
            Engine::ContainerdCri => parent.ends_with("io.containerd.runtime.v2.task/k8s.io"),
            Engine::Docker => parent.ends_with("io.containerd.runtime.v2.task/moby"),
            Engine::CriO => {
                bundle.starts_with("/run/containers/storage/overlay-containers")
                    && bundle.ends_with("userdata")
            }
            Engine::Podman => {
                bundle.starts_with("/var/lib/containers/storage/overlay-containers")
                    && bundle.ends_with("userdata")
            }
            Engine::Any => true,
        }
    }
}

/// Whose word an exception rests on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trust<'a> {
    /// Engines whose containers can be excepted.
    pub engines: &'a [Engine],
    /// Annotations that count beside [`OWN`].
    pub annotations: &'a [String],
}

impl Trust<'_> {
    /// Whether an annotation counts.
    pub fn key(&self, key: &str) -> bool {
        OWN.iter().any(|own| key.starts_with(own)) || self.annotations.iter().any(|known| known == key)
    }

    /// Whether a trusted engine made the container.
    pub fn engine(&self, of: Subject<'_>) -> bool {
        self.engines.iter().any(|engine| engine.made(of.bundle))
    }

    /// Why an exception does not count.
    pub fn why(&self, of: Subject<'_>, e: &super::Exception) -> String {
        if !self.engine(of) {
            return format!("the bundle {} is of no trusted engine", of.bundle.display());
        }
        let image = IMAGES.iter().filter(|key| e.image.is_some() && of.annotations.contains_key(**key));
        let keys = e.annotations.keys().map(String::as_str).chain(image.copied());
        format!("the annotation {}", keys.filter(|key| !self.key(key)).collect::<Vec<_>>().join(", "))
    }

    /// Whether it is the container that holds a pod's namespaces.
    pub fn is_sandbox(&self, of: Subject<'_>) -> bool {
        let marked = SANDBOX.iter().any(|(key, value)| of.annotations.get(*key).is_some_and(|v| v == value));
        marked && self.engine(of)
    }
}

/// What exceptions know a container by.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The config's annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// `linux.cgroupsPath`.
    pub cgroup: Option<&'a str>,
    /// The directory of the bundle, without symlinks.
    pub bundle: &'a Path,
}

impl<'a> Subject<'a> {
    /// That of a config in the bundle at `bundle`.
    pub fn new(config: &'a Config, bundle: &'a Path) -> Self {
        Subject { annotations: &config.annotations, cgroup: config.cgroups_path.as_deref(), bundle }
    }
}

impl<'a> From<&'a State> for Subject<'a> {
    fn from(state: &'a State) -> Self {
        Subject {
            annotations: &state.annotations,
            cgroup: state.cgroups_path.as_deref(),
            bundle: &state.bundle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_known_by_the_directories_of_their_bundles() {
        let made = |bundle: &str| {
            let all = [Engine::ContainerdCri, Engine::CriO, Engine::Docker, Engine::Podman];
            all.into_iter().filter(|e| e.made(Path::new(bundle))).collect::<Vec<_>>()
        };
        for (bundle, engine) in [
            ("/run/containerd/io.containerd.runtime.v2.task/k8s.io/abc", Some(Engine::ContainerdCri)),
            ("/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/abc", Some(Engine::ContainerdCri)),
            ("/run/containerd/io.containerd.runtime.v2.task/moby/abc", Some(Engine::Docker)),
            ("/run/containers/storage/overlay-containers/abc/userdata", Some(Engine::CriO)),
            ("/var/lib/containers/storage/overlay-containers/abc/userdata", Some(Engine::Podman)),
            ("/run/containerd/io.containerd.runtime.v2.task/default/k8s.io", None),
            ("/run/containerd/io.containerd.runtime.v2.task/k8s.io", None),
            ("/tmp/box", None),
        ] {
            assert_eq!(made(bundle), Vec::from_iter(engine), "{bundle}");
        }
    }
}
