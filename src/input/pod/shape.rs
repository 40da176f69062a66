//! Values that a field of a manifest can have. A value that Kubernetes would refuse is an error here: taken for the
//! default it would be judged, or run, as something that the manifest does not ask for.

use crate::error::Result;
use crate::input::yaml::{Document, Node, Tree};

/// What a field can hold.
enum FieldShape {
    /// One of these words; a word that ends with `*` stands for every text that begins so.
    One(&'static [&'static str]),
    /// true or false.
    Bool,
    /// A number up to this one.
    Number(u64),
    /// A mapping.
    Map,
    /// A list.
    List,
}

use FieldShape::{Bool, List, Map, Number, One};

const PROFILES: FieldShape = One(&["RuntimeDefault", "Localhost", "Unconfined"]);
const ID: FieldShape = Number(i32::MAX as u64);
const PORT: FieldShape = Number(65535);
const SCHEMES: FieldShape = One(&["HTTP", "HTTPS"]);

/// Fields of a security context, of a pod and of a container.
const CONTEXT: &[(&str, FieldShape)] = &[
    ("securityContext", Map),
    ("securityContext.runAsUser", ID),
    ("securityContext.runAsGroup", ID),
    ("securityContext.runAsNonRoot", Bool),
    ("securityContext.seccompProfile", Map),
    ("securityContext.seccompProfile.type", PROFILES),
    ("securityContext.appArmorProfile", Map),
    ("securityContext.appArmorProfile.type", PROFILES),
    ("securityContext.seLinuxOptions", Map),
    ("securityContext.windowsOptions", Map),
    ("securityContext.windowsOptions.hostProcess", Bool),
];

/// Fields of a pod.
const POD: &[(&str, FieldShape)] = &[
    ("containers", List),
    ("initContainers", List),
    ("ephemeralContainers", List),
    ("volumes", List),
    ("hostNetwork", Bool),
    ("hostPID", Bool),
    ("hostIPC", Bool),
    ("hostUsers", Bool),
    ("shareProcessNamespace", Bool),
    ("automountServiceAccountToken", Bool),
    ("setHostnameAsFQDN", Bool),
    ("enableServiceLinks", Bool),
    ("restartPolicy", One(&["Always", "OnFailure", "Never"])),
    ("dnsPolicy", One(&["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"])),
    ("preemptionPolicy", One(&["PreemptLowerPriority", "Never"])),
    ("os.name", One(&["linux", "windows"])),
    ("securityContext.fsGroup", ID),
    ("securityContext.fsGroupChangePolicy", One(&["OnRootMismatch", "Always"])),
    ("securityContext.supplementalGroups", List),
    ("securityContext.supplementalGroupsPolicy", One(&["Merge", "Strict"])),
    ("securityContext.seLinuxChangePolicy", One(&["MountOption", "Recursive"])),
    ("securityContext.sysctls", List),
    ("volumes.emptyDir.medium", One(&["", "Memory", "HugePages", "HugePages-*"])),
    (
        "volumes.hostPath.type",
        One(&[
            "",
            "DirectoryOrCreate",
            "Directory",
            "FileOrCreate",
            "File",
            "Socket",
            "CharDevice",
            "BlockDevice",
        ]),
    ),
    ("volumes.image.pullPolicy", One(&["Always", "Never", "IfNotPresent"])),
];

/// Fields of a container.
const CONTAINER: &[(&str, FieldShape)] = &[
    ("command", List),
    ("args", List),
    ("env", List),
    ("envFrom", List),
    ("ports", List),
    ("volumeMounts", List),
    ("tty", Bool),
    ("stdin", Bool),
    ("stdinOnce", Bool),
    ("imagePullPolicy", One(&["Always", "Never", "IfNotPresent"])),
    ("terminationMessagePolicy", One(&["File", "FallbackToLogsOnError"])),
    ("restartPolicy", One(&["Always", "OnFailure", "Never"])),
    ("ports.hostPort", PORT),
    ("ports.containerPort", PORT),
    ("ports.protocol", One(&["TCP", "UDP", "SCTP"])),
    ("securityContext.privileged", Bool),
    ("securityContext.allowPrivilegeEscalation", Bool),
    ("securityContext.readOnlyRootFilesystem", Bool),
    ("securityContext.procMount", One(&["Default", "Unmasked"])),
    ("securityContext.capabilities", Map),
    ("volumeMounts.readOnly", Bool),
    ("volumeMounts.recursiveReadOnly", One(&["Disabled", "IfPossible", "Enabled"])),
    ("volumeMounts.mountPropagation", One(&["None", "HostToContainer", "Bidirectional"])),
    ("livenessProbe.httpGet.scheme", SCHEMES),
    ("readinessProbe.httpGet.scheme", SCHEMES),
    ("startupProbe.httpGet.scheme", SCHEMES),
];

/// Refuses fields of a pod, and of one of its containers, that hold what they cannot.
pub(super) fn check(document: &Document, pod: &Node, container: &Node) -> Result<()> {
    for (path, shape) in POD.iter().chain(CONTEXT) {
        fields(document, pod, path, path, shape)?;
    }
    for (path, shape) in CONTAINER.iter().chain(CONTEXT) {
        fields(document, container, path, path, shape)?;
    }
    Ok(())
}

/// The fields at a path below `node`; of a list those of every item.
fn fields(document: &Document, node: &Node, whole: &str, path: &str, shape: &FieldShape) -> Result<()> {
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    let Some(value) = node.get(key) else { return Ok(()) };
    match (rest, &value.tree) {
        (None, _) => field(document, value, whole, shape),
        (Some(rest), Tree::List(items)) => {
            items.iter().try_for_each(|item| fields(document, item, whole, rest, shape))
        }
        (Some(rest), _) => fields(document, value, whole, rest, shape),
    }
}

fn field(document: &Document, node: &Node, name: &str, shape: &FieldShape) -> Result<()> {
    let text = node.text();
    let shown = || text.as_ref().map(|text| format!(" {text:?}")).unwrap_or_default();
    let fails = |needed: &str| Err(document.error(node, format!("{name}{}: {needed}", shown())));
    match shape {
        Map if !matches!(node.tree, Tree::Map(_)) => fails("a mapping is needed"),
        List if !matches!(node.tree, Tree::List(_)) => fails("a list is needed"),
        Bool if node.boolean().is_none() => fails("true or false is needed"),
        Number(most) if !is_number(text.as_deref(), *most) => {
            fails(&format!("a number from 0 to {most} is needed"))
        }
        One(words) if !is_one(text.as_deref(), words) => {
            let words: Vec<_> = words.iter().map(|w| if w.is_empty() { "\"\"" } else { *w }).collect();
            fails(&format!("one of {} is needed", words.join(", ")))
        }
        _ => Ok(()),
    }
}

fn is_number(text: Option<&str>, most: u64) -> bool {
    let digits = |text: &&str| text.bytes().all(|b| b.is_ascii_digit());
    text.filter(digits).and_then(|text| text.parse::<u64>().ok()).is_some_and(|number| number <= most)
}

fn is_one(text: Option<&str>, words: &[&str]) -> bool {
    let fits =
        |text: &str, word: &str| word.strip_suffix('*').map_or(text == word, |start| text.starts_with(start));
    text.is_some_and(|text| words.iter().any(|word| fits(text, word)))
}
