//! The program that executes another one: the interpreter of its `#!` line, or its ELF loader.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The kernel follows interpreters of interpreters to this depth (execve(2)).
pub const DEPTH: usize = 5;
/// As much of a program as is read: the `#!` line, or the ELF headers with the loader's path.
pub const HEAD: usize = 4096;

/// The interpreter that the first bytes of a program name, and whether it is an ELF loader.
pub fn interpreter(head: &[u8]) -> Option<(PathBuf, bool)> {
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    if let Some(line) = head.strip_prefix(b"#!") {
        // A carriage return is not a blank to the kernel.
        let mut words = line.split(|b| *b == b'\n').next()?.split(|b| matches!(b, b' ' | b'\t' | 0));
        let word = words.find(|word| !word.is_empty())?;
        return Some((path(word), false));
    }
    head.strip_prefix(b"\x7fELF")?;
    let wide = *head.get(4)? == 2;
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = head.get(at..at.checked_add(size)?)?;
        bytes.iter().rev().try_fold(0usize, |n, b| n.checked_mul(256)?.checked_add((*b).into()))
    };
    // e_phoff, e_phentsize, e_phnum; p_offset and p_filesz within a program header (elf(5)).
    let (table, size, count) = if wide {
        (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?)
    } else {
        (number(0x1c, 4)?, number(0x2a, 2)?, number(0x2c, 2)?)
    };
    for at in (0..count).map_while(|i| table.checked_add(i.checked_mul(size)?)) {
        if number(at, 4)? != libc::PT_INTERP as usize {
            continue;
        }
        let (from, len) = if wide {
            (number(at + 8, 8)?, number(at + 32, 8)?)
        } else {
            (number(at + 4, 4)?, number(at + 16, 4)?)
        };
        let text = head.get(from..from.checked_add(len)?)?;
        return Some((path(text.split(|b| *b == 0).next()?), true));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_read_from_the_first_bytes() {
        let of = |head: &[u8]| interpreter(head).map(|(path, elf)| (path.display().to_string(), elf));
        assert_eq!(of(b"#!/bin/sh\n"), Some(("/bin/sh".into(), false)));
        assert_eq!(of(b"#! \t/usr/bin/env -S x\n"), Some(("/usr/bin/env".into(), false)));
        assert_eq!(of(b"#!/bin/sh\r\n"), Some(("/bin/sh\r".into(), false)));
        assert_eq!(of(b"#!\n/bin/sh"), None);
        assert_eq!(of(b"echo"), None);
        assert_eq!(of(b"\x7fELF"), None);
        assert_eq!(of(&[b"\x7fELF\x02" as &[u8], &[0xff; 100]].concat()), None, "nonsense is no panic");
        // The test itself is linked against a loader, or is static.
        let me = std::fs::read("/proc/self/exe").unwrap();
        assert!(of(&me[..HEAD]).is_none_or(|(path, elf)| elf && path.starts_with('/')));
    }
}
