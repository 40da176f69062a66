//! Host paths inside: which are mounted, who owns new files, and which are refused.

use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Duration;

use super::{open, picture, project, run_in};
use crate::harness::{Need, Sandbox, case};

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap];

#[case(ROOT)]
fn what_is_written_belongs_to_the_owner() {
    owner(None);
}

#[case(Root, Userns, IdmapTmpfs)]
fn so_it_does_on_a_tmpfs() {
    owner(Some("/dev/shm"))
}

#[case(ROOT)]
fn the_most_specific_path_wins() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    std::fs::create_dir_all(dir.join("a/b/c")).expect("mkdir");
    std::fs::write(dir.join("a/b/hidden"), "x").expect("write");
    std::fs::write(dir.join("a/b/c/shown"), "y").expect("write");
    let script = "cat a/b/c/shown; ls a/b; touch a/new && echo a; touch a/b/new 2>/dev/null && echo b; \
                  touch a/b/c/new 2>/dev/null && echo c; touch new 2>/dev/null && echo top";
    // The order of the options does not matter.
    for args in
        [["--hide", "a/b", "--rw", "a", "--ro", "a/b/c"], ["--ro", "a/b/c", "--rw", "a", "--hide", "a/b"]]
    {
        let out = run_in(&sb, &dir).arg("-q").args(args).args(["--", "sh", "-c", script]).output();
        assert_eq!(out.stdout, "yc\na\n", "{out}");
        std::fs::remove_file(dir.join("a/new")).expect("what was written");
    }
    // For equal paths hide wins over ro, and ro over rw.
    let out = run_in(&sb, &dir).args(["--rw", "a", "--ro", "a", "--", "touch", "a/x"]).output();
    out.exits(1).says("Read-only");
    let out =
        run_in(&sb, &dir).args(["--ro", ".", "--hide", "a", "--ro", "a", "--", "ls", "a"]).output().ok();
    assert_eq!(out.stdout, "");
    for missing in ["--ro", "--rw", "--hide"] {
        run_in(&sb, &dir).args([missing, "nowhere", "--", "true"]).output().exits(125).says("no such file");
    }
    run_in(&sb, &dir).args(["--hide", "/var/lib", "--", "true"]).output().exits(125).says("nothing to hide");
    sb.leak_check();
}

/// A directory that was named by mistake: no mount point is made in it.
#[case(ROOT)]
fn a_directory_without_the_program_stays_as_it_is() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let rootfs = sb.rootfs();
    for (place, program, says) in [
        (
            &dir,
            &["--", "nosuch"] as &[&str],
            "exec: \"nosuch\": executable file not found in $PATH (of --rootfs ",
        ),
        (&dir, &[], "exec: \"/bin/sh\": stat /bin/sh: no such file or directory (of --rootfs "),
        (&rootfs, &["--", "/bin/nosuch"], "exec: \"/bin/nosuch\": stat /bin/nosuch: no such file"),
    ] {
        let before = picture(place);
        let out = run_in(&sb, place).args(["--rootfs", "."]).args(program).output();
        assert_eq!(picture(place), before, "{out}");
        out.exits(127).says(says);
        sb.leak_check();
    }
    // The program may come with a mount.
    let bin = format!("{}:/opt", rootfs.join("bin").display());
    let call = run_in(&sb, &dir).args(["--rootfs", ".", "-v", &bin, "--", "/opt/busybox", "echo", "found"]);
    call.output().ok().prints("found");
    sb.leak_check();
}

fn owner(below: Option<&str>) {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let temp = below.map(|place| {
        tempfile::Builder::new().prefix("safebox-owner-").tempdir_in(place).expect("a directory")
    });
    let out_dir = temp.as_ref().map_or(dir.join("out"), |t| t.path().join("out"));
    std::fs::create_dir(&out_dir).expect("mkdir");
    std::os::unix::fs::chown(&out_dir, Some(4321), Some(5432)).expect("chown");
    if let Some(temp) = &temp {
        open(temp.path());
    }
    let path = out_dir.to_string_lossy().into_owned();
    let script = "cd \"$0\" && echo x > made && mkdir d && stat -c %u:%g . made d";
    let out = run_in(&sb, &dir).args(["--rw", &path, "--", "sh", "-c", script, &path]).output().ok();
    assert_eq!(out.stdout, "65532:65532\n".repeat(3), "{out}");
    for made in ["made", "d"] {
        let meta = std::fs::metadata(out_dir.join(made)).expect("what was written");
        assert_eq!((meta.uid(), meta.gid()), (4321, 5432), "{made}");
    }
    // Another user's files there have the overflow id inside.
    std::fs::write(out_dir.join("root"), "r").expect("write");
    let out =
        run_in(&sb, &dir).args(["--rw", &path, "--", "sh", "-c", "echo y > \"$0/root\"", &path]).output();
    assert_ne!(out.code, 0, "{out}");
    sb.leak_check();
}

/// A writable directory on a file system that `mount` mounts at "$0": what is written there belongs to the caller.
fn volume_on(mount: &str) {
    let sb = Sandbox::new();
    let place = sb.dir().join("mounted");
    std::fs::create_dir(&place).expect("a directory");
    let script = format!("{mount} && mkdir \"$0/data\" && cd \"$0\" && \"$@\" && stat -c %u:%g data/made");
    let call = sb.under(&["unshare", "--mount", "sh", "-e", "-c", &script, &place.to_string_lossy()]);
    let inside = "echo x >data/made && stat -c %u:%g data/made";
    let call = call.args(["run", "-q", "--name", sb.id(), "--rw", "data", "--", "sh", "-c", inside]);
    let out = call.limit(Duration::from_secs(60)).output().ok();
    assert_eq!(out.stdout, "65532:65532\n0:0\n", "{mount}: {out}");
    sb.leak_check();
}

/// A new file system of this kind in an image; its loop device goes with the mount.
fn volume_in_image(make: &str) {
    volume_on(&format!(
        "truncate -s 320M \"$0.img\"; {make} \"$0.img\" >/dev/null 2>&1; mount -o loop \"$0.img\" \"$0\""
    ));
}

#[case(Root, Userns, Idmap, Program("mkfs.ext4"), File("/dev/loop-control"))]
fn a_volume_on_ext4_belongs_to_the_caller() {
    volume_in_image("mkfs.ext4 -q");
}

#[case(Root, Userns, Idmap, Program("mkfs.xfs"), File("/dev/loop-control"))]
fn a_volume_on_xfs_belongs_to_the_caller() {
    volume_in_image("mkfs.xfs -q");
}

#[case(Root, Userns, Idmap, Program("mkfs.btrfs"), File("/dev/loop-control"))]
fn a_volume_on_btrfs_belongs_to_the_caller() {
    volume_in_image("mkfs.btrfs -q");
}

#[case(Root, Userns, Idmap, IdmapTmpfs)]
fn a_volume_on_tmpfs_belongs_to_the_caller() {
    volume_on("mount -t tmpfs tmpfs \"$0\"");
}

/// overlayfs and ramfs cannot be idmapped.
#[case(ROOT)]
fn a_file_system_that_cannot_be_idmapped_is_an_error() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let place = dir.join("sub").to_string_lossy().into_owned();
    let script = "mount -t ramfs ramfs \"$0\" && cd \"$0/..\" && exec \"$@\"";
    let call = sb.under(&["unshare", "--mount", "sh", "-c", script, &place]);
    let out = call.args(["run", "--name", sb.id(), "--rw", &place, "--", "true"]).output();
    out.exits(125).says("(ramfs) cannot be idmapped").says("--allow host-user");
    let layers = "mount -t tmpfs t \"$0\" && mkdir \"$0/l\" \"$0/u\" \"$0/w\" \"$0/m\" && \
                  mount -t overlay o -o lowerdir=\"$0/l\",upperdir=\"$0/u\",workdir=\"$0/w\" \"$0/m\" && cd \"$0/..\" && exec \"$@\"";
    let call = sb.under(&["unshare", "--mount", "sh", "-c", layers, &place]);
    let out = call.args(["run", "--name", sb.id(), "--rw", &format!("{place}/m"), "--", "true"]).output();
    out.exits(125).says("(overlay) cannot be idmapped").says("--allow host-user");
    sb.leak_check();
}

/// A directory of `mktemp -d`, as root.
#[case(ROOT)]
fn a_closed_directory_can_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let sb = Sandbox::new();
    let dir = project(&sb);
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).expect("chmod");
    let out = run_in(&sb, &dir).args(["--", "sh", "-c", "cat file; touch x"]).output();
    assert_eq!(out.stdout, "project\n", "{out}");
    out.exits(1).says("Read-only").says(&format!("reads {} as its owner", dir.display()));
    sb.leak_check();
}

#[case(ROOT)]
fn no_setuid_file_is_left_in_a_volume() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let script = "cp /bin/true sub/t && chmod 755 sub/t && ! chmod u+s sub/t && ! chmod g+s sub/t && \
                  ! install -m 4755 /bin/true sub/u; umask 0; stat -c %a sub/t";
    let out = run_in(&sb, &dir).args(["--rw", "sub", "--", "sh", "-c", script]).output().ok();
    assert_eq!(out.stdout, "755\n", "{out}");
    for file in std::fs::read_dir(dir.join("sub")).expect("readdir").flatten() {
        assert_eq!(file.metadata().expect("stat").mode() & 0o6000, 0, "{file:?}");
    }
    sb.leak_check();
}

#[case(ROOT)]
fn sources_that_give_the_host_away_are_refused() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    symlink("/proc", dir.join("link")).expect("symlink");
    let socket = dir.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bind");
    let (socket, state) = (socket.to_string_lossy().into_owned(), sb.root().to_string_lossy().into_owned());
    std::fs::create_dir_all(sb.root()).expect("mkdir");
    for source in
        ["/", "/etc", "/proc", "/proc/sys", "/sys", "/dev", "/boot", "link", "/run", &socket, &state]
    {
        if !std::path::Path::new(source).exists() && source != "link" {
            continue;
        }
        run_in(&sb, &dir).args(["--ro", source, "--", "true"]).output().exits(125).says("--ro ");
        let volume = format!("{}:/x", if source == "link" { "./link" } else { source });
        run_in(&sb, &dir).args(["-v", &volume, "--", "true"]).output().exits(125).says("--volume ");
    }
    // The advice is what works.
    for (source, below) in [("/proc/sys", false), ("/sys/kernel", false), ("/dev/shm", true), ("/etc", true)]
    {
        let out = run_in(&sb, &dir).args(["--ro", source, "--", "true"]).output().exits(125);
        assert_eq!(out.stderr.contains(": name a path below it"), below, "{source}: {out}");
    }
    sb.leak_check();
}

#[case(ROOT)]
fn volumes_are_read_only_unless_said() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let (ro, rw) = (format!("{}:/data/in", dir.display()), "./sub:/data/out:rw");
    let script = "cat in/file; touch in/x 2>/dev/null && echo ro; touch out/x && echo rw; stat -f -c %T /mem";
    let args = [
        "-v",
        &ro,
        "-v",
        rw,
        "-w",
        "/data",
        "--mount",
        "type=tmpfs,dst=/mem,tmpfs-size=1m",
        "--",
        "sh",
        "-c",
    ];
    let out = run_in(&sb, &dir).args(args).arg(script).output().ok();
    assert_eq!(out.stdout, "project\nrw\ntmpfs\n", "{out}");
    out.says("is writable at /data/out");
    // The same in a bundle and in a directory.
    let sb = sb.sh("cat /mnt/file; touch /mnt/x");
    let volume = format!("{}:/mnt", dir.display());
    let out = sb.run().args(["-v", &volume]).output().exits(1);
    assert_eq!(out.stdout, "project\n", "{out}");
    let rootfs = sb.rootfs().to_string_lossy().into_owned();
    let args = ["--rootfs", &rootfs, "-v", &volume, "--", "/bin/cat", "/mnt/file"];
    run_in(&sb, &dir).args(args).output().ok().prints("project");
    sb.leak_check();
}

#[case(ROOT)]
fn no_mount_point_is_made_in_a_volume() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let before = picture(&dir);
    let inside = format!("./sub:{}/new", dir.display());
    let out = run_in(&sb, &dir).args(["--rw", ".", "-v", &inside, "--", "true"]).output();
    out.exits(125).says("nothing is created on the host");
    assert_eq!(picture(&dir), before);
    sb.leak_check();
}
