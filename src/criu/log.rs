//! Quotes criu's errors from its log.

use std::path::Path;

/// Maximum number of quoted lines: the first ones state the reason, the last one only that it failed.
const QUOTED: usize = 4;

/// criu logs these on every container host and continues; they would hide the reason.
const HARMLESS: [&str; 2] = ["Can't setup RLIMIT_NOFILE for self", "cgroupd: recv req error"];

/// `error` with criu's error lines and the path of the log.
pub fn explain(error: crate::error::Error, dir: &Path, file: &str) -> crate::error::Error {
    let path = dir.join(file);
    let path = std::path::absolute(&path).unwrap_or(path);
    let Ok(text) = std::fs::read(&path) else { return error };
    let quoted = quote(&String::from_utf8_lossy(&text)).join("; ");
    let colon = if quoted.is_empty() { "" } else { ": " };
    crate::error::Error::msg(format!("{error}{colon}{quoted} (log file: {})", path.display()))
}

/// The error lines of a log, without time stamps.
fn quote(log: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = Vec::new();
    for line in log.lines() {
        let Some(at) = line.find("Error (") else { continue };
        let text = line[at..].trim_end();
        if !HARMLESS.iter().any(|h| text.contains(h)) && !lines.contains(&text) {
            lines.push(text);
        }
    }
    lines.truncate(QUOTED);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_quoted_and_noise_is_not() {
        let log = "(00.1) Dumping\n\
            (00.2) Error (criu/util.c:1): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n\
            (00.3) Error (criu/files-reg.c:2): Can't lookup mount=24 for fd=0 path=/dev/null\n\
            (00.4)     7: Error (criu/cr-dump.c:3): Dumping FAILED.\n\
            (00.5) Error (criu/cr-dump.c:3): Dumping FAILED.\n";
        assert_eq!(
            quote(log),
            [
                "Error (criu/files-reg.c:2): Can't lookup mount=24 for fd=0 path=/dev/null",
                "Error (criu/cr-dump.c:3): Dumping FAILED."
            ]
        );
    }
}
