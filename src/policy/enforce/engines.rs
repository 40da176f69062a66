//! Whose containers an exception can be for.
//!
//! Annotations and the cgroup's parent are what people choose: `podman run --annotation`, `docker run --cgroup-parent`,
//! the annotations of an image that Podman copies, those of a pod that CRI-O copies. A rule that anyone can switch off
//! is none. So these conditions hold only for bundles in the directory of an engine that the file trusts, which the
//! engine chooses and its users do not; and of the annotations count those that the engine sets after its user's. An
//! image's name has a proof of its own ([`Subject`]).

use std::path::Path;

use serde::Deserialize;

use super::{Exception, Subject};

/// Beginnings of the annotations that containerd's CRI plugin and CRI-O set themselves.
const OWN: [&str; 2] = ["io.kubernetes.cri.", "io.kubernetes.cri-o."];

/// The programs that call the runtime, known by the directories of their bundles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallerEngine {
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

impl CallerEngine {
    /// Those that are trusted where the file says nothing.
    pub(super) fn of_kubernetes() -> Vec<Self> {
        vec![CallerEngine::ContainerdCri, CallerEngine::CriO]
    }

    /// Whether this engine made the bundle.
    fn made(self, bundle: &Path) -> bool {
        let parent = bundle.parent().unwrap_or(bundle);
        match self {
            CallerEngine::ContainerdCri => parent.ends_with("io.containerd.runtime.v2.task/k8s.io"),
            CallerEngine::Docker => parent.ends_with("io.containerd.runtime.v2.task/moby"),
            CallerEngine::CriO => {
                bundle.starts_with("/run/containers/storage/overlay-containers")
                    && bundle.ends_with("userdata")
            }
            CallerEngine::Podman => {
                bundle.starts_with("/var/lib/containers/storage/overlay-containers")
                    && bundle.ends_with("userdata")
            }
            CallerEngine::Any => true,
        }
    }
}

/// Whose word an exception rests on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trust<'a> {
    /// Engines whose containers can be excepted.
    pub engines: &'a [CallerEngine],
    /// Annotations that count beside [`OWN`].
    pub annotations: &'a [String],
}

impl Trust<'_> {
    fn knows(&self, key: &str) -> bool {
        OWN.iter().any(|own| key.starts_with(own)) || self.annotations.iter().any(|known| known == key)
    }

    fn made(&self, of: Subject<'_>) -> bool {
        self.engines.iter().any(|engine| engine.made(of.bundle))
    }

    /// Whether what the exception rests on is believed of this container.
    pub fn covers(&self, of: Subject<'_>, e: &Exception) -> bool {
        let proved = e.annotations.is_empty() && e.cgroup.is_none();
        proved || self.made(of) && e.annotations.keys().all(|key| self.knows(key))
    }

    /// Why it is not.
    pub fn why(&self, of: Subject<'_>, e: &Exception) -> String {
        if !self.made(of) {
            return format!("the bundle {} is of no trusted engine", of.bundle.display());
        }
        let keys = e.annotations.keys().map(String::as_str).filter(|key| !self.knows(key));
        format!("the annotation {}", keys.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_known_by_the_directories_of_their_bundles() {
        let made = |bundle: &str| {
            let all =
                [CallerEngine::ContainerdCri, CallerEngine::CriO, CallerEngine::Docker, CallerEngine::Podman];
            all.into_iter().filter(|e| e.made(Path::new(bundle))).collect::<Vec<_>>()
        };
        for (bundle, engine) in [
            ("/run/containerd/io.containerd.runtime.v2.task/k8s.io/abc", Some(CallerEngine::ContainerdCri)),
            (
                "/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/abc",
                Some(CallerEngine::ContainerdCri),
            ),
            ("/run/containerd/io.containerd.runtime.v2.task/moby/abc", Some(CallerEngine::Docker)),
            ("/run/containers/storage/overlay-containers/abc/userdata", Some(CallerEngine::CriO)),
            ("/var/lib/containers/storage/overlay-containers/abc/userdata", Some(CallerEngine::Podman)),
            ("/run/containerd/io.containerd.runtime.v2.task/default/k8s.io", None),
            ("/run/containerd/io.containerd.runtime.v2.task/k8s.io", None),
            ("/tmp/box", None),
        ] {
            assert_eq!(made(bundle), Vec::from_iter(engine), "{bundle}");
        }
    }
}
