//! Error numbers of errno(3): their names and the texts that runc prints for them.
//!
//! The texts are a table, not strerror(3): callers of a runtime match them (Docker maps `no such file or
//! directory` to exit code 127), so they must not depend on a locale or a C library.

/// One row of [`ERRORS`].
#[derive(Debug)]
pub struct Row {
    /// Number on this architecture.
    pub number: i32,
    /// Symbol, e.g. `ENOENT`.
    pub name: &'static str,
    /// Text as Go's `syscall.Errno` prints it.
    pub text: &'static str,
}

/// All error numbers of Linux.
pub const ERRORS: [Row; 131] = [
    Row { number: libc::EPERM, name: "EPERM", text: "operation not permitted" },
    Row { number: libc::ENOENT, name: "ENOENT", text: "no such file or directory" },
    Row { number: libc::ESRCH, name: "ESRCH", text: "no such process" },
    Row { number: libc::EINTR, name: "EINTR", text: "interrupted system call" },
    Row { number: libc::EIO, name: "EIO", text: "input/output error" },
    Row { number: libc::ENXIO, name: "ENXIO", text: "no such device or address" },
    Row { number: libc::E2BIG, name: "E2BIG", text: "argument list too long" },
    Row { number: libc::ENOEXEC, name: "ENOEXEC", text: "exec format error" },
    Row { number: libc::EBADF, name: "EBADF", text: "bad file descriptor" },
    Row { number: libc::ECHILD, name: "ECHILD", text: "no child processes" },
    Row { number: libc::EAGAIN, name: "EAGAIN", text: "resource temporarily unavailable" },
    Row { number: libc::ENOMEM, name: "ENOMEM", text: "cannot allocate memory" },
    Row { number: libc::EACCES, name: "EACCES", text: "permission denied" },
    Row { number: libc::EFAULT, name: "EFAULT", text: "bad address" },
    Row { number: libc::ENOTBLK, name: "ENOTBLK", text: "block device required" },
    Row { number: libc::EBUSY, name: "EBUSY", text: "device or resource busy" },
    Row { number: libc::EEXIST, name: "EEXIST", text: "file exists" },
    Row { number: libc::EXDEV, name: "EXDEV", text: "invalid cross-device link" },
    Row { number: libc::ENODEV, name: "ENODEV", text: "no such device" },
    Row { number: libc::ENOTDIR, name: "ENOTDIR", text: "not a directory" },
    Row { number: libc::EISDIR, name: "EISDIR", text: "is a directory" },
    Row { number: libc::EINVAL, name: "EINVAL", text: "invalid argument" },
    Row { number: libc::ENFILE, name: "ENFILE", text: "too many open files in system" },
    Row { number: libc::EMFILE, name: "EMFILE", text: "too many open files" },
    Row { number: libc::ENOTTY, name: "ENOTTY", text: "inappropriate ioctl for device" },
    Row { number: libc::ETXTBSY, name: "ETXTBSY", text: "text file busy" },
    Row { number: libc::EFBIG, name: "EFBIG", text: "file too large" },
    Row { number: libc::ENOSPC, name: "ENOSPC", text: "no space left on device" },
    Row { number: libc::ESPIPE, name: "ESPIPE", text: "illegal seek" },
    Row { number: libc::EROFS, name: "EROFS", text: "read-only file system" },
    Row { number: libc::EMLINK, name: "EMLINK", text: "too many links" },
    Row { number: libc::EPIPE, name: "EPIPE", text: "broken pipe" },
    Row { number: libc::EDOM, name: "EDOM", text: "numerical argument out of domain" },
    Row { number: libc::ERANGE, name: "ERANGE", text: "numerical result out of range" },
    Row { number: libc::EDEADLK, name: "EDEADLK", text: "resource deadlock avoided" },
    Row { number: libc::ENAMETOOLONG, name: "ENAMETOOLONG", text: "file name too long" },
    Row { number: libc::ENOLCK, name: "ENOLCK", text: "no locks available" },
    Row { number: libc::ENOSYS, name: "ENOSYS", text: "function not implemented" },
    Row { number: libc::ENOTEMPTY, name: "ENOTEMPTY", text: "directory not empty" },
    Row { number: libc::ELOOP, name: "ELOOP", text: "too many levels of symbolic links" },
    Row { number: libc::ENOMSG, name: "ENOMSG", text: "no message of desired type" },
    Row { number: libc::EIDRM, name: "EIDRM", text: "identifier removed" },
    Row { number: libc::ECHRNG, name: "ECHRNG", text: "channel number out of range" },
    Row { number: libc::EL2NSYNC, name: "EL2NSYNC", text: "level 2 not synchronized" },
    Row { number: libc::EL3HLT, name: "EL3HLT", text: "level 3 halted" },
    Row { number: libc::EL3RST, name: "EL3RST", text: "level 3 reset" },
    Row { number: libc::ELNRNG, name: "ELNRNG", text: "link number out of range" },
    Row { number: libc::EUNATCH, name: "EUNATCH", text: "protocol driver not attached" },
    Row { number: libc::ENOCSI, name: "ENOCSI", text: "no CSI structure available" },
    Row { number: libc::EL2HLT, name: "EL2HLT", text: "level 2 halted" },
    Row { number: libc::EBADE, name: "EBADE", text: "invalid exchange" },
    Row { number: libc::EBADR, name: "EBADR", text: "invalid request descriptor" },
    Row { number: libc::EXFULL, name: "EXFULL", text: "exchange full" },
    Row { number: libc::ENOANO, name: "ENOANO", text: "no anode" },
    Row { number: libc::EBADRQC, name: "EBADRQC", text: "invalid request code" },
    Row { number: libc::EBADSLT, name: "EBADSLT", text: "invalid slot" },
    Row { number: libc::EBFONT, name: "EBFONT", text: "bad font file format" },
    Row { number: libc::ENOSTR, name: "ENOSTR", text: "device not a stream" },
    Row { number: libc::ENODATA, name: "ENODATA", text: "no data available" },
    Row { number: libc::ETIME, name: "ETIME", text: "timer expired" },
    Row { number: libc::ENOSR, name: "ENOSR", text: "out of streams resources" },
    Row { number: libc::ENONET, name: "ENONET", text: "machine is not on the network" },
    Row { number: libc::ENOPKG, name: "ENOPKG", text: "package not installed" },
    Row { number: libc::EREMOTE, name: "EREMOTE", text: "object is remote" },
    Row { number: libc::ENOLINK, name: "ENOLINK", text: "link has been severed" },
    Row { number: libc::EADV, name: "EADV", text: "advertise error" },
    Row { number: libc::ESRMNT, name: "ESRMNT", text: "srmount error" },
    Row { number: libc::ECOMM, name: "ECOMM", text: "communication error on send" },
    Row { number: libc::EPROTO, name: "EPROTO", text: "protocol error" },
    Row { number: libc::EMULTIHOP, name: "EMULTIHOP", text: "multihop attempted" },
    Row { number: libc::EDOTDOT, name: "EDOTDOT", text: "RFS specific error" },
    Row { number: libc::EBADMSG, name: "EBADMSG", text: "bad message" },
    Row { number: libc::EOVERFLOW, name: "EOVERFLOW", text: "value too large for defined data type" },
    Row { number: libc::ENOTUNIQ, name: "ENOTUNIQ", text: "name not unique on network" },
    Row { number: libc::EBADFD, name: "EBADFD", text: "file descriptor in bad state" },
    Row { number: libc::EREMCHG, name: "EREMCHG", text: "remote address changed" },
    Row { number: libc::ELIBACC, name: "ELIBACC", text: "can not access a needed shared library" },
    Row { number: libc::ELIBBAD, name: "ELIBBAD", text: "accessing a corrupted shared library" },
    Row { number: libc::ELIBSCN, name: "ELIBSCN", text: ".lib section in a.out corrupted" },
    Row { number: libc::ELIBMAX, name: "ELIBMAX", text: "attempting to link in too many shared libraries" },
    Row { number: libc::ELIBEXEC, name: "ELIBEXEC", text: "cannot exec a shared library directly" },
    Row { number: libc::EILSEQ, name: "EILSEQ", text: "invalid or incomplete multibyte or wide character" },
    Row { number: libc::ERESTART, name: "ERESTART", text: "interrupted system call should be restarted" },
    Row { number: libc::ESTRPIPE, name: "ESTRPIPE", text: "streams pipe error" },
    Row { number: libc::EUSERS, name: "EUSERS", text: "too many users" },
    Row { number: libc::ENOTSOCK, name: "ENOTSOCK", text: "socket operation on non-socket" },
    Row { number: libc::EDESTADDRREQ, name: "EDESTADDRREQ", text: "destination address required" },
    Row { number: libc::EMSGSIZE, name: "EMSGSIZE", text: "message too long" },
    Row { number: libc::EPROTOTYPE, name: "EPROTOTYPE", text: "protocol wrong type for socket" },
    Row { number: libc::ENOPROTOOPT, name: "ENOPROTOOPT", text: "protocol not available" },
    Row { number: libc::EPROTONOSUPPORT, name: "EPROTONOSUPPORT", text: "protocol not supported" },
    Row { number: libc::ESOCKTNOSUPPORT, name: "ESOCKTNOSUPPORT", text: "socket type not supported" },
    Row { number: libc::EOPNOTSUPP, name: "EOPNOTSUPP", text: "operation not supported" },
    Row { number: libc::EPFNOSUPPORT, name: "EPFNOSUPPORT", text: "protocol family not supported" },
    Row {
        number: libc::EAFNOSUPPORT,
        name: "EAFNOSUPPORT",
        text: "address family not supported by protocol",
    },
    Row { number: libc::EADDRINUSE, name: "EADDRINUSE", text: "address already in use" },
    Row { number: libc::EADDRNOTAVAIL, name: "EADDRNOTAVAIL", text: "cannot assign requested address" },
    Row { number: libc::ENETDOWN, name: "ENETDOWN", text: "network is down" },
    Row { number: libc::ENETUNREACH, name: "ENETUNREACH", text: "network is unreachable" },
    Row { number: libc::ENETRESET, name: "ENETRESET", text: "network dropped connection on reset" },
    Row { number: libc::ECONNABORTED, name: "ECONNABORTED", text: "software caused connection abort" },
    Row { number: libc::ECONNRESET, name: "ECONNRESET", text: "connection reset by peer" },
    Row { number: libc::ENOBUFS, name: "ENOBUFS", text: "no buffer space available" },
    Row { number: libc::EISCONN, name: "EISCONN", text: "transport endpoint is already connected" },
    Row { number: libc::ENOTCONN, name: "ENOTCONN", text: "transport endpoint is not connected" },
    Row { number: libc::ESHUTDOWN, name: "ESHUTDOWN", text: "cannot send after transport endpoint shutdown" },
    Row { number: libc::ETOOMANYREFS, name: "ETOOMANYREFS", text: "too many references: cannot splice" },
    Row { number: libc::ETIMEDOUT, name: "ETIMEDOUT", text: "connection timed out" },
    Row { number: libc::ECONNREFUSED, name: "ECONNREFUSED", text: "connection refused" },
    Row { number: libc::EHOSTDOWN, name: "EHOSTDOWN", text: "host is down" },
    Row { number: libc::EHOSTUNREACH, name: "EHOSTUNREACH", text: "no route to host" },
    Row { number: libc::EALREADY, name: "EALREADY", text: "operation already in progress" },
    Row { number: libc::EINPROGRESS, name: "EINPROGRESS", text: "operation now in progress" },
    Row { number: libc::ESTALE, name: "ESTALE", text: "stale file handle" },
    Row { number: libc::EUCLEAN, name: "EUCLEAN", text: "structure needs cleaning" },
    Row { number: libc::ENOTNAM, name: "ENOTNAM", text: "not a XENIX named type file" },
    Row { number: libc::ENAVAIL, name: "ENAVAIL", text: "no XENIX semaphores available" },
    Row { number: libc::EISNAM, name: "EISNAM", text: "is a named type file" },
    Row { number: libc::EREMOTEIO, name: "EREMOTEIO", text: "remote I/O error" },
    Row { number: libc::EDQUOT, name: "EDQUOT", text: "disk quota exceeded" },
    Row { number: libc::ENOMEDIUM, name: "ENOMEDIUM", text: "no medium found" },
    Row { number: libc::EMEDIUMTYPE, name: "EMEDIUMTYPE", text: "wrong medium type" },
    Row { number: libc::ECANCELED, name: "ECANCELED", text: "operation canceled" },
    Row { number: libc::ENOKEY, name: "ENOKEY", text: "required key not available" },
    Row { number: libc::EKEYEXPIRED, name: "EKEYEXPIRED", text: "key has expired" },
    Row { number: libc::EKEYREVOKED, name: "EKEYREVOKED", text: "key has been revoked" },
    Row { number: libc::EKEYREJECTED, name: "EKEYREJECTED", text: "key was rejected by service" },
    Row { number: libc::EOWNERDEAD, name: "EOWNERDEAD", text: "owner died" },
    Row { number: libc::ENOTRECOVERABLE, name: "ENOTRECOVERABLE", text: "state not recoverable" },
    Row { number: libc::ERFKILL, name: "ERFKILL", text: "operation not possible due to RF-kill" },
    Row { number: libc::EHWPOISON, name: "EHWPOISON", text: "memory page has hardware error" },
];

/// The row of error `number`.
fn find(number: i32) -> Option<&'static Row> {
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
