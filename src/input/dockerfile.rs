//! A Dockerfile: its instructions with their lines. Continuations, comments between them, escapes and here-documents
//! are read as BuildKit reads them. Variables are expanded in FROM and USER, from the defaults of ARG and from ENV; the
//! instruction behind ONBUILD is read as one of this file, except for USER.

/// All instructions.
const KNOWN: [&str; 18] = [
    "FROM",
    "RUN",
    "CMD",
    "LABEL",
    "MAINTAINER",
    "EXPOSE",
    "ENV",
    "ADD",
    "COPY",
    "ENTRYPOINT",
    "VOLUME",
    "USER",
    "WORKDIR",
    "ARG",
    "ONBUILD",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "SHELL",
];

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// In upper case.
    pub name: String,
    /// What follows, on one line, here-documents included.
    pub rest: String,
    /// Where it begins.
    pub line: u32,
}

impl Instruction {
    /// What follows the flags.
    pub fn body(&self) -> &str {
        let mut rest = self.rest.as_str();
        while rest.starts_with("--") {
            rest = rest.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start());
        }
        rest
    }

    /// The words behind the flags, of a JSON list its texts.
    pub fn words(&self) -> Vec<&str> {
        let body = self.body();
        let list = body.starts_with('[');
        let words = body.split(move |c: char| c.is_whitespace() || list && "[],\"".contains(c));
        words.filter(|word| !word.is_empty()).collect()
    }

    /// Whether BuildKit has this instruction.
    pub fn is_known(&self) -> bool {
        KNOWN.contains(&self.name.as_str())
    }

    /// A flag's value: `--chmod=4755`.
    pub fn flag(&self, name: &str) -> Option<&str> {
        let flags = self.rest.split_whitespace().take_while(|w| w.starts_with("--"));
        flags.filter_map(|w| w[2..].split_once('=')).find(|(k, _)| *k == name).map(|(_, v)| v)
    }

    /// Whether it is written as a JSON list.
    pub fn is_exec_form(&self) -> bool {
        self.body().starts_with('[')
    }
}

/// The instructions of a file.
pub fn parse(text: &str) -> Vec<Instruction> {
    let escape = escape(text);
    let mut out = Vec::new();
    let mut lines = (1u32..).zip(text.lines()).peekable();
    while let Some((number, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut whole = line.to_string();
        while whole.ends_with(escape) {
            whole.pop();
            // Comments and empty lines do not end a continuation.
            let next = lines.find(|(_, l)| !l.trim().is_empty() && !l.trim_start().starts_with('#'));
            match next {
                Some((_, next)) => whole.push_str(&format!(" {}", next.trim())),
                None => break,
            }
        }
        for end in here_documents(&whole) {
            for (_, body) in lines.by_ref() {
                if body.trim() == end {
                    break;
                }
                whole.push_str(&format!(" ; {}", body.trim()));
            }
        }
        let mut i = instruction(&whole, number);
        if i.name == "ONBUILD" {
            i = instruction(&i.rest, number);
            if i.name == "USER" {
                continue;
            }
        }
        out.push(i);
    }
    expand(&mut out);
    out
}

fn instruction(text: &str, line: u32) -> Instruction {
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    Instruction { name: name.to_ascii_uppercase(), rest: rest.trim().into(), line }
}

/// Puts the values of variables into FROM and USER. One without a value stays as it is written.
fn expand(all: &mut [Instruction]) {
    let mut values: Vec<(String, String)> = Vec::new();
    for i in all {
        match i.name.as_str() {
            "ARG" | "ENV" => {
                let pairs = i.rest.split_whitespace().filter_map(|word| word.split_once('='));
                // `ENV NAME VALUE`.
                let pair = i.rest.split_once(' ').filter(|_| i.name == "ENV" && !i.rest.contains('='));
                let plain = |value: &str| value.trim_matches(['"', '\'']).to_string();
                values.extend(pairs.chain(pair).map(|(name, value)| (name.into(), plain(value))));
            }
            "FROM" | "USER" => {
                i.rest = expanded(&i.rest, &|name| {
                    values.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone())
                });
            }
            _ => {}
        }
    }
}

/// `$NAME`, `${NAME}`, `${NAME:-word}`, `${NAME:+word}`.
fn expanded(text: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    let name_end =
        |text: &str| text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let braced = rest[1..].strip_prefix('{').and_then(|r| r.split_once('}'));
        let (inner, length) = match braced {
            Some((inner, _)) => (inner, inner.len() + 3),
            None => (&rest[1..=name_end(&rest[1..])], 1 + name_end(&rest[1..])),
        };
        let (name, form) = inner.split_at(name_end(inner));
        let set = value(name).filter(|value| !value.is_empty());
        let word = |start: &str| form.strip_prefix(':').unwrap_or(form).strip_prefix(start).map(String::from);
        let new = match (word("-"), word("+")) {
            (Some(default), _) => Some(set.unwrap_or(default)),
            (_, Some(other)) => Some(if set.is_some() { other } else { String::new() }),
            _ => set,
        };
        match new {
            Some(new) => out.push_str(&new),
            None => out.push_str(&rest[..length]),
        }
        rest = &rest[length..];
    }
    out + rest
}

/// The parser directive `# escape=` may stand on the first lines.
fn escape(text: &str) -> char {
    let directives = text.lines().take_while(|l| l.trim_start().starts_with('#'));
    let found = directives.filter_map(|l| l.trim_start_matches(['#', ' ']).strip_prefix("escape="));
    found.last().and_then(|v| v.trim().chars().next()).filter(|c| *c == '`').unwrap_or('\\')
}

/// The words that end the here-documents of a line: `<<EOF`, `<<-"EOF"`.
fn here_documents(line: &str) -> Vec<String> {
    let name = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    if !matches!(name.as_str(), "RUN" | "COPY" | "ADD") {
        return Vec::new();
    }
    let starts = line.split_whitespace().filter_map(|w| w.strip_prefix("<<"));
    let word = |w: &str| w.trim_start_matches('-').trim_matches(['"', '\'']).to_string();
    starts
        .map(word)
        .filter(|w| !w.is_empty() && w.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_read_with_their_lines() {
        let text = "# syntax=x\nfrom a \\\n # in between\n\n as b\nRUN <<EOF\napt-get update\nEOF\nCOPY --chmod=4755 x /y\nCMD [\"a\"]";
        let all = parse(text);
        let names: Vec<_> = all.iter().map(|i| (i.name.as_str(), i.line)).collect();
        assert_eq!(names, [("FROM", 2), ("RUN", 6), ("COPY", 9), ("CMD", 10)]);
        assert_eq!(all[0].rest, "a  as b");
        assert!(all[1].rest.contains("apt-get update"));
        assert_eq!((all[2].flag("chmod"), all[2].words()), (Some("4755"), vec!["x", "/y"]));
        assert!(all[3].is_exec_form());
        assert_eq!(parse("# escape=`\nRUN a `\n b")[0].rest, "a  b");
        assert!(parse("RUN a \\").len() == 1 && parse("").is_empty());
        let all = parse(
            "ARG V=latest\nFROM debian:${V}\nENV U=root\nUSER $U\nONBUILD ADD a b\nONBUILD USER x\nUSER ${W}",
        );
        let rest: Vec<_> = all.iter().map(|i| format!("{} {}", i.name, i.rest)).collect();
        assert_eq!(
            expanded("${A:-x}$B${C:+y}${D}$", &|n| (n == "B" || n == "C").then(|| "b".into())),
            "xby${D}$"
        );
        assert_eq!(rest[1..], ["FROM debian:latest", "ENV U=root", "USER root", "ADD a b", "USER ${W}"]);
    }
}
