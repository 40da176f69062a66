//! Probes in a child process which namespace operations this process may do. The probe leaves nothing behind.

use super::{Errno, SysResult, fs, mount, process};

/// The results in order; `None` means success.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// unshare(2) of a user, a mount and a pid namespace.
    pub user: Option<Errno>,
    /// fsopen(2) and fsmount(2) of a tmpfs in them, and pivot_root(2): a security module or a filter may allow the
    /// namespace but no mounts in it.
    pub mount: Option<Errno>,
    /// A procfs of the new pid namespace: the kernel refuses it if parts of the visible procfs are covered.
    pub proc: Option<Errno>,
    /// A sysfs of a new network namespace: refused for the same reason.
    pub sys: Option<Errno>,
    /// sethostname(2) in a new uts namespace: the filters of some engines refuse it.
    pub hostname: Option<Errno>,
}

/// Exit code of a child that was killed by SIGKILL, as the kernel does where memory ends.
const KILLED: u8 = 128 + libc::SIGKILL as u8;

/// Runs the probe. The runtime must be single-threaded.
pub fn namespaces() -> SysResult<Namespaces> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let (r, w) = (std::os::fd::AsRawFd::as_raw_fd(&read), std::os::fd::AsRawFd::as_raw_fd(&write));
    let child = process::fork_run(|| {
        let answers = tried();
        let bytes = answers.map(|errno| u8::try_from(errno).unwrap_or(u8::MAX));
        i32::from(fs::write_all(w, &bytes).is_err())
    })?;
    drop(write);
    let mut bytes = [libc::EIO as u8; 5];
    let n = fs::read(r, &mut bytes);
    process::wait(child, 0)?;
    if n? != bytes.len() {
        return Err(Errno::EIO);
    }
    // What fails for want of processes or memory says nothing of this machine: no layer is left out for it.
    const SHORTAGE: [i32; 4] = [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE];
    if let Some(short) = bytes.iter().find(|b| SHORTAGE.contains(&(**b).into()) || **b == KILLED) {
        return Err(if *short == KILLED { Errno::ENOMEM } else { Errno::from_raw((*short).into()) });
    }
    let [user, mount, proc, sys, hostname] = bytes.map(|b| (b != 0).then(|| Errno::from_raw(b.into())));
    Ok(Namespaces { user, mount, proc, sys, hostname })
}

/// Five errnos, 0 for success. An operation that was not tried has the errno of the failure before it.
fn tried() -> [i32; 5] {
    let number = |done: SysResult<()>| done.err().map_or(0, |e| e as i32);
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID;
    let user = number(process::unshare(flags as u64));
    if user != 0 {
        return [user; 5];
    }
    let tmpfs = number(new_mount(c"tmpfs").and_then(|()| mount::may_pivot()));
    if tmpfs != 0 {
        return [0, tmpfs, tmpfs, tmpfs, tmpfs];
    }
    // unshare(2) puts only future children into the pid namespace.
    let child = process::fork_run(|| number(new_mount(c"proc")));
    let proc = match child.and_then(|pid| process::wait(pid, 0)) {
        Ok(Some((_, exit))) => exit.code(),
        Ok(None) => libc::ECHILD,
        Err(e) => e as i32,
    };
    let net = libc::CLONE_NEWNET as u64;
    let sys = number(process::unshare(net).and_then(|()| new_mount(c"sysfs")));
    let uts = libc::CLONE_NEWUTS as u64;
    let hostname = number(process::unshare(uts).and_then(|()| process::sethostname(b"safebox")));
    [0, 0, proc, sys, hostname]
}

fn new_mount(fs_type: &std::ffi::CStr) -> SysResult<()> {
    let context = mount::fsopen(fs_type)?;
    mount::fsconfig_create(context)?;
    mount::fsmount(context, 0).map(fs::close)
}
