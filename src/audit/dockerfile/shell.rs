//! The commands of a RUN, as far as a rule has to tell them apart: quotes are respected, expansions are not made.

use crate::input::dockerfile::Instruction;

/// The text of a RUN that a shell reads: without flags, and a JSON list as words.
pub(super) fn text(i: &Instruction) -> String {
    if i.is_exec_form() { i.words().join(" ") } else { i.body().to_string() }
}

/// The pipelines of a text, each the commands between its pipes.
pub(super) fn pipelines(text: &str) -> Vec<Vec<String>> {
    let (mut all, mut pipeline, mut command) = (Vec::new(), Vec::new(), String::new());
    let (mut quote, mut depth) = (None::<char>, 0);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '"' | '\'') if depth == 0 => quote = Some(c),
            (None, '(') if command.ends_with(['$', '<']) || depth > 0 => depth += 1,
            (None, ')') if depth > 0 => depth -= 1,
            (None, '|' | '&' | ';' | '\n') if depth == 0 => {
                if c == '&' && (command.ends_with('>') || chars.peek() == Some(&'>')) {
                    // A redirection: `2>&1`, `&>file`.
                    command.push(c);
                    continue;
                }
                let twice = c != '\n' && chars.next_if_eq(&c).is_some();
                pipeline.push(std::mem::take(&mut command));
                if c != '|' || twice {
                    all.push(std::mem::take(&mut pipeline));
                }
                continue;
            }
            _ => {}
        }
        command.push(c);
    }
    pipeline.push(command);
    all.push(pipeline);
    let trim = |pipeline: Vec<String>| -> Vec<String> {
        pipeline.iter().map(|c| c.trim().to_string()).filter(|c| !c.is_empty()).collect()
    };
    all.into_iter().map(trim).filter(|pipeline| !pipeline.is_empty()).collect()
}

/// The words of a command, without quotes at their ends.
pub(super) fn words(command: &str) -> Vec<&str> {
    let words = command.split_whitespace().map(|word| word.trim_matches(['"', '\'', '(', ')', '{', '}']));
    words.filter(|word| !word.is_empty()).collect()
}

/// Whether a word, or the last part of its path, is `word`.
pub(super) fn is(text: &str, word: &str) -> bool {
    text == word || text.strip_suffix(word).is_some_and(|dir| dir.ends_with('/'))
}

/// The program of a command, behind `sudo`, `env` and assignments.
pub(super) fn program(command: &str) -> Option<&str> {
    let all = words(command);
    let mut all = all.iter().copied();
    let mut after = false;
    while let Some(word) = all.next() {
        let assigns = word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        if after && matches!(word, "-u" | "-g" | "--user" | "--group") {
            all.next();
        } else if ["sudo", "env", "exec", "time", "nice", "if", "then", "do", "!"].contains(&word) {
            after = true;
        } else if !(assigns || after && word.starts_with('-')) {
            return Some(word);
        }
    }
    None
}

/// Whether the command is `name`.
pub(super) fn runs(command: &str, name: &str) -> bool {
    program(command).is_some_and(|program| is(program, name))
}

/// Whether it only prints its words.
pub(super) fn prints(command: &str) -> bool {
    runs(command, "echo") || runs(command, "printf")
}

/// Whether one of its words is `word`.
pub(super) fn has(command: &str, word: &str) -> bool {
    words(command).iter().any(|w| is(w, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_apart() {
        let of = |text: &str| pipelines(text);
        assert_eq!(of("a && b | c; d || e"), [vec!["a"], vec!["b", "c"], vec!["d"], vec!["e"]]);
        assert_eq!(of("echo 'a; b | c' \"d && e\""), [["echo 'a; b | c' \"d && e\""]]);
        assert_eq!(of("sh -c \"$(curl x | y)\" & z"), [vec!["sh -c \"$(curl x | y)\""], vec!["z"]]);
        assert_eq!(of("x $(a; b) | sh <(curl z)"), [["x $(a; b)", "sh <(curl z)"]]);
        assert_eq!(of("a 2>&1 | b &>c"), [["a 2>&1", "b &>c"]]);
        assert_eq!(of(" ; "), Vec::<Vec<String>>::new());
    }

    #[test]
    fn a_program_stands_behind_its_prefixes() {
        for (command, name) in [
            ("A=1 sudo -E -u app /bin/bash -s", Some("/bin/bash")),
            ("env PATH=x sh", Some("sh")),
            ("(curl x", Some("curl")),
            ("A=1", None),
        ] {
            assert_eq!(program(command), name, "{command}");
        }
        assert!(runs("sudo /usr/bin/curl x", "curl") && !runs("mycurl x", "curl"));
        assert!(prints("echo a") && has("apt-get install sudo", "sudo") && !has("visudo", "sudo"));
    }
}
