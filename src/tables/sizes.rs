//! Numbers of bytes as human-readable text.

/// Formats `bytes` in the largest unit that divides it, so nothing is rounded.
pub fn text(bytes: i64) -> String {
    const UNITS: [(i64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    // 512 MiB and 1536 MiB, but 2 GiB.
    let unit = UNITS.iter().find(|(size, _)| bytes != 0 && bytes % size == 0);
    unit.map_or_else(|| format!("{bytes} bytes"), |(size, name)| format!("{} {name}", bytes / size))
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn no_limit_has_no_value() {
        let told = [512 << 20, 2 << 30, 1536 << 20, 900 << 10, 1_000_000, 1, 0].map(text);
        assert_eq!(told, ["512 MiB", "2 GiB", "1536 MiB", "900 KiB", "1000000 bytes", "1 bytes", "0 bytes"]);
    }
}
