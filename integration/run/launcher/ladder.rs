//! The ladder: a run without some layers, its warnings, and `doctor`.

use libtest_mimic::Trial;

use super::{project, run_in};
use crate::harness::{Call, Need, Sandbox, test};

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap];

pub fn tests() -> Vec<Trial> {
    vec![
        test("launcher::without_namespaces_landlock_guards_files", ROOT, bare),
        test("launcher::without_namespaces_nothing_is_left", ROOT, orphans),
        test("launcher::a_required_layer_is_an_error", ROOT, required),
        test("launcher::a_covered_proc_is_shared", ROOT, shared_proc),
        test("launcher::landlock_guards_what_the_mounts_let", ROOT, second_guard),
        test("launcher::doctor_tells_the_rung", ROOT, doctor),
    ]
}

/// The runtime without the ability to create user namespaces, and without capabilities.
pub(super) fn without_namespaces(sb: &Sandbox, dir: &std::path::Path) -> Call {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"";
    let dir = dir.to_path_buf();
    let call = sb.under(&["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]);
    call.with(move |c| {
        c.current_dir(dir);
    })
}

fn bare() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    std::fs::write(sb.dir().join("outside"), "outside\n").expect("write");
    let script = "cat file; cat ../outside; ls /home; echo x > sub/new && echo written; echo y > file; \
                  grep -E 'NoNewPrivs|Seccomp:|CapEff' /proc/self/status; /bin/true && echo ran";
    let call = without_namespaces(&sb, &dir).args([
        "run",
        "-q",
        "--name",
        sb.id(),
        "--rw",
        "sub",
        "--",
        "sh",
        "-c",
        script,
    ]);
    let out = call.output().ok();
    let expect = "project\nwritten\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nran\n";
    assert_eq!(out.stdout, expect, "{out}");
    for says in [
        "weaker: ladder: no mount-namespace: only Landlock protects the files of this machine outside the shown paths",
        "weaker: ladder: no network-namespace",
        "../outside: Permission denied",
        "file: Permission denied",
    ] {
        assert!(out.stderr.contains(says), "{says}\n{out}");
    }
    let connect = "import socket; socket.socket(socket.AF_UNIX); socket.socket(socket.AF_INET)";
    let call = without_namespaces(&sb, &dir).args([
        "run",
        "-q",
        "--name",
        sb.id(),
        "--",
        "/usr/bin/python3",
        "-c",
        connect,
    ]);
    call.output().exits(1).says("Address family not supported");
    let call = without_namespaces(&sb, &dir).args(["run", "--name", sb.id(), "--tmpfs", "/x", "--", "true"]);
    call.output().exits(125).says("needs a mount namespace");
    sb.leak_check();
}

fn orphans() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let script = "(setsid sh -c 'sleep 300; true' &) ; (sleep 301 &) ; echo started";
    let call = without_namespaces(&sb, &dir).args(["run", "-q", "--name", sb.id(), "--", "sh", "-c", script]);
    call.output().ok().prints("started");
    sb.leak_check();
}

fn required() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    run_in(&sb, &dir).args(["--require", "user-namespace,mount-namespace", "--", "true"]).output().ok();
    let call = without_namespaces(&sb, &dir).args([
        "run",
        "--name",
        sb.id(),
        "--require",
        "mount-namespace",
        "--",
        "true",
    ]);
    call.output().exits(125).says("--require mount-namespace: ").says("sysctl -w user.max_user_namespaces");
    sb.leak_check();
}

/// A container that covers a part of /proc, as all containers do.
fn shared_proc() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    // Mounts of the outer namespace are locked in the inner one (mount_namespaces(7)).
    // The kernel allows a new procfs where any other one is fully visible, such as a chroot's.
    let script = "while read -r _ at type _; do \
                  if [ \"$type\" = proc ] && [ \"$at\" != /proc ]; then umount -l \"$at\"; fi; done </proc/self/mounts; \
                  mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && \
                  exec unshare --user --map-root-user --mount \"$@\"";
    let words = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh"];
    let call = sb.under(&words).args([
        "run",
        "-q",
        "--name",
        sb.id(),
        "--",
        "sh",
        "-c",
        "cat file; ls -d /proc/self /home; kill -0 1 && echo reaches process 1; kill -0 $$ && echo itself",
    ]);
    let out = call
        .with(move |c| {
            c.current_dir(dir);
        })
        .output();
    assert_eq!(out.stdout, "project\n/proc/self\nitself\n", "{out}");
    out.says("weaker: ladder: no pid-namespace");
    sb.leak_check();
}

/// A descriptor of a host directory that was passed to the program by mistake.
fn second_guard() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let out = run_in(&sb, &dir).args(["--verbose", "--", "true"]).output().ok();
    out.says("landlock: ABI ");
    let out = sb
        .runtime()
        .args(["explain", "--", "true"])
        .with(move |c| {
            c.current_dir(dir);
        })
        .output()
        .ok();
    assert!(out.stdout.contains("landlock_restrict_self(ABI "), "{out}");
}

fn doctor() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let out = sb.runtime().arg("doctor").output();
    assert!(out.stdout.starts_with("rung: all namespaces\n"), "{out}");
    let out = without_namespaces(&sb, &dir).args(["doctor", "--format", "json"]).output().exits(1);
    let report: serde_json::Value = serde_json::from_str(&out.stdout).expect("JSON");
    assert_eq!(report["rung"], "landlock, no_new_privs and seccomp only", "{out}");
    let layers = report["layers"].as_array().expect("layers");
    let user = layers.iter().find(|l| l["name"] == "user-namespace").expect("the layer");
    assert_eq!(
        (&user["ok"], &user["remedy"]),
        (&false.into(), &"sysctl -w user.max_user_namespaces=15000".into())
    );
}
