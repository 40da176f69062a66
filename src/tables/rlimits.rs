//! The resource limits of getrlimit(2).

/// One row of [`RLIMITS`].
#[derive(Debug)]
pub struct RlimitRow {
    /// Name in config.json, e.g. `RLIMIT_NOFILE`.
    pub name: &'static str,
    /// Number on this architecture (mips, sparc and alpha differ from the others; libc knows).
    pub number: u32,
    /// Unit of the values.
    pub unit: &'static str,
    /// The limited resource.
    pub doc: &'static str,
}

/// All sixteen limits.
pub const RLIMITS: [RlimitRow; 16] = [
    RlimitRow {
        name: "RLIMIT_CPU",
        number: libc::RLIMIT_CPU,
        unit: "seconds",
        doc: "processor time of the process",
    },
    RlimitRow {
        name: "RLIMIT_FSIZE",
        number: libc::RLIMIT_FSIZE,
        unit: "bytes",
        doc: "size of a file it writes",
    },
    RlimitRow {
        name: "RLIMIT_DATA",
        number: libc::RLIMIT_DATA,
        unit: "bytes",
        doc: "its data segment, heap included",
    },
    RlimitRow {
        name: "RLIMIT_STACK",
        number: libc::RLIMIT_STACK,
        unit: "bytes",
        doc: "its main thread's stack",
    },
    RlimitRow {
        name: "RLIMIT_CORE",
        number: libc::RLIMIT_CORE,
        unit: "bytes",
        doc: "a core dump; 0 for none",
    },
    RlimitRow {
        name: "RLIMIT_RSS",
        number: libc::RLIMIT_RSS,
        unit: "bytes",
        doc: "resident memory; without effect since Linux 2.4.30",
    },
    RlimitRow {
        name: "RLIMIT_NPROC",
        number: libc::RLIMIT_NPROC,
        unit: "tasks",
        doc: "processes and threads of its real user id",
    },
    RlimitRow {
        name: "RLIMIT_NOFILE",
        number: libc::RLIMIT_NOFILE,
        unit: "descriptors",
        doc: "highest file descriptor plus one",
    },
    RlimitRow { name: "RLIMIT_MEMLOCK", number: libc::RLIMIT_MEMLOCK, unit: "bytes", doc: "locked memory" },
    RlimitRow { name: "RLIMIT_AS", number: libc::RLIMIT_AS, unit: "bytes", doc: "address space" },
    RlimitRow {
        name: "RLIMIT_LOCKS",
        number: libc::RLIMIT_LOCKS,
        unit: "locks",
        doc: "file locks; without effect since Linux 2.4.25",
    },
    RlimitRow {
        name: "RLIMIT_SIGPENDING",
        number: libc::RLIMIT_SIGPENDING,
        unit: "signals",
        doc: "queued signals of its real user id",
    },
    RlimitRow {
        name: "RLIMIT_MSGQUEUE",
        number: libc::RLIMIT_MSGQUEUE,
        unit: "bytes",
        doc: "POSIX message queues of its real user id",
    },
    RlimitRow {
        name: "RLIMIT_NICE",
        number: libc::RLIMIT_NICE,
        unit: "20 - nice",
        doc: "ceiling of its nice value",
    },
    RlimitRow {
        name: "RLIMIT_RTPRIO",
        number: libc::RLIMIT_RTPRIO,
        unit: "priority",
        doc: "ceiling of its realtime priority",
    },
    RlimitRow {
        name: "RLIMIT_RTTIME",
        number: libc::RLIMIT_RTTIME,
        unit: "microseconds",
        doc: "realtime processor time without a blocking system call",
    },
];

/// The row named `name`, spelled as in config.json.
pub fn by_name(name: &str) -> Option<&'static RlimitRow> {
    RLIMITS.iter().find(|r| r.name == name)
}

/// The row of the limit `number`.
pub fn by_number(number: u32) -> Option<&'static RlimitRow> {
    RLIMITS.iter().find(|r| r.number == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_row() {
        for n in 0..16 {
            assert_eq!(RLIMITS.iter().filter(|r| r.number == n).count(), 1);
        }
        for row in &RLIMITS {
            assert_eq!(by_name(row.name).map(|r| r.number), Some(row.number));
            assert_eq!(by_number(row.number).map(|r| r.name), Some(row.name));
        }
        assert!(by_name("NOFILE").is_none() && by_number(16).is_none());
    }
}
