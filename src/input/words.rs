//! Words of a command line, and quantities.

/// One command of a shell. What a shell would do beside splitting is refused, or kept as one word: another command after
/// this one must not pass for its arguments, nor `$(pwd)` for two words.
pub fn command(line: &str) -> Result<Vec<String>, String> {
    let mut quote = None::<char>;
    let (mut plain, mut depth, mut word_begins) = (String::new(), 0, true);
    let mut chars = line.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('\''), c) => quote = Some('\'').filter(|_| c != '\''),
            (_, '\\') => {
                plain.push(c);
                plain.extend(chars.next());
                continue;
            }
            (Some(_), '"') => quote = None,
            (None, '\'' | '"') if depth == 0 => quote = Some(c),
            (None, '$') if chars.peek() == Some(&'(') => depth += 1,
            (None, ')') if depth > 0 => {
                depth -= 1;
                plain.push(c);
                continue;
            }
            (None, c) if depth > 0 && c.is_whitespace() => {
                // It stays in its word.
                plain.push('\\');
            }
            (None, '#') if word_begins && depth == 0 => {
                while chars.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            (None, c @ (';' | '|' | '&' | '<' | '>' | '\n')) if depth == 0 => {
                return Err(format!("{c:?}: one command is needed; quote what belongs to it"));
            }
            _ => {}
        }
        word_begins = quote.is_none() && depth == 0 && c.is_whitespace();
        plain.push(c);
    }
    split(&plain)
}

/// Splits a line as a shell does: quotes and backslashes, and nothing else.
pub fn split(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (None, '\\') | (Some('"'), '\\') => match chars.next() {
                Some('\n') => {}
                Some(c) if quote.is_none() || "\"\\$`".contains(c) => word.get_or_insert_default().push(c),
                Some(c) => word.get_or_insert_default().extend(['\\', c]),
                None => return Err("ends with a backslash".into()),
            },
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".into());
    }
    words.extend(word);
    Ok(words)
}

/// A word for a shell.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A quantity of Kubernetes: `500m`, `512Mi`, `1G`, `0.5`.
pub fn quantity(text: &str) -> Option<f64> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.').map_or(0, |last| last + 1);
    let factor = match &text[end..] {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 0.001,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        _ => return None,
    };
    text[..end].parse::<f64>().ok().map(|n| n * factor).filter(|n| n.is_finite() && *n >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_does() {
        let words = split("docker run -e A='b c' --x=\"d \\\"e\\\" $f\" \\\n g\\ h ''").unwrap();
        assert_eq!(words, ["docker", "run", "-e", "A=b c", "--x=d \"e\" $f", "g h", ""]);
        assert!(split("a 'b").is_err() && split("a\\").is_err());
    }

    #[test]
    fn one_command_is_taken_and_no_more() {
        let words =
            command("docker run -v $(pwd)/a:/a -v \"$(cat x y)\":/b 'a;b' \"c&d\" e\\;f # a remark").unwrap();
        assert_eq!(words, ["docker", "run", "-v", "$(pwd)/a:/a", "-v", "$(cat x y):/b", "a;b", "c&d", "e;f"]);
        assert_eq!(command("run $(cat a b):/x y").unwrap(), ["run", "$(cat a b):/x", "y"]);
        assert_eq!(command("run a#b \\\n c\n").unwrap(), ["run", "a#b", "c"]);
        for line in [
            "docker run x && docker run --privileged y",
            "docker run x\ndocker run y",
            "a | b",
            "a; b",
            "a > b",
            "a &",
        ] {
            assert!(command(line).is_err(), "{line}");
        }
    }

    #[test]
    fn quantities_are_those_of_kubernetes() {
        assert_eq!(quantity("512Mi"), Some(536_870_912.0));
        assert_eq!(quantity("500m"), Some(0.5));
        assert_eq!((quantity("1G"), quantity("1e9")), (Some(1e9), Some(1e9)));
        assert_eq!(
            (quantity("2u"), quantity("5n"), quantity("2Pi")),
            (Some(2e-6), Some(5e-9), Some(2f64.powi(51)))
        );
        assert_eq!((quantity("x"), quantity("1Q"), quantity("")), (None, None, None));
    }
}
