//! Links to the sources that the *why* of a row cites: man pages, CVEs and specification chapters.

/// A source cited in a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// A man page: its name and section, such as `("pivot_root", "2")`.
    Man(String, String),
    /// `CVE-YEAR-NUMBER`.
    Cve(String),
    /// A file of the runtime specification, such as `config-linux.md`, or of the kernel's documentation (`.rst`).
    File(String),
}

/// The sources of a text, in order, without duplicates.
pub fn sources(text: &str) -> Vec<Source> {
    let mut found = Vec::new();
    for word in text.split(|c: char| c.is_whitespace() || c == ',' || c == ';') {
        let word = word.trim_start_matches('(').trim_end_matches(['.', ':']);
        let source = cve(word).or_else(|| man(word)).or_else(|| file(word));
        found.extend(source.filter(|source| !found.contains(source)));
    }
    found
}

impl Source {
    /// Its web address.
    pub fn address(&self) -> String {
        match self {
            Source::Man(name, section) => {
                let directory = section.chars().next().unwrap_or('1');
                format!("https://man7.org/linux/man-pages/man{directory}/{name}.{section}.html")
            }
            Source::Cve(id) => format!("https://www.cve.org/CVERecord?id={id}"),
            Source::File(name) if name.ends_with(".md") => {
                format!("https://github.com/opencontainers/runtime-spec/blob/v1.3.0/{name}")
            }
            Source::File(name) => {
                format!("https://docs.kernel.org/search.html?q={}", name.trim_end_matches(".rst"))
            }
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Man(name, section) => write!(f, "{name}({section})"),
            Source::Cve(id) | Source::File(id) => f.write_str(id),
        }
    }
}

fn cve(word: &str) -> Option<Source> {
    let word = word.trim_end_matches(')');
    let (year, number) = word.strip_prefix("CVE-")?.split_once('-')?;
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    (year.len() == 4 && number.len() >= 4 && digits(year) && digits(number)).then(|| Source::Cve(word.into()))
}

fn man(word: &str) -> Option<Source> {
    let (name, rest) = word.split_once('(')?;
    let (section, _) = rest.split_once(')')?;
    let known = section.starts_with(|c: char| ('1'..='8').contains(&c)) && section.len() <= 6;
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    (known && plain).then(|| Source::Man(name.into(), section.into()))
}

fn file(word: &str) -> Option<Source> {
    let word = word.trim_end_matches(')');
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "_.-/".contains(c));
    (plain && (word.ends_with(".md") || word.ends_with(".rst"))).then(|| Source::File(word.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_found_in_a_sentence() {
        let man = |name: &str, section: &str| Source::Man(name.into(), section.into());
        assert_eq!(
            sources(
                "held (runtime.md, Delete); see pidfd_open(2), PR_SET_PDEATHSIG(2const) and a(b) (CVE-2024-21626)"
            ),
            [
                Source::File("runtime.md".into()),
                man("pidfd_open", "2"),
                man("PR_SET_PDEATHSIG", "2const"),
                Source::Cve("CVE-2024-21626".into())
            ]
        );
        assert_eq!(sources("CVE-24-1, CVE-2024-x, open(x), f(), (2)"), []);
        assert_eq!(
            man("pivot_root", "2").address(),
            "https://man7.org/linux/man-pages/man2/pivot_root.2.html"
        );
    }
}
