//! The ladder: a run without some layers, its warnings, and `doctor`.

use super::{project, run_in};
use crate::harness::{Call, Need, Sandbox, case};
use crate::oci::rootless::one;

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap];
/// Without namespaces nothing is mounted.
const BARE: &[Need] = &[Need::Root, Need::Userns];
const USER: &[Need] = &[Need::Root, Need::OrdinaryUserns];
const PYTHON: &[Need] = &[Need::Root, Need::Userns, Need::Python];

/// The runtime, below `wrapper`, without the ability to create user namespaces, and without capabilities.
pub fn without_namespaces(sb: &Sandbox, dir: &std::path::Path, wrapper: &[&str]) -> Call {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"";
    let dir = dir.to_path_buf();
    let outer = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"];
    sb.under(&[&outer, wrapper].concat()).with(move |c| {
        c.current_dir(dir);
    })
}

#[case(BARE)]
fn without_namespaces_landlock_guards_files() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    std::fs::write(sb.dir().join("outside"), "outside\n").expect("write");
    let script = "cat file; cat ../outside; ls /home; echo x > sub/new && echo written; echo y > file; \
                  grep -E 'NoNewPrivs|Seccomp:|CapEff' /proc/self/status; /bin/true && echo ran";
    let call = without_namespaces(&sb, &dir, &[]).args([
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
        "weaker: ladder: landlock, no_new_privs and seccomp only: no user-namespace, no mount-namespace, no pid-namespace, \
         no network-namespace",
        "../outside: Permission denied",
        "file: Permission denied",
    ] {
        assert!(out.stderr.contains(says), "{says}\n{out}");
    }
    let weaker = out.stderr.lines().filter(|line| line.contains("weaker: ladder")).count();
    assert_eq!(weaker, 1, "{out}");
    let call = without_namespaces(&sb, &dir, &[]).args(["run", "--verbose", "--name", sb.id(), "--", "true"]);
    call.output().ok().says(
        "weaker: ladder: no mount-namespace: only Landlock protects the files of this machine outside the shown paths",
    );
    let call =
        without_namespaces(&sb, &dir, &[]).args(["run", "--name", sb.id(), "--tmpfs", "/x", "--", "true"]);
    call.output().exits(125).says("needs a mount namespace");
    sb.leak_check();
}

/// Without namespaces these three guard the machine; the filter against internet sockets is no replacement.
#[case(BARE)]
fn without_namespaces_no_guard_is_given_up() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    for (flag, value) in [
        ("--seccomp", "unconfined"),
        ("--seccomp", "config"),
        ("--allow", "new-privileges"),
        ("--cap-add", "SYS_ADMIN"),
    ] {
        let call =
            without_namespaces(&sb, &dir, &[]).args(["run", "--name", sb.id(), flag, value, "--", "id"]);
        let out = call.output().exits(125);
        assert_eq!(out.stdout, "", "{out}");
        out.says(&format!("{flag} {value}: no namespace can be created here")).says("safebox doctor");
    }
    sb.leak_check();
}

/// Root of a user namespace with one id has capabilities, but no other id to change to.
#[case(BARE)]
fn without_namespaces_and_ids_the_program_is_root_of_its_container() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let run = |args: &[&str]| {
        let at = dir.clone();
        let call = sb.under(&["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]);
        let call = call.args(["run", "-q", "--name", sb.id()]).args(args);
        call.with(move |c| {
            c.current_dir(at);
        })
        .output()
    };
    let out = run(&["--", "sh", "-c", "id -u; grep CapEff /proc/self/status"]).ok();
    assert_eq!(out.stdout, "0\nCapEff:\t0000000000000000\n", "{out}");
    out.says("runs as root of this container, without capabilities: no other id is mapped here");
    run(&["--user", "1234", "--", "true"]).exits(125).says("--user 1234: ").says("use --user 0");
    sb.leak_check();
}

#[case(PYTHON)]
fn without_namespaces_sockets_are_unix_sockets() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let connect = "import socket; socket.socket(socket.AF_UNIX); socket.socket(socket.AF_INET)";
    let call = without_namespaces(&sb, &dir, &[]).args([
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
    sb.leak_check();
}

#[case(BARE)]
fn without_namespaces_nothing_is_left() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let script = "(setsid sh -c 'sleep 300; true' &) ; (sleep 301 &) ; echo started";
    let call =
        without_namespaces(&sb, &dir, &[]).args(["run", "-q", "--name", sb.id(), "--", "sh", "-c", script]);
    call.output().ok().prints("started");
    sb.leak_check();
}

/// A layer is left out where the machine does not have it, and not where a process more cannot be made.
#[case(USER)]
fn a_shortage_of_processes_drops_no_layer() {
    let user = one();
    let sb = user.sandbox();
    let dir = project(&sb);
    user.own(&dir);
    for most in 1..=8 {
        let at = dir.clone();
        let call = user.under(&sb, &["prlimit", &format!("--nproc={most}:{most}")]);
        let call = call.args(["run", "--name", sb.id(), "--", "/bin/echo", "ran"]).with(move |c| {
            c.current_dir(&at);
        });
        let out = call.output();
        assert!(!out.stderr.contains("no pid-namespace"), "{most}: {out}");
        assert!(out.code == 125 || out.code == 0 && out.stdout == "ran\n", "{most}: {out}");
        sb.leak_check();
    }
}

/// One more process has Landlock and the filter, too: nothing else guards this machine's files from it.
#[case(BARE)]
fn without_namespaces_exec_has_the_same_guards() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    std::fs::write(sb.dir().join("outside"), "outside\n").expect("write");
    let call = without_namespaces(&sb, &dir, &[]);
    let script = "echo up; exec sleep 100";
    let call = call.args(["run", "-q", "--name", sb.id(), "--rw", "sub", "--", "sh", "-c", script]);
    let running = sb.run_until(call, "up");
    let script = "cat file; cat ../outside; ls /home; echo x > sub/new && echo written; echo y > file; \
                  grep -E 'NoNewPrivs|Seccomp:|CapEff' /proc/self/status";
    let out = without_namespaces(&sb, &dir, &[]).args(["exec", sb.id(), "sh", "-c", script]).output().ok();
    let expect = "project\nwritten\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
    assert_eq!(out.stdout, expect, "{out}");
    out.says("../outside: Permission denied").says("file: Permission denied");
    without_namespaces(&sb, &dir, &[]).args(["kill", sb.id(), "KILL"]).output().ok();
    running.wait();
    sb.leak_check();
}

/// Under a filter that answers clone3(2) with ENOSYS, and keyctl(2) with EPERM, as Docker's default one does.
#[case(PYTHON)]
fn without_namespaces_and_clone3_programs_run() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    // struct sock_filter: load the number; two comparisons; errno 38, errno 1, allow.
    let filter = "import ctypes, os, struct, sys\n\
                  op = lambda c, t, f, k: struct.pack('HBBI', c, t, f, k)\n\
                  code = op(0x20, 0, 0, 0) + op(0x15, 2, 0, 435) + op(0x15, 2, 0, int(sys.argv[1])) + op(6, 0, 0, 0x7fff0000)\n\
                  code += op(6, 0, 0, 0x50026) + op(6, 0, 0, 0x50001)\n\
                  buf = ctypes.create_string_buffer(code)\n\
                  prog = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', len(code) // 8, ctypes.addressof(buf)))\n\
                  libc = ctypes.CDLL(None, use_errno=True)\n\
                  assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, prog, 0, 0) == 0\n\
                  os.execvp(sys.argv[2], sys.argv[2:])";
    let keyctl = libc::SYS_keyctl.to_string();
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"";
    let under = || {
        let words = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"];
        let call = sb.under(&[&words[..], &["python3", "-c", filter, &keyctl]].concat());
        let dir = dir.clone();
        call.with(move |c| {
            c.current_dir(dir);
        })
    };
    let call = under().args(["run", "-q", "--name", sb.id(), "--", "sh", "-c", "echo up; exec sleep 100"]);
    let running = sb.run_until(call, "up");
    let out = under().args(["exec", sb.id(), "sh", "-c", "cat file; ls /home"]).output().exits(2);
    assert_eq!(out.stdout, "project\n", "{out}");
    under().args(["kill", sb.id(), "KILL"]).output().ok();
    running.wait();
    sb.leak_check();
}

#[case(ROOT)]
fn a_required_layer_is_an_error() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    run_in(&sb, &dir).args(["--require", "user-namespace,mount-namespace", "--", "true"]).output().ok();
    let call = without_namespaces(&sb, &dir, &[]).args([
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
#[case(BARE)]
fn a_covered_proc_is_shared() {
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
        "cat file; ls -d /proc/self /home; cat /proc/1/environ; kill -0 $$ && echo itself; \
         read -r outer _ </proc/self/stat; test $outer != $$ && echo apart; cat /proc/self/comm",
    ]);
    let out = call
        .with(move |c| {
            c.current_dir(dir);
        })
        .output();
    assert_eq!(out.stdout, "project\n/proc/self\nitself\napart\ncat\n", "{out}");
    out.says("weaker: ladder: ").says("no pid-namespace with a /proc of its own");
    let out = sb.under(&words).arg("doctor").output().exits(1);
    for says in [
        "rung: all namespaces, without a /proc of their own",
        "missing  pid-namespace with a /proc of its own: this container covers parts of /proc",
        "without it other processes are visible there, and out of reach of signals",
        "ok       seccomp",
    ] {
        assert!(out.stdout.contains(says), "{says}\n{out}");
    }
    sb.leak_check();
}

/// A descriptor of a host directory that was passed to the program by mistake.
#[case(ROOT)]
fn landlock_guards_what_the_mounts_let() {
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

#[case(BARE)]
fn doctor_tells_the_rung() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let out = sb.runtime().arg("doctor").output();
    assert!(out.stdout.starts_with("rung: all namespaces\n"), "{out}");
    let out = without_namespaces(&sb, &dir, &[]).args(["doctor", "--format", "json"]).output().exits(1);
    let report: serde_json::Value = serde_json::from_str(&out.stdout).expect("JSON");
    assert_eq!(report["rung"], "landlock, no_new_privs and seccomp only", "{out}");
    let layers = report["layers"].as_array().expect("layers");
    let user = layers.iter().find(|l| l["name"] == "user-namespace").expect("the layer");
    assert_eq!(
        (&user["ok"], &user["remedy"]),
        (&false.into(), &"sysctl -w user.max_user_namespaces=15000".into())
    );
    // Every layer of `--require` is listed.
    let names: Vec<_> = layers.iter().filter_map(|layer| layer["name"].as_str()).collect();
    let known: Vec<_> = safebox::launch::ladder::LAYERS.iter().map(|layer| layer.name).collect();
    assert_eq!(names, known);
}
