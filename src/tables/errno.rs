//! Error numbers of errno(3): their names and the texts that runc prints for them.
//!
//! The texts are a table, not strerror(3): callers of a runtime match them (Docker maps `no such file or
//! directory` to exit code 127), so they must not depend on a locale or a C library.

/// One row of [`ERRORS`].
#[derive(Debug)]
pub struct ErrnoRow {
    /// Number on this architecture.
    pub number: i32,
    /// Symbol, e.g. `ENOENT`.
    pub name: &'static str,
    /// Text as Go's `syscall.Errno` prints it.
    pub text: &'static str,
}

/// All error numbers of Linux.
pub const ERRORS: [ErrnoRow; 131] = [
    ErrnoRow { number: libc::EPERM, name: "EPERM", text: "operation not permitted" },
    ErrnoRow { number: libc::ENOENT, name: "ENOENT", text: "no such file or directory" },
    ErrnoRow { number: libc::ESRCH, name: "ESRCH", text: "no such process" },
    ErrnoRow { number: libc::EINTR, name: "EINTR", text: "interrupted system call" },
    ErrnoRow { number: libc::EIO, name: "EIO", text: "input/output error" },
    ErrnoRow { number: libc::ENXIO, name: "ENXIO", text: "no such device or address" },
    ErrnoRow { number: libc::E2BIG, name: "E2BIG", text: "argument list too long" },
    ErrnoRow { number: libc::ENOEXEC, name: "ENOEXEC", text: "exec format error" },
    ErrnoRow { number: libc::EBADF, name: "EBADF", text: "bad file descriptor" },
    ErrnoRow { number: libc::ECHILD, name: "ECHILD", text: "no child processes" },
    ErrnoRow { number: libc::EAGAIN, name: "EAGAIN", text: "resource temporarily unavailable" },
    ErrnoRow { number: libc::ENOMEM, name: "ENOMEM", text: "cannot allocate memory" },
    ErrnoRow { number: libc::EACCES, name: "EACCES", text: "permission denied" },
    ErrnoRow { number: libc::EFAULT, name: "EFAULT", text: "bad address" },
    ErrnoRow { number: libc::ENOTBLK, name: "ENOTBLK", text: "block device required" },
    ErrnoRow { number: libc::EBUSY, name: "EBUSY", text: "device or resource busy" },
    ErrnoRow { number: libc::EEXIST, name: "EEXIST", text: "file exists" },
    ErrnoRow { number: libc::EXDEV, name: "EXDEV", text: "invalid cross-device link" },
    ErrnoRow { number: libc::ENODEV, name: "ENODEV", text: "no such device" },
    ErrnoRow { number: libc::ENOTDIR, name: "ENOTDIR", text: "not a directory" },
    ErrnoRow { number: libc::EISDIR, name: "EISDIR", text: "is a directory" },
    ErrnoRow { number: libc::EINVAL, name: "EINVAL", text: "invalid argument" },
    ErrnoRow { number: libc::ENFILE, name: "ENFILE", text: "too many open files in system" },
    ErrnoRow { number: libc::EMFILE, name: "EMFILE", text: "too many open files" },
    ErrnoRow { number: libc::ENOTTY, name: "ENOTTY", text: "inappropriate ioctl for device" },
    ErrnoRow { number: libc::ETXTBSY, name: "ETXTBSY", text: "text file busy" },
    ErrnoRow { number: libc::EFBIG, name: "EFBIG", text: "file too large" },
    ErrnoRow { number: libc::ENOSPC, name: "ENOSPC", text: "no space left on device" },
    ErrnoRow { number: libc::ESPIPE, name: "ESPIPE", text: "illegal seek" },
    ErrnoRow { number: libc::EROFS, name: "EROFS", text: "read-only file system" },
    ErrnoRow { number: libc::EMLINK, name: "EMLINK", text: "too many links" },
    ErrnoRow { number: libc::EPIPE, name: "EPIPE", text: "broken pipe" },
    ErrnoRow { number: libc::EDOM, name: "EDOM", text: "numerical argument out of domain" },
    ErrnoRow { number: libc::ERANGE, name: "ERANGE", text: "numerical result out of range" },
    ErrnoRow { number: libc::EDEADLK, name: "EDEADLK", text: "resource deadlock avoided" },
    ErrnoRow { number: libc::ENAMETOOLONG, name: "ENAMETOOLONG", text: "file name too long" },
    ErrnoRow { number: libc::ENOLCK, name: "ENOLCK", text: "no locks available" },
    ErrnoRow { number: libc::ENOSYS, name: "ENOSYS", text: "function not implemented" },
    ErrnoRow { number: libc::ENOTEMPTY, name: "ENOTEMPTY", text: "directory not empty" },
    ErrnoRow { number: libc::ELOOP, name: "ELOOP", text: "too many levels of symbolic links" },
    ErrnoRow { number: libc::ENOMSG, name: "ENOMSG", text: "no message of desired type" },
    ErrnoRow { number: libc::EIDRM, name: "EIDRM", text: "identifier removed" },
    ErrnoRow { number: libc::ECHRNG, name: "ECHRNG", text: "channel number out of range" },
    ErrnoRow { number: libc::EL2NSYNC, name: "EL2NSYNC", text: "level 2 not synchronized" },
    ErrnoRow { number: libc::EL3HLT, name: "EL3HLT", text: "level 3 halted" },
    ErrnoRow { number: libc::EL3RST, name: "EL3RST", text: "level 3 reset" },
    ErrnoRow { number: libc::ELNRNG, name: "ELNRNG", text: "link number out of range" },
    ErrnoRow { number: libc::EUNATCH, name: "EUNATCH", text: "protocol driver not attached" },
    ErrnoRow { number: libc::ENOCSI, name: "ENOCSI", text: "no CSI structure available" },
    ErrnoRow { number: libc::EL2HLT, name: "EL2HLT", text: "level 2 halted" },
    ErrnoRow { number: libc::EBADE, name: "EBADE", text: "invalid exchange" },
    ErrnoRow { number: libc::EBADR, name: "EBADR", text: "invalid request descriptor" },
    ErrnoRow { number: libc::EXFULL, name: "EXFULL", text: "exchange full" },
    ErrnoRow { number: libc::ENOANO, name: "ENOANO", text: "no anode" },
    ErrnoRow { number: libc::EBADRQC, name: "EBADRQC", text: "invalid request code" },
    ErrnoRow { number: libc::EBADSLT, name: "EBADSLT", text: "invalid slot" },
    ErrnoRow { number: libc::EBFONT, name: "EBFONT", text: "bad font file format" },
    ErrnoRow { number: libc::ENOSTR, name: "ENOSTR", text: "device not a stream" },
    ErrnoRow { number: libc::ENODATA, name: "ENODATA", text: "no data available" },
    ErrnoRow { number: libc::ETIME, name: "ETIME", text: "timer expired" },
    ErrnoRow { number: libc::ENOSR, name: "ENOSR", text: "out of streams resources" },
    ErrnoRow { number: libc::ENONET, name: "ENONET", text: "machine is not on the network" },
    ErrnoRow { number: libc::ENOPKG, name: "ENOPKG", text: "package not installed" },
    ErrnoRow { number: libc::EREMOTE, name: "EREMOTE", text: "object is remote" },
    ErrnoRow { number: libc::ENOLINK, name: "ENOLINK", text: "link has been severed" },
    ErrnoRow { number: libc::EADV, name: "EADV", text: "advertise error" },
    ErrnoRow { number: libc::ESRMNT, name: "ESRMNT", text: "srmount error" },
    ErrnoRow { number: libc::ECOMM, name: "ECOMM", text: "communication error on send" },
    ErrnoRow { number: libc::EPROTO, name: "EPROTO", text: "protocol error" },
    ErrnoRow { number: libc::EMULTIHOP, name: "EMULTIHOP", text: "multihop attempted" },
    ErrnoRow { number: libc::EDOTDOT, name: "EDOTDOT", text: "RFS specific error" },
    ErrnoRow { number: libc::EBADMSG, name: "EBADMSG", text: "bad message" },
    ErrnoRow { number: libc::EOVERFLOW, name: "EOVERFLOW", text: "value too large for defined data type" },
    ErrnoRow { number: libc::ENOTUNIQ, name: "ENOTUNIQ", text: "name not unique on network" },
    ErrnoRow { number: libc::EBADFD, name: "EBADFD", text: "file descriptor in bad state" },
    ErrnoRow { number: libc::EREMCHG, name: "EREMCHG", text: "remote address changed" },
    ErrnoRow { number: libc::ELIBACC, name: "ELIBACC", text: "can not access a needed shared library" },
    ErrnoRow { number: libc::ELIBBAD, name: "ELIBBAD", text: "accessing a corrupted shared library" },
    ErrnoRow { number: libc::ELIBSCN, name: "ELIBSCN", text: ".lib section in a.out corrupted" },
    ErrnoRow {
        number: libc::ELIBMAX,
        name: "ELIBMAX",
        text: "attempting to link in too many shared libraries",
    },
    ErrnoRow { number: libc::ELIBEXEC, name: "ELIBEXEC", text: "cannot exec a shared library directly" },
    ErrnoRow {
        number: libc::EILSEQ,
        name: "EILSEQ",
        text: "invalid or incomplete multibyte or wide character",
    },
    ErrnoRow {
        number: libc::ERESTART,
        name: "ERESTART",
        text: "interrupted system call should be restarted",
    },
    ErrnoRow { number: libc::ESTRPIPE, name: "ESTRPIPE", text: "streams pipe error" },
    ErrnoRow { number: libc::EUSERS, name: "EUSERS", text: "too many users" },
    ErrnoRow { number: libc::ENOTSOCK, name: "ENOTSOCK", text: "socket operation on non-socket" },
    ErrnoRow { number: libc::EDESTADDRREQ, name: "EDESTADDRREQ", text: "destination address required" },
    ErrnoRow { number: libc::EMSGSIZE, name: "EMSGSIZE", text: "message too long" },
    ErrnoRow { number: libc::EPROTOTYPE, name: "EPROTOTYPE", text: "protocol wrong type for socket" },
    ErrnoRow { number: libc::ENOPROTOOPT, name: "ENOPROTOOPT", text: "protocol not available" },
    ErrnoRow { number: libc::EPROTONOSUPPORT, name: "EPROTONOSUPPORT", text: "protocol not supported" },
    ErrnoRow { number: libc::ESOCKTNOSUPPORT, name: "ESOCKTNOSUPPORT", text: "socket type not supported" },
    ErrnoRow { number: libc::EOPNOTSUPP, name: "EOPNOTSUPP", text: "operation not supported" },
    ErrnoRow { number: libc::EPFNOSUPPORT, name: "EPFNOSUPPORT", text: "protocol family not supported" },
    ErrnoRow {
        number: libc::EAFNOSUPPORT,
        name: "EAFNOSUPPORT",
        text: "address family not supported by protocol",
    },
    ErrnoRow { number: libc::EADDRINUSE, name: "EADDRINUSE", text: "address already in use" },
    ErrnoRow { number: libc::EADDRNOTAVAIL, name: "EADDRNOTAVAIL", text: "cannot assign requested address" },
    ErrnoRow { number: libc::ENETDOWN, name: "ENETDOWN", text: "network is down" },
    ErrnoRow { number: libc::ENETUNREACH, name: "ENETUNREACH", text: "network is unreachable" },
    ErrnoRow { number: libc::ENETRESET, name: "ENETRESET", text: "network dropped connection on reset" },
    ErrnoRow { number: libc::ECONNABORTED, name: "ECONNABORTED", text: "software caused connection abort" },
    ErrnoRow { number: libc::ECONNRESET, name: "ECONNRESET", text: "connection reset by peer" },
    ErrnoRow { number: libc::ENOBUFS, name: "ENOBUFS", text: "no buffer space available" },
    ErrnoRow { number: libc::EISCONN, name: "EISCONN", text: "transport endpoint is already connected" },
    ErrnoRow { number: libc::ENOTCONN, name: "ENOTCONN", text: "transport endpoint is not connected" },
    ErrnoRow {
        number: libc::ESHUTDOWN,
        name: "ESHUTDOWN",
        text: "cannot send after transport endpoint shutdown",
    },
    ErrnoRow { number: libc::ETOOMANYREFS, name: "ETOOMANYREFS", text: "too many references: cannot splice" },
    ErrnoRow { number: libc::ETIMEDOUT, name: "ETIMEDOUT", text: "connection timed out" },
    ErrnoRow { number: libc::ECONNREFUSED, name: "ECONNREFUSED", text: "connection refused" },
    ErrnoRow { number: libc::EHOSTDOWN, name: "EHOSTDOWN", text: "host is down" },
    ErrnoRow { number: libc::EHOSTUNREACH, name: "EHOSTUNREACH", text: "no route to host" },
    ErrnoRow { number: libc::EALREADY, name: "EALREADY", text: "operation already in progress" },
    ErrnoRow { number: libc::EINPROGRESS, name: "EINPROGRESS", text: "operation now in progress" },
    ErrnoRow { number: libc::ESTALE, name: "ESTALE", text: "stale file handle" },
    ErrnoRow { number: libc::EUCLEAN, name: "EUCLEAN", text: "structure needs cleaning" },
    ErrnoRow { number: libc::ENOTNAM, name: "ENOTNAM", text: "not a XENIX named type file" },
    ErrnoRow { number: libc::ENAVAIL, name: "ENAVAIL", text: "no XENIX semaphores available" },
    ErrnoRow { number: libc::EISNAM, name: "EISNAM", text: "is a named type file" },
    ErrnoRow { number: libc::EREMOTEIO, name: "EREMOTEIO", text: "remote I/O error" },
    ErrnoRow { number: libc::EDQUOT, name: "EDQUOT", text: "disk quota exceeded" },
    ErrnoRow { number: libc::ENOMEDIUM, name: "ENOMEDIUM", text: "no medium found" },
    ErrnoRow { number: libc::EMEDIUMTYPE, name: "EMEDIUMTYPE", text: "wrong medium type" },
    ErrnoRow { number: libc::ECANCELED, name: "ECANCELED", text: "operation canceled" },
    ErrnoRow { number: libc::ENOKEY, name: "ENOKEY", text: "required key not available" },
    ErrnoRow { number: libc::EKEYEXPIRED, name: "EKEYEXPIRED", text: "key has expired" },
    ErrnoRow { number: libc::EKEYREVOKED, name: "EKEYREVOKED", text: "key has been revoked" },
    ErrnoRow { number: libc::EKEYREJECTED, name: "EKEYREJECTED", text: "key was rejected by service" },
    ErrnoRow { number: libc::EOWNERDEAD, name: "EOWNERDEAD", text: "owner died" },
    ErrnoRow { number: libc::ENOTRECOVERABLE, name: "ENOTRECOVERABLE", text: "state not recoverable" },
    ErrnoRow { number: libc::ERFKILL, name: "ERFKILL", text: "operation not possible due to RF-kill" },
    ErrnoRow { number: libc::EHWPOISON, name: "EHWPOISON", text: "memory page has hardware error" },
];

/// The row of error `number`.
fn find(number: i32) -> Option<&'static ErrnoRow> {
    ERRORS.iter().find(|r| r.number == number)
}

/// The symbol of error `number`: `ENOENT`; `E?` for a number that Linux does not define.
pub fn name(number: i32) -> &'static str {
    find(number).map_or("E?", |r| r.name)
}

/// The text for error `number`: `no such file or directory`; `errno 4095` for an unknown one.
pub fn text(number: i32) -> String {
    find(number).map_or_else(|| format!("errno {number}"), |r| r.text.to_owned())
}

/// The text of an I/O error: the kernel's in the words of [`text`], any other as it prints itself.
pub fn of_io(e: &std::io::Error) -> String {
    e.raw_os_error().map_or_else(|| e.to_string(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_words() {
        assert_eq!((name(libc::ENOENT), text(libc::ENOENT)), ("ENOENT", "no such file or directory".into()));
        assert_eq!(text(libc::EACCES), "permission denied");
        assert_eq!(text(libc::EPERM), "operation not permitted");
        assert_eq!(text(libc::EISDIR), "is a directory");
        assert_eq!((name(4095), text(4095)), ("E?", "errno 4095".into()));
    }

    #[test]
    fn every_number_has_one_row() {
        for row in &ERRORS {
            assert_eq!(ERRORS.iter().filter(|r| r.number == row.number).count(), 1, "{}", row.name);
        }
    }
}
