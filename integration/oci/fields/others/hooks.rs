//! Hooks.

use crate::harness::{Sandbox, bundle, case};
use serde_json::{Value, json};

/// A hook that appends a line to `file`: its name, the received status and pid, and its namespace. In the
/// container the first process has pid 1, and after its end none.
pub(super) fn hook(name: &str, file: &std::path::Path) -> Value {
    let script = format!(
        "state=$(cat); echo \"{name} $(echo \"$state\" | tr -d ' \\n' | sed 's/.*\"status\":\"\\([a-z]*\\)\".*/\\1/') $(echo \"$state\" | tr -d ' \\n' | sed -n 's/.*\"pid\":\\([0-9]*\\).*/\\1/p') $(readlink /proc/self/ns/uts) $A\" >> {}",
        file.display()
    );
    let mut hook = bundle::hook(&script);
    bundle::set(&mut hook, "/0/env/-", json!("A=env"));
    bundle::set(&mut hook, "/0/timeout", json!(20));
    hook
}

// runc 1.1 runs poststart hooks at create.
#[case(super::OWN)]
fn hooks_run_in_order_in_their_namespaces() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let file = sb.dir().join("log");
    let mut sb = sb.patch("/root/readonly", json!(false));
    for name in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        sb.set(&format!("/hooks/{name}"), hook(name, &file));
    }
    // The container's own programs; it writes where the rootfs is the container's root.
    sb.set("/hooks/startContainer", json!([{ "path": "/bin/sh", "args": ["sh", "-c", "cat > /started"] }]));
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    sb.create().ok();
    let pid = sb.pid();
    let own = std::fs::read_link("/proc/self/ns/uts").expect("a link").display().to_string();
    let inside = std::fs::read_link(format!("/proc/{pid}/ns/uts")).expect("a link").display().to_string();
    let want = format!(
        "prestart creating {pid} {own} env\ncreateRuntime creating {pid} {own} env\ncreateContainer creating 1 {inside} env\n"
    );
    assert_eq!(lines(), want);
    assert!(!sb.rootfs().join("started").exists());
    sb.verb("start").ok();
    assert!(lines().ends_with(&format!("poststart running {pid} {own} env\n")), "{}", lines());
    let told = std::fs::read_to_string(sb.rootfs().join("started")).expect("what startContainer was told");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["id"], &told["status"]), (&json!(sb.id()), &json!("created")), "{told}");
    sb.delete().ok();
    assert!(lines().ends_with(&format!("poststop stopped  {own} env\n")), "{}", lines());
}

#[case(super::OWN)]
fn hooks_that_fail_stop_the_launch_or_are_reported() {
    let fail = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "exit 7"] }]);
    let mark = |sb: &Sandbox, name: &str| {
        let script = format!("echo >> {}", sb.dir().join(name).display());
        json!({ "path": "/bin/sh", "args": ["sh", "-c", script] })
    };
    let marks = |sb: &Sandbox, name: &str| std::fs::read(sb.dir().join(name)).unwrap_or_default().len();
    for name in ["prestart", "createRuntime", "createContainer"] {
        let mut sb = Sandbox::new().patch(&format!("/hooks/{name}"), fail.clone());
        sb.set("/hooks/poststop", json!([mark(&sb, "poststop")]));
        let out = sb.create();
        assert_ne!(out.code, 0, "{name}\n{out}");
        out.says(name);
        sb.leak_check();
        assert_eq!(marks(&sb, "poststop"), 1, "{name}: poststop hooks undo the effects of hooks");
    }
    let mut sb = Sandbox::new().patch("/hooks/startContainer", fail.clone());
    sb.set("/hooks/poststop", json!([mark(&sb, "poststop")]));
    sb.create().ok();
    let out = sb.verb("start");
    assert_ne!(out.code, 0, "{out}");
    out.says("startContainer");
    sb.leak_check();
    assert_eq!(marks(&sb, "poststop"), 1);
    // Poststop hooks also run for a launch that fails for another reason, once a process existed.
    let mut sb = Sandbox::new().args(["/nowhere"]);
    sb.set("/hooks/poststop", json!([mark(&sb, "poststop")]));
    sb.create().exits(1);
    assert_eq!(marks(&sb, "poststop"), 1);
    // After the stop a failure is only reported.
    let mut sb = Sandbox::new().args(["/bin/sleep", "1000"]).patch("/hooks/poststop", fail);
    sb.set("/hooks/poststop/-", mark(&sb, "second"));
    sb.create().ok();
    sb.delete().ok().says("poststop");
    assert_eq!(marks(&sb, "second"), 1);
    sb.leak_check();
}

/// runtime.md, Lifecycle, 9: an error; the container is stopped and destroyed, poststop hooks run.
#[case(super::OWN)]
fn hooks_of_poststart_that_fail_end_the_container() {
    let mut sb = Sandbox::new().args(["/bin/sleep", "1000"]);
    let note = |name: &str, code| {
        let script = format!("echo {name} >> {}; exit {code}", sb.dir().join("notes").display());
        json!({ "path": "/bin/sh", "args": ["sh", "-c", script] })
    };
    let (first, second, after) = (note("first", 7), note("second", 0), note("poststop", 0));
    sb.set("/hooks", json!({ "poststart": [first, second], "poststop": [after] }));
    let file = sb.dir().join("pid");
    let run = |flags: &[&str]| sb.run_oci().args(flags).arg("--pid-file").arg(&file).output();
    for launch in ["start", "run", "run --detach"] {
        let out = match launch {
            "start" => {
                sb.create().ok();
                sb.verb("start").exits(1)
            }
            "run" => run(&[]).exits(125),
            _ => run(&["--detach"]).exits(125),
        };
        out.says("poststart").says("exit status 7");
        let notes = std::fs::read_to_string(sb.dir().join("notes")).expect("notes");
        assert_eq!(notes, "first\npoststop\n", "{launch}");
        assert!(!file.exists(), "{launch}");
        sb.verb("state").exits(1).says("container does not exist");
        sb.leak_check();
        std::fs::remove_file(sb.dir().join("notes")).expect("remove");
    }
}

#[case(super::OCI)]
fn hooks_that_take_too_long_are_killed() {
    let slow = json!([{ "path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1 }]);
    let sb = Sandbox::new().patch("/hooks/createRuntime", slow);
    let out = sb.create();
    assert!(out.code != 0 && out.took < std::time::Duration::from_secs(15), "{out}");
    sb.leak_check();
}
