//! Lesson 11: an overlay merges several directories; writes go only to the upper one (overlayfs.rst).
//!
//! `cd examples && cargo run -q --bin 11_overlay` (any user, since Linux 5.11)

use std::os::unix::fs::FileTypeExt;
use std::{env, error::Error, fs, io};

use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;

fn main() -> Result<(), Box<dyn Error>> {
    lessons::become_root(CloneFlags::empty())?;
    lessons::tmpfs("/tmp")?;
    env::set_current_dir("/tmp")?;
    // Two layers of an image, one for the container; `work` is used by overlayfs itself.
    for dir in ["base", "app", "upper", "work", "merged"] {
        fs::create_dir(dir)?;
    }
    fs::write("base/os-release", "base")?;
    fs::write("base/passwd", "base")?;
    fs::write("app/passwd", "app")?;
    let data = "lowerdir=app:base,upperdir=upper,workdir=work,userxattr";
    if let Err(e) = mount(Some("overlay"), "merged", Some("overlay"), MsFlags::empty(), Some(data)) {
        println!(
            "you saw:  {e}: on this kernel an unprivileged user cannot mount an overlay (since Linux 5.11)"
        );
        println!("try next: lesson 12_landlock");
        return Ok(());
    }
    println!("mount -t overlay -o {data}\n  merged  {}", listing("merged")?);

    fs::write("merged/os-release", "changed")?; // copied up, then written
    fs::remove_file("merged/passwd")?; // a whiteout covers it
    fs::write("merged/new", "new")?;
    println!("\nafter writing os-release, removing passwd and making new:");
    for dir in ["merged", "upper", "app", "base"] {
        println!("  {dir:7} {}", listing(dir)?);
    }
    println!(
        "
you saw:  The lower layers are as before, so a hundred containers can share them. The upper layer holds copies of
          changed files, new files, and for removed ones a whiteout: a character device 0:0.
try next: mount | grep overlay on a machine with Docker; then lesson 12_landlock"
    );
    Ok(())
}

fn listing(dir: &str) -> io::Result<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (path, device) = (entry.path(), entry.file_type()?.is_char_device());
        let text = if device { "(whiteout)".into() } else { fs::read_to_string(&path)? };
        files.push(format!("{}={text}", path.file_name().unwrap_or_default().display()));
    }
    files.sort();
    Ok(files.join("  "))
}
