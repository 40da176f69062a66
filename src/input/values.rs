//! Words that options of docker run and keys of compose can have. A word that no engine knows is an error: taken for the
//! default it would be judged, or run, as something that the description does not ask for.

/// (option or key, its words). A word that ends with `*` stands for every text that begins so.
const WORDS: &[(&str, &[&str])] = &[
    ("pid", &["host", "private", "container:*", "service:*", "ns:*"]),
    ("ipc", &["host", "private", "none", "shareable", "container:*", "service:*", "ns:*"]),
    ("uts", &["host", "private", "container:*", "ns:*"]),
    ("cgroupns", &["host", "private", "container:*", "ns:*"]),
    // Podman's, too.
    ("userns", &["host", "private", "auto*", "keep-id*", "nomap*", "container:*", "ns:*"]),
    ("restart", &["no", "false", "always", "on-failure*", "unless-stopped"]),
    ("pull", &["always", "missing", "never", "newer"]),
    ("isolation", &["default", "process", "hyperv"]),
    (
        "pull_policy",
        &[
            "always",
            "never",
            "missing",
            "if_not_present",
            "build",
            "newer",
            "refresh",
            "daily",
            "weekly",
            "every_*",
        ],
    ),
    ("volumes.bind.propagation", &PROPAGATIONS),
    ("volumes.bind.selinux", &["z", "Z"]),
    ("volumes.bind.recursive", &["enabled", "disabled", "writable", "readonly"]),
    ("ports.protocol", &["tcp", "udp", "sctp"]),
    ("ports.mode", &["host", "ingress"]),
    ("mount bind-propagation", &PROPAGATIONS),
];

/// Propagations of mount(8).
pub(super) const PROPAGATIONS: [&str; 6] = ["shared", "rshared", "slave", "rslave", "private", "rprivate"];

/// What else stands in the options of `-v`: Docker's and Podman's.
const OF_VOLUME: [&str; 19] = [
    "",
    "ro",
    "rw",
    "rro",
    "readonly",
    "z",
    "Z",
    "U",
    "O",
    "cached",
    "delegated",
    "consistent",
    "copy",
    "nocopy",
    "bind",
    "rbind",
    "nosuid",
    "nodev",
    "noexec",
];

/// Refuses a value that the option or key cannot have.
pub(super) fn check(name: &str, value: &str) -> Result<(), String> {
    let Some((_, words)) = WORDS.iter().find(|(known, _)| *known == name) else { return Ok(()) };
    let fits = |word: &str| word.strip_suffix('*').map_or(value == word, |start| value.starts_with(start));
    if value.contains('$') || words.iter().any(|word| fits(word)) {
        return Ok(());
    }
    Err(format!("{value:?}: one of {} is needed", words.join(", ")))
}

/// Refuses an option of `-v` that no engine knows.
pub(super) fn check_volume(option: &str) -> Result<(), String> {
    let has_value = ["idmap", "upperdir=", "workdir=", "size="].iter().any(|start| option.starts_with(start));
    let more = ["exec", "suid", "dev"].contains(&option) || PROPAGATIONS.contains(&option) || has_value;
    match more || OF_VOLUME.contains(&option) || option.contains('$') {
        true => Ok(()),
        false => Err(format!("{option:?} is no option of a volume")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_words_are_refused_with_the_known_ones() {
        for (name, value, known) in [
            ("pid", "host", true),
            ("pid", "container:x", true),
            ("pid", "hots", false),
            ("ipc", "shareable", true),
            ("ipc", "HOST", false),
            ("userns", "keep-id:uid=5", true),
            ("userns", "remap", false),
            ("restart", "on-failure:3", true),
            ("restart", "sometimes", false),
            ("pull_policy", "every_12h", true),
            ("network", "whatever", true),
            ("cgroupns", "$MODE", true),
        ] {
            assert_eq!(check(name, value).is_ok(), known, "{name} {value}");
        }
        assert_eq!(
            check("uts", "x").unwrap_err(),
            "\"x\": one of host, private, container:*, ns:* is needed"
        );
        assert!(check_volume("rslave").is_ok() && check_volume("r0").is_err());
    }
}
