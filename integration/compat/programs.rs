//! Requirements of ordinary programs under the default policy: a user name, a home, writable paths, ports,
//! system calls.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::harness::{Need, Sandbox, case};

const OWN: &[Need] = &[Need::Root, Need::Userns];

/// `run` without --quiet.
fn told(sb: &Sandbox, flags: &[&str]) -> crate::harness::process::Output {
    sb.runtime().args(["run", "--verbose"]).args(flags).arg("--bundle").arg(sb.bundle()).arg(sb.id()).output()
}

fn accounts(sb: &Sandbox, passwd: &str) {
    std::fs::create_dir_all(sb.rootfs().join("etc")).expect("etc");
    std::fs::write(sb.rootfs().join("etc/passwd"), passwd).expect("passwd");
    std::fs::write(sb.rootfs().join("etc/group"), "root:x:0:\n").expect("group");
}

const ROOT: &str = "root:x:0:0:root:/root:/bin/sh\n";

#[case(OWN)]
fn the_chosen_user_has_a_name_and_a_home() {
    let script = "id -un; id -gn; echo $HOME; echo x >$HOME/f && cat $HOME/f; stat -c %a $HOME; \
                  grep -c . /etc/passwd; (echo y >>/etc/passwd) 2>/dev/null || echo refused";
    let sb = Sandbox::new().patch("/process/env/-", json!("HOME=/root")).sh(script);
    accounts(&sb, ROOT);
    told(&sb, &[])
        .ok()
        .prints("nonroot\nnonroot\n/run/home\nx\n700\n2\nrefused\n")
        .says("home: /run/home (tmpfs 256m, nosuid, nodev, noexec)");
    let kept = std::fs::read_to_string(sb.rootfs().join("etc/passwd")).expect("passwd");
    assert_eq!(kept, ROOT, "the image was changed");
    assert!(!sb.rootfs().join("run/home").exists(), "something was made in the image");
    // exec finds the same user and home.
    let sb = Sandbox::up();
    accounts(&sb, ROOT);
    let run = sb.run_until(sb.run(), "up");
    let exec = sb.runtime().args(["exec", sb.id(), "/bin/sh", "-c", "id -un; echo $HOME; echo z >$HOME/g"]);
    exec.output().ok().prints("nonroot\n/run/home\n");
    sb.kill("KILL").ok();
    run.wait();
}

#[case(OWN)]
fn a_usable_home_of_the_config_is_kept() {
    let tmpfs = json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs" });
    let sb = Sandbox::new()
        .patch("/process/env/-", json!("HOME=/data"))
        .patch("/mounts/-", tmpfs)
        .sh("echo $HOME; grep 65532 /etc/passwd | busybox cut -d: -f6");
    accounts(&sb, "app:x:65532:1::/x:\n");
    told(&sb, &[]).ok().prints("/data\n/data\n").says("a line for app (65532)");
    // A user chosen by the caller is not changed.
    let sb = Sandbox::new().sh("cat /etc/passwd");
    accounts(&sb, ROOT);
    told(&sb, &["--user", "7"]).ok().prints(ROOT);
}

#[case(OWN)]
fn hostile_account_files_hold_nothing_up() {
    type Plant = fn(&std::path::Path);
    let plants: [Plant; 5] = [
        |p| nix::unistd::mkfifo(p, nix::sys::stat::Mode::S_IRWXU).expect("fifo"),
        |p| std::os::unix::fs::symlink("/proc/self/environ", p).expect("symlink"),
        |p| std::os::unix::fs::symlink("../../../../../etc/shadow", p).expect("symlink"),
        |p| std::fs::create_dir(p).expect("directory"),
        |p| {
            std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(p)
                .and_then(|f| f.set_len(1 << 40))
                .expect("a huge file")
        },
    ];
    for plant in plants {
        let sb = Sandbox::new().sh("echo $HOME; echo x >$HOME/f && echo written");
        std::fs::create_dir_all(sb.rootfs().join("etc")).expect("etc");
        for file in ["etc/passwd", "etc/group"] {
            match std::fs::remove_file(sb.rootfs().join(file)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => panic!("{file}: {e}"),
                _ => {}
            }
        }
        plant(&sb.rootfs().join("etc/passwd"));
        told(&sb, &[]).ok().prints("/run/home\nwritten\n").says("no line in /etc/passwd");
    }
}

#[case(OWN)]
fn exec_on_a_scratch_tmpfs_is_honoured() {
    let script = "for d in /tmp /run /var/tmp; do cp /bin/busybox $d/busybox && $d/busybox echo $d runs 2>/dev/null; done; true";
    let sb = Sandbox::new().sh(script);
    let out = told(&sb, &[]).ok().says("/tmp (tmpfs 256m, nosuid, nodev, noexec)");
    assert!(!out.stdout.contains("runs"), "{out}");
    let tmpfs = |at: &str, options: &[&str]| json!({ "destination": at, "type": "tmpfs", "source": "tmpfs", "options": options });
    let sb = Sandbox::new()
        .patch("/mounts/-", tmpfs("/tmp", &["noexec", "exec", "mode=1777"]))
        .patch("/mounts/-", tmpfs("/run", &["rexec", "size=8m", "mode=1777"]))
        .patch("/mounts/-", tmpfs("/var/tmp", &["exec", "noexec", "mode=1777"]))
        .sh(script);
    let out = told(&sb, &["--memory", "64m"]).ok().says("/tmp (tmpfs 32m, nosuid, nodev)");
    let out = out.says("programs can be executed from /tmp, /run");
    assert_eq!(out.stdout, "/tmp runs\n/run runs\n", "{out}");
}

#[case(Root, Userns, Idmap)]
fn run_begins_with_the_image_s_files() {
    let sb = Sandbox::new().sh(
        "stat -c '%u:%g %a' /run/postgresql; cat /run/motd; busybox readlink /run/link; echo x >/run/new && echo writable",
    );
    let run = sb.rootfs().join("run");
    std::fs::create_dir_all(run.join("postgresql")).expect("run");
    std::fs::write(run.join("motd"), "hello\n").expect("motd");
    std::os::unix::fs::symlink("/etc/shadow", run.join("link")).expect("symlink");
    std::os::unix::fs::chown(run.join("postgresql"), Some(101), Some(104)).expect("chown");
    std::fs::set_permissions(run.join("postgresql"), std::fs::Permissions::from_mode(0o2775)).expect("chmod");
    // Directories that cannot be created inside are skipped.
    let node = nix::sys::stat::SFlag::S_IFCHR;
    nix::sys::stat::mknod(&run.join("null"), node, nix::sys::stat::Mode::S_IRWXU, 0x103).expect("mknod");
    told(&sb, &[]).ok().prints("101:104 2775\nhello\n/etc/shadow\nwritable\n").says("with the image's files");
    assert!(!run.join("new").exists(), "the image was written to");
}

#[case(OWN)]
fn allow_acts_or_says_why_not() {
    let sb = Sandbox::new().patch("/root/readonly", json!(true)).sh("rm -f /f; echo x >/f && echo written");
    let out = told(&sb, &[]);
    assert!(out.code != 0 && !out.stdout.contains("written"), "{out}");
    std::fs::set_permissions(sb.rootfs(), std::fs::Permissions::from_mode(0o777)).expect("chmod");
    // A rootfs that every user of the host can reach does not become writable.
    std::fs::set_permissions(sb.bundle(), std::fs::Permissions::from_mode(0o700)).expect("chmod");
    told(&sb, &["--allow", "write-rootfs"]).ok().prints("written\n").says("/ can be written, as asked");
    for policy in ["baseline", "privileged"] {
        told(&sb, &["--allow", "write-rootfs", "--policy", policy])
            .says("--allow write-rootfs has no effect: ");
    }
    let sb =
        Sandbox::new().patch("/process/noNewPrivileges", json!(true)).sh("grep NoNewPrivs /proc/self/status");
    told(&sb, &["--allow", "new-privileges"]).ok().prints("NoNewPrivs:\t0\n");
    told(&sb, &["--allow", "ptrace", "--seccomp", "unconfined"]).ok().says("--allow ptrace has no effect: ");
}

#[case(OWN)]
fn ports_below_1024_are_open() {
    let sb = Sandbox::new()
        .sh("nc -l -p 80 </dev/null & sleep 0.3; grep -o ':0050 ' /proc/net/tcp /proc/net/tcp6; kill $!");
    let out = told(&sb, &[]).says("net.ipv4.ip_unprivileged_port_start=0");
    assert!(out.stdout.contains(":0050"), "{out}");
    // A value of the config is kept.
    let sb = Sandbox::new()
        .patch("/linux/sysctl", json!({ "net.ipv4.ip_unprivileged_port_start": "500" }))
        .sh("cat /proc/sys/net/ipv4/ip_unprivileged_port_start");
    told(&sb, &[]).ok().prints("500\n");
}

#[case(OWN)]
fn seccomp_allow_is_a_weakening_that_is_said() {
    let sb = Sandbox::new().sh("grep Seccomp: /proc/self/status");
    let out =
        told(&sb, &["--seccomp-allow", "userfaultfd", "--seccomp-allow", "read", "--allow", "ptrace"]).ok();
    out.prints("Seccomp:\t2")
        .says("weakened: userfaultfd runs, whatever its arguments")
        .says("--seccomp-allow read has no effect")
        .says("weakened: ptrace, ");
    told(&sb, &["--seccomp-allow", "userfaultfdd"]).says("unknown system call");
    for off in [["--policy", "privileged"], ["--seccomp", "unconfined"]] {
        told(&sb, &[&["--seccomp-allow", "mbind"][..], &off].concat()).says("is not loaded here");
    }
}

#[case(OWN)]
fn refused_calls_are_told_under_debug() {
    let sb = Sandbox::new().sh(
        "for i in 1 2 3; do mount -t tmpfs t /tmp 2>&1; swapon /etc 2>&1; done; unshare -m true; echo $?",
    );
    let run = |global: &[&str], flags: &[&str]| {
        let call = sb.runtime().args(global).arg("run").args(flags);
        call.arg("--bundle").arg(sb.bundle()).arg(sb.id()).output()
    };
    let plain = run(&[], &[]).ok();
    assert!(!plain.stderr.contains("refused with"), "{plain}");
    let log = sb.bundle().join("log");
    let debug = run(&["--debug"], &[]).ok();
    assert_eq!(debug.stdout, plain.stdout, "the same answers with and without a listener");
    let told =
        |text: &str, name: &str| text.matches(&format!("system call {name} refused with EPERM: ")).count();
    assert_eq!((told(&debug.stderr, "mount"), told(&debug.stderr, "unshare")), (1, 1), "{debug}");
    let to_file = run(&["--debug", "--log", &log.display().to_string()], &["--seccomp-allow", "mount"]).ok();
    let text = std::fs::read_to_string(&log).expect("the log");
    assert_eq!((told(&text, "mount"), told(&text, "unshare")), (0, 1), "{text}");
    assert!(!to_file.stderr.contains("refused with"), "{to_file}");
    run(&["--debug"], &["--seccomp", "unconfined"]).says("refused system calls are not reported: ");
    sb.leak_check();
}
