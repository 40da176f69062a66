//! The access rights of landlock(7).

/// One file access right.
#[derive(Debug)]
pub struct LandlockRow {
    /// Name without `LANDLOCK_ACCESS_FS_`.
    pub name: &'static str,
    /// The bit.
    pub bit: u64,
    /// The first ABI that has it.
    pub since: i32,
    /// Whether the right applies to files; the others apply only to directories.
    pub file: bool,
}

const fn row(name: &'static str, bit: u32, since: i32, file: bool) -> LandlockRow {
    LandlockRow { name, bit: 1 << bit, since, file }
}

/// All access rights, by bit.
pub const RIGHTS: [LandlockRow; 16] = [
    row("EXECUTE", 0, 1, true),
    row("WRITE_FILE", 1, 1, true),
    row("READ_FILE", 2, 1, true),
    row("READ_DIR", 3, 1, false),
    row("REMOVE_DIR", 4, 1, false),
    row("REMOVE_FILE", 5, 1, false),
    row("MAKE_CHAR", 6, 1, false),
    row("MAKE_DIR", 7, 1, false),
    row("MAKE_REG", 8, 1, false),
    row("MAKE_SOCK", 9, 1, false),
    row("MAKE_FIFO", 10, 1, false),
    row("MAKE_BLOCK", 11, 1, false),
    row("MAKE_SYM", 12, 1, false),
    row("REFER", 13, 2, false),
    row("TRUNCATE", 14, 3, true),
    row("IOCTL_DEV", 15, 5, true),
];

/// The rights needed to read and execute.
pub const READ: u64 = 1 << 0 | 1 << 2 | 1 << 3;
/// The rights needed to write to an existing file.
pub const WRITE_FILE: u64 = 1 << 1 | 1 << 14;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `LANDLOCK_SCOPE_SIGNAL`, of ABI 6.
pub const SCOPES: u64 = 1 << 0 | 1 << 1;

/// All access rights of this ABI version.
pub fn all(abi: i32) -> u64 {
    RIGHTS.iter().filter(|row| row.since <= abi).fold(0, |bits, row| bits | row.bit)
}

/// The rights in `rights` that apply to files.
pub fn of_file(rights: u64) -> u64 {
    RIGHTS.iter().filter(|row| row.file).fold(0, |bits, row| bits | row.bit) & rights
}

/// The names of `rights`: `all`, `read`, or each one.
pub fn names(rights: u64, abi: i32) -> String {
    match rights {
        r if r == all(abi) => "all".into(),
        READ => "read, execute".into(),
        r => RIGHTS.iter().filter(|row| row.bit & r != 0).map(|row| row.name).collect::<Vec<_>>().join("|"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_grow_with_the_abi() {
        assert_eq!([1, 2, 3, 4, 5, 9].map(|abi| all(abi).count_ones()), [13, 14, 15, 15, 16, 16]);
        assert_eq!(of_file(all(9)), 0b1100_0000_0000_0111);
        assert_eq!(names(READ, 5), "read, execute");
        assert!(RIGHTS.iter().enumerate().all(|(i, row)| row.bit == 1 << i));
    }
}
