//! The environment of the program, and of one that joins it.

use crate::harness::{Sandbox, case};
use serde_json::json;

#[case(super::OCI)]
fn environment_is_exact() {
    let sb = Sandbox::new()
        .args(["/bin/env"])
        .patch("/process/env", json!(["PATH=/bin", "A=1", "B=two words", "HOME=/here", "A=2"]));
    let out = sb.run_oci().env("LEAKED", "yes").output().ok();
    let mut lines: Vec<_> = out.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["A=2", "B=two words", "HOME=/here", "PATH=/bin"], "{out}");
}

/// HOME is that of the new process's user, and variables of `exec` replace those of the container.
#[case(super::OCI)]
fn environment_of_exec_is_its_own() {
    let sb = Sandbox::new().args(["/bin/sleep", "1000"]).patch("/process/env", json!(["PATH=/bin", "A=1"]));
    let passwd = "root:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n1001:x:5:5::/no:/bin/sh\n";
    std::fs::write(sb.rootfs().join("etc/passwd"), passwd).expect("write");
    let create = sb.runtime().arg("create").arg("--bundle").arg(sb.bundle()).arg(sb.id());
    create.env("LISTEN_FDS", "0").env("LEAKED", "yes").output().ok();
    sb.verb("start").ok();
    let env = |call: crate::harness::Call| {
        let mut lines: Vec<_> = call.output().ok().stdout.lines().map(str::to_string).collect();
        lines.sort_unstable();
        lines.join(" ")
    };
    for (flags, expect) in [
        (&[] as &[&str], "A=1 HOME=/root PATH=/bin"),
        (&["--env", "A=3", "--env", "B=x=y"], "A=3 B=x=y HOME=/root PATH=/bin"),
        (&["--user", "1000:1000"], "A=1 HOME=/home/u PATH=/bin"),
        (&["--user", "1000:1000", "--env", "HOME="], "A=1 HOME=/home/u PATH=/bin"),
        (&["--user", "1001", "--env", "HOME=/set"], "A=1 HOME=/set PATH=/bin"),
        (&["--user", "1001"], "A=1 HOME=/ PATH=/bin"),
    ] {
        assert_eq!(
            env(sb.runtime().arg("exec").args(flags).args([sb.id(), "/bin/env"])),
            expect,
            "{flags:?}"
        );
    }
    let file = sb.dir().join("process.json");
    let process = json!({ "args": ["/bin/env"], "cwd": "/", "env": ["PATH=/bin", "B=1", "B=2"],
        "user": { "uid": 1000, "gid": 1000 } });
    std::fs::write(&file, process.to_string()).expect("write");
    let call = sb.runtime().args(["exec", "--process"]).arg(&file).arg(sb.id());
    assert_eq!(env(call), "B=2 HOME=/home/u PATH=/bin");
    for bad in ["FOO", "=x"] {
        let call = sb.runtime().args(["exec", "--env", bad, sb.id(), "/bin/env"]);
        assert_eq!(call.output().exits(255).says("environment variable").stdout, "");
    }
    sb.delete().ok();
}
