//! The lessons finish within seconds, as root and as an unprivileged user, print their results, and leave no
//! temporary files.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::harness::carried::{carried, copy_program, examples, lesson, slowed};
use crate::harness::needs::NOBODYS;
use crate::harness::{Need, case};

/// A lesson about the kernel: its name, its output, and the output for an unprivileged user if that differs.
type Lesson = (&'static str, &'static [&'static str], Option<&'static [&'static str]>);

const KERNEL: [Lesson; 13] = [
    ("01_namespaces", &["child: uid 65534, host name inside"], None),
    (
        "02_pid1",
        &["I am process 1,", "it did not end", "my parent is process 1 now", "Cannot allocate memory"],
        None,
    ),
    (
        "03_mounts",
        &[
            "below a private mount the child's mount is not seen",
            "below a shared  mount the child's mount is seen here",
            "/ has 1 entry after pivot_root: Some(Ok(DirEntry(\"/hello\")))",
        ],
        None,
    ),
    (
        "04_idmaps",
        &[
            "without a map I am 65534",
            "`inside` belongs to 0",
            "refused: Invalid argument",
            "`inside` belongs to 100000",
        ],
        Some(&[
            "without a map I am 65534",
            "`inside` belongs to 0",
            "refused: Invalid argument",
            "`inside` belongs to 54321",
        ]),
    ),
    (
        "05_capabilities",
        &[
            "needs CAP_SYS_CHROOT: done",
            "uid 0, CapEff: 0000000000000000",
            "needs CAP_SYS_CHROOT: refused: EPERM",
        ],
        None,
    ),
    (
        "06_cgroups",
        &["it ended with signal: 9 (SIGKILL)", ": oom_kill 1"],
        Some(&["this lesson needs a cgroup that it may write to"]),
    ),
    ("07_seccomp", &["before: uname(2) says \"Linux\"", "after:  uname(2) refused: EPERM"], None),
    (
        "08_descriptors",
        &[
            "open(\"/tmp/secret\"):     refused",
            "\"secret\"):     read \"the host's secret\"",
            "at /, open(\"secret\"):     refused",
        ],
        None,
    ),
    (
        "09_symlinks",
        &[
            "open                     read \"the host's file\"",
            "RESOLVE_BENEATH  refused: Invalid cross-device link",
            "RESOLVE_IN_ROOT  read \"the container's file\"",
        ],
        None,
    ),
    ("10_network", &["connect to 127.0.0.1: refused: Network is unreachable"], None),
    ("11_overlay", &["you saw:"], None),
    ("12_landlock", &["before, read /etc/passwd: done"], None),
    (
        "17_volumes",
        &[
            "view`, idmapped: 100000",
            "touch data/a: refused",
            "touch view/b: done",
            "`data/b` belongs to 1000",
        ],
        Some(&["touch data/b: done", "belongs to 0; on the disk to 54321"]),
    ),
];

/// Lessons that read safebox's own tables, with their arguments; DIR is the bundle `hello`.
const SAFEBOX: [(&str, &[&str], &str); 4] = [
    ("13_seccomp_table", &["SYS_PTRACE"], "instructions without capabilities"),
    ("14_plan", &["DIR"], "without its last row: "),
    ("15_policy", &["root", "proc"], "Restricted changes "),
    ("16_baton", &[], "the peer's row 4 fails"),
];

#[case]
fn each_has_a_test_sixty_lines_and_an_ending() {
    let names = KERNEL.iter().map(|l| l.0).chain(SAFEBOX.iter().map(|l| l.0));
    let mut listed: Vec<_> = names.map(|name| format!("{name}.rs")).collect();
    listed.push("lib.rs".into());
    let readme = std::fs::read_to_string(examples().join("README.md")).expect("examples/README.md");
    let mut found = Vec::new();
    for path in std::fs::read_dir(examples()).expect("examples").flatten().map(|e| e.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.ends_with(".rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a lesson");
        if name != "lib.rs" {
            assert!(text.lines().count() <= 60, "{name} has more than 60 lines");
            assert!(text.contains("you saw:  ") && text.contains("\ntry next: "), "{name} has no ending");
            assert!(readme.contains(&format!("({name})")), "{name} is not in examples/README.md");
        }
        found.push(name);
    }
    found.sort();
    listed.sort();
    assert_eq!(found, listed);
}

/// Builds the lessons about the kernel if cargo is available: `cargo test` builds this package alone.
fn built() -> Duration {
    static TIME: LazyLock<Duration> = LazyLock::new(|| {
        if carried("examples").is_some() {
            return Duration::ZERO;
        }
        let start = Instant::now();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--offline", "--package", "lessons"]);
        let out = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("run cargo");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        start.elapsed()
    });
    *TIME
}

#[case(Root, Userns, KernelLessons)]
fn the_kernel_s_show_what_they_are_about() {
    for (name, prints, _) in KERNEL {
        let without = name == "17_volumes" && Need::Idmap.missing().is_some();
        run(name, 0, &[], if without { &["has no idmapped mounts (Linux 5.12)"] } else { prints });
    }
}

#[case(Root, OrdinaryUserns, KernelLessons)]
fn an_ordinary_user_runs_them() {
    for (name, prints, other) in KERNEL {
        run(name, NOBODYS, &[], other.unwrap_or(prints));
    }
}

#[case(Root, Lessons)]
fn safebox_s_show_what_they_are_about() {
    let (sb, dir) = crate::host::examples::make("hello");
    let dir = dir.to_str().expect("UTF-8");
    for (name, args, prints) in SAFEBOX {
        let args: Vec<_> = args.iter().map(|a| if *a == "DIR" { dir } else { a }).collect();
        run(name, 0, &args, &[prints]);
    }
    sb.leak_check();
}

/// Runs a lesson as `uid`, with a separate directory for temporary files.
fn run(name: &str, uid: u32, args: &[&str], prints: &[&str]) {
    built();
    let dir = tempfile::tempdir().expect("a directory");
    let (program, temp) = (dir.path().join(name), dir.path().join("tmp"));
    copy_program(&lesson(name), &program);
    std::fs::create_dir(&temp).expect("mkdir");
    open(dir.path());
    open(&temp);
    let start = Instant::now();
    let out = Command::new(&program).args(args).uid(uid).gid(uid).env("TMPDIR", &temp).output();
    let out = out.unwrap_or_else(|e| panic!("{name}: {e}"));
    let (said, complaints) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{name}: {}\n{said}{complaints}", out.status);
    assert!(start.elapsed() < slowed(Duration::from_secs(5)), "{name} took {:?}", start.elapsed());
    for text in prints.iter().chain(&["you saw:  ", "try next: "]) {
        assert!(said.contains(text), "{name} does not print {text:?}:\n{said}{complaints}");
    }
    let left: Vec<PathBuf> = std::fs::read_dir(&temp).expect("tmp").flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "{name} leaves {left:?}");
    let cgroups = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    assert!(!cgroups.contains(&*temp.to_string_lossy()), "{name} leaves a mount");
}

fn open(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o1777)).expect("chmod");
}
