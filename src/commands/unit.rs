//! `safebox install --systemd-unit ID`: a unit that runs a detached container, and runs it again when it fails.

use crate::sys::start::ExitCode;
use std::io::Write;
use std::path::PathBuf;

use crate::cli::GlobalArgs;
use crate::commands::common::VerbResult;
use crate::error::Error;
use crate::lifecycle::container::Container;

/// Prints the unit. The container of `run --detach` itself is left as it is.
pub fn unit(global: &GlobalArgs, id: &str, program: Option<PathBuf>) -> VerbResult {
    let root = crate::commands::common::root(global)?;
    let container = Container::load(&root, id)?;
    let state = container.state()?;
    let command = state.command.as_ref().ok_or_else(|| {
        Error::msg(format!("container {id} was not made by `run --detach`: what runs it again is not known"))
    })?;
    let program = match program {
        Some(program) => program,
        None => std::env::current_exe().map_err(|e| Error::msg(format!("/proc/self/exe: {e}")))?,
    };
    let safebox =
        format!("{} --root {}", quoted(&program.to_string_lossy()), quoted(&root.to_string_lossy()));
    let words = command.words.iter().skip(1).map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let patience = state.stop.millis.div_ceil(1000) + 10;
    let id = quoted(id);
    write!(
        std::io::stdout(),
        "# safebox install --systemd-unit {id} >/etc/systemd/system/safebox-{id}.service\n\
         # safebox rm --force {id}; systemctl daemon-reload; systemctl enable --now safebox-{id}\n\
         [Unit]\n\
         Description=safebox container {id}\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         \n\
         [Service]\n\
         Type=notify\n\
         WorkingDirectory={dir}\n\
         ExecStartPre=-{safebox} delete --force {id}\n\
         ExecStart={safebox} run --sdnotify=launcher --quiet {words}\n\
         KillMode=mixed\n\
         TimeoutStopSec={patience}\n\
         SuccessExitStatus=143\n\
         Restart=on-failure\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        dir = command.dir.display().to_string().replace('%', "%%"),
    )?;
    Ok(ExitCode::SUCCESS)
}

/// A word of a command line of systemd's (systemd.service(5), "Command lines"; systemd.syntax(7), "Quoting").
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_+-./:=,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '%' | '$' => text.extend([c, c]),
            '\n' => text.push_str("\\n"),
            c if c.is_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_are_quoted_for_systemd() {
        for (word, expect) in [
            ("--memory=64m", "--memory=64m"),
            ("", "\"\""),
            ("echo $HOME \"100%\" \\", "\"echo $$HOME \\\"100%%\\\" \\\\\""),
            ("a\nb\t", "\"a\\nb\\x09\""),
            (";", "\";\""),
        ] {
            assert_eq!(quoted(word), expect);
        }
    }
}
