//! Which limits of getrlimit(2) grant something.

/// Whether a limit of this resource permits something that init's own rows may need.
pub fn grants(resource: u32) -> bool {
    matches!(resource, libc::RLIMIT_NICE | libc::RLIMIT_RTPRIO)
}
