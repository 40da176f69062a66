//! Lesson 5: a path inside a container is an attack. `rootfs/etc` may be a link to the host's /etc; open(2)
//! follows it out, openat2(2) with RESOLVE_IN_ROOT treats the rootfs as `/` and cannot leave.
//!
//! `cargo run --example 05_openat2` (any user)

use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;

use safebox::sys::fs;

fn main() -> std::io::Result<()> {
    let dir = std::env::temp_dir().join(format!("lesson-{}", std::process::id()));
    std::fs::create_dir_all(dir.join("rootfs/real"))?;
    std::fs::write(dir.join("rootfs/real/hostname"), "a file of the container\n")?;
    symlink("/etc", dir.join("rootfs/absolute"))?;
    symlink("../../../../../../etc", dir.join("rootfs/dots"))?;
    symlink("/proc/self/root/etc", dir.join("rootfs/magic"))?;
    symlink("real", dir.join("rootfs/honest"))?;

    let rootfs = std::fs::File::open(dir.join("rootfs"))?;
    for link in ["absolute", "dots", "magic", "honest"] {
        let path = format!("{link}/hostname");
        let naive = std::fs::read_to_string(dir.join("rootfs").join(&path));
        println!("{path}\n  open:    {}", show(naive.map_err(|e| e.to_string())));

        let resolve = fs::RESOLVE_IN_ROOT | fs::RESOLVE_NO_MAGICLINKS;
        let c_path = CString::new(path).expect("no NUL in it");
        let fd = fs::openat2(rootfs.as_raw_fd(), &c_path, libc::O_RDONLY | libc::O_CLOEXEC, 0, resolve);
        let safe = fd.map_err(|e| e.to_string()).and_then(|fd| {
            std::io::read_to_string(std::fs::File::from(fs::own(fd))).map_err(|e| e.to_string())
        });
        println!("  openat2: {}", show(safe));
    }
    std::fs::remove_dir_all(dir)
}

fn show(text: Result<String, String>) -> String {
    match text {
        Ok(text) => format!("read {:?}", text.trim()),
        Err(e) => format!("refused: {e}"),
    }
}
