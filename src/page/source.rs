//! Links to the sources that the *why* of a row cites: man pages, CVEs and specification chapters.

/// A source cited in a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Citation {
    /// A man page: its name and section, such as `("pivot_root", "2")`.
    Man(String, String),
    /// `CVE-YEAR-NUMBER`.
    Cve(String),
    /// A file of the runtime specification, such as `config-linux.md`, or of the kernel's documentation (`.rst`).
    File(String),
}

/// The sources of a text, in order, without duplicates.
pub fn sources(text: &str) -> Vec<Citation> {
    let mut found = Vec::new();
    for word in text.split(|c: char| c.is_whitespace() || c == ',' || c == ';') {
        let word = word.trim_start_matches('(').trim_end_matches(['.', ':']);
        let source = cve(word).or_else(|| man(word)).or_else(|| file(word));
        found.extend(source.filter(|source| !found.contains(source)));
    }
    found
}

impl Citation {
    /// Its web address.
    pub fn address(&self) -> String {
        match self {
            Citation::Man(name, section) => {
                let directory = section.chars().next().unwrap_or('1');
                format!("https://man7.org/linux/man-pages/man{directory}/{name}.{section}.html")
            }
            Citation::Cve(id) => format!("https://www.cve.org/CVERecord?id={id}"),
            Citation::File(name) if name.ends_with(".md") => {
                format!("https://github.com/opencontainers/runtime-spec/blob/v1.3.0/{name}")
            }
            Citation::File(name) => {
                format!("https://docs.kernel.org/search.html?q={}", name.trim_end_matches(".rst"))
            }
        }
    }
}

impl std::fmt::Display for Citation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Citation::Man(name, section) => write!(f, "{name}({section})"),
            Citation::Cve(id) | Citation::File(id) => f.write_str(id),
        }
    }
}

fn cve(word: &str) -> Option<Citation> {
    let word = word.trim_end_matches(')');
    let (year, number) = word.strip_prefix("CVE-")?.split_once('-')?;
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    (year.len() == 4 && number.len() >= 4 && digits(year) && digits(number))
        .then(|| Citation::Cve(word.into()))
}

fn man(word: &str) -> Option<Citation> {
    let (name, rest) = word.split_once('(')?;
    let (section, _) = rest.split_once(')')?;
    let known = section.starts_with(|c: char| ('1'..='8').contains(&c)) && section.len() <= 6;
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    (known && plain).then(|| Citation::Man(name.into(), section.into()))
}

fn file(word: &str) -> Option<Citation> {
    let word = word.trim_end_matches(')');
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "_.-/".contains(c));
    (plain && (word.ends_with(".md") || word.ends_with(".rst"))).then(|| Citation::File(word.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_found_in_a_sentence() {
        let man = |name: &str, section: &str| Citation::Man(name.into(), section.into());
        assert_eq!(
            sources(
                "held (runtime.md, Delete); see pidfd_open(2), PR_SET_PDEATHSIG(2const) and a(b) (CVE-2024-21626)"
            ),
            [
                Citation::File("runtime.md".into()),
                man("pidfd_open", "2"),
                man("PR_SET_PDEATHSIG", "2const"),
                Citation::Cve("CVE-2024-21626".into())
            ]
        );
        assert_eq!(sources("CVE-24-1, CVE-2024-x, open(x), f(), (2)"), []);
        assert_eq!(
            man("pivot_root", "2").address(),
            "https://man7.org/linux/man-pages/man2/pivot_root.2.html"
        );
    }
}
