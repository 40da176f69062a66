//! What the author of an image or a bundle decides, and no policy can change.

use super::super::posture::{Aspect, Place, Posture};
use super::{Judged, about, evidence, known, verdict};

pub(in super::super) fn sshd(p: &Posture) -> Judged {
    let is = |name: &str| name.rsplit('/').next() == Some("sshd");
    let mut found = Vec::new();
    if known(&p.args)?.first().is_some_and(|program| is(program)) {
        found
            .push(evidence(p.at(Aspect::Args), "the program is sshd: a second way in, with keys of its own"));
    }
    for peer in p.peers.iter().flatten().filter(|peer| is(&peer.name)) {
        let at = Place::File(format!("/proc/{}/cmdline", peer.pid).into());
        found.push(evidence(at, format!("process {} is sshd", peer.pid)));
    }
    Ok(verdict(found))
}

/// Words in which the parts of names of variables end that hold secrets.
const WORDS: [&str; 16] = [
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "TOKEN",
    "API_KEY",
    "APIKEY",
    "PRIVATE_KEY",
    "ACCESS_KEY",
    "CREDENTIAL",
    "CREDENTIALS",
    "ENCRYPTION_KEY",
    "AUTH_KEY",
    "SECRET_KEY",
    "SIGNING_KEY",
    "MASTER_KEY",
];

/// Parts that say it only at the end of a name.
const ENDS: [&str; 2] = ["_PASS", "_PWD"];

/// Beginnings of values that are secrets: (beginning, what).
const VALUES: [(&str, &str); 10] = [
    ("AKIA", "an access key of AWS"),
    ("ASIA", "an access key of AWS"),
    ("ghp_", "a token of GitHub"),
    ("gho_", "a token of GitHub"),
    ("github_pat_", "a token of GitHub"),
    ("glpat-", "a token of GitLab"),
    ("glrt-", "a token of GitLab"),
    ("xoxb-", "a token of Slack"),
    ("sk_live_", "a key of Stripe"),
    ("-----BEGIN", "a private key"),
];

/// What kind of secret a value is, by its beginning.
pub fn known_secret(value: &str) -> Option<&'static str> {
    VALUES.iter().find(|(start, _)| value.starts_with(start) && value.len() > 15).map(|(_, what)| *what)
}

/// Whether the name is that of a secret; the value tells whether its last part says so.
fn names_secret(name: &str) -> Option<bool> {
    // A path, or a number of seconds, is no secret: NAME_FILE is how secrets should come.
    let harmless = ["_FILE", "_PATH", "_DIR", "_URL", "_TTL", "_NAME", "_ID", "_LENGTH", "_EXPIRY"];
    let upper: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    if harmless.iter().any(|end| upper.ends_with(end)) {
        return None;
    }
    let parts = upper.clone() + "_";
    let end = WORDS.iter().chain(&ENDS).any(|word| upper.ends_with(word));
    let inside = WORDS.iter().any(|word| parts.contains(&format!("{word}_")));
    (end || inside).then_some(end)
}

/// What kind of secret `NAME=VALUE` holds; the value itself is never shown.
pub fn secret_in(name: &str, value: &str) -> Option<String> {
    if value.is_empty() || value.starts_with("/run/secrets/") {
        return None;
    }
    if let Some(what) = known_secret(value) {
        return Some(format!("{name} holds {what}"));
    }
    let lower = value.to_ascii_lowercase();
    // A switch, or a number of something: MYSQL_RANDOM_ROOT_PASSWORD=yes, PASSWORD_MIN=8.
    let switch = ["true", "false", "yes", "no", "on", "off"].contains(&lower.as_str());
    let number = value.parse::<f64>().is_ok();
    let in_url = value.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
    let password = in_url.is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, p)| !p.is_empty()));
    match names_secret(name) {
        Some(end) if !switch && (end || !number) => Some(format!("{name} holds a secret, by its name")),
        _ if password => Some(format!("{name} holds a password in an address")),
        _ => None,
    }
}

pub(in super::super) fn environment(p: &Posture) -> Judged {
    let place = p.at(Aspect::Environment);
    let found = known(&p.environment)?.iter().enumerate().filter_map(|(i, entry)| {
        let (name, value) = entry.split_once('=')?;
        let at = match &place {
            Place::Pointer(list) => Place::Pointer(format!("{list}/{i}")),
            at => at.clone(),
        };
        Some(about("CIS Docker 4.10", at, secret_in(name, value)?))
    });
    Ok(verdict(found.collect()))
}

pub(in super::super) fn files(p: &Posture) -> Judged {
    let rootfs = known(&p.rootfs)?;
    let found = rootfs.secrets.iter().map(|(path, what)| {
        about("CIS Docker 4.10", p.at(Aspect::Root), format!("{} in the image: {what}", path.display()))
    });
    cut(rootfs.cut, verdict(found.collect()))
}

pub(in super::super) fn setuid(p: &Posture) -> Judged {
    let rootfs = known(&p.rootfs)?;
    let found = rootfs.setuid.iter().map(|(path, mode)| {
        about("CIS Docker 4.8", p.at(Aspect::Root), format!("{} has mode {mode:04o}", path.display()))
    });
    cut(rootfs.cut, verdict(found.collect()))
}

/// A tree that was not seen whole does not pass.
fn cut(cut: bool, verdict: super::Verdict) -> Judged {
    match verdict {
        super::Verdict::Pass if cut => Err("the rootfs has more files than are looked at".into()),
        verdict => Ok(verdict),
    }
}

#[cfg(test)]
mod tests {
    use super::secret_in;

    #[test]
    fn secrets_are_distinguished_from_settings() {
        for (name, value) in [
            ("DB_PASSWORD", "x"),
            ("api_key", "1"),
            ("X", "AKIAABCDEFGHIJKLMNOP"),
            ("DATABASE_URL", "postgres://u:p@h/d"),
            ("NPM_TOKEN", "t"),
            ("DB_PASS", "1"),
            ("db.password", "12345"),
            ("PASSWORD_2", "x"),
            ("ACCESSTOKEN", "x"),
            ("MSSQL_SA_PWD", "x"),
            ("X", "glrt-0123456789abcdef"),
        ] {
            let text = secret_in(name, value).unwrap_or_else(|| panic!("{name}={value}"));
            assert!(!text.contains(value) || value.len() == 1, "{text}");
        }
        for (name, value) in [
            ("DB_PASSWORD_FILE", "/run/secrets/db"),
            ("PATH", "/bin"),
            ("TOKEN_TTL", "3600"),
            ("PASSWORD", ""),
            ("URL", "https://user@host/"),
            ("TOKENIZERS_PARALLELISM", "false"),
            ("MAX_TOKENS", "100"),
            ("MYSQL_RANDOM_ROOT_PASSWORD", "yes"),
            ("PASSWORD_MIN", "8"),
            ("token.name", "x"),
            ("PWD", "/srv"),
            ("SURPASSED", "x"),
        ] {
            assert_eq!(secret_in(name, value), None, "{name}={value}");
        }
    }
}
