//! Programs that open their own stdout.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::Duration;

use super::unread_pipe;
use crate::harness::{Call, Sandbox, case, poll};
use serde_json::json;

pub(super) const OPENS: &str = "cat /dev/stdin; echo log >/dev/stdout && echo error >/dev/stderr";

/// With stdin and outputs as pipes and as files.
pub(super) fn opens(sb: &Sandbox, call: impl Fn() -> Call, policy: &str) {
    let out = call().input("words\n").output();
    assert!(out.code == 0 && out.stdout.contains("log") && out.stderr.contains("error"), "{policy}: {out}");
    let path = sb.dir().join("in");
    std::fs::write(&path, "words\n").expect("a file");
    let (reader, writer) = unread_pipe();
    let errors = writer.try_clone().expect("dup");
    let input = File::open(&path).expect("open");
    let call = call().with(|c| {
        c.stdin(Stdio::from(input)).stdout(Stdio::from(writer)).stderr(Stdio::from(errors));
    });
    assert_eq!(call.output().code, 0, "{policy}");
    let mut said = String::new();
    File::from(reader).read_to_string(&mut said).expect("the pipe");
    // The launcher's line about a weaker policy is before the program's.
    let said = said.lines().filter(|line| !line.starts_with("safebox: weaker: policy ")).collect::<Vec<_>>();
    assert_eq!(said, ["words", "log", "error"], "{policy}");
}

pub(super) fn opened(hardened: bool, uid: u32) {
    let sb = Sandbox::new().sh(OPENS).patch("/process/user", json!({ "uid": uid, "gid": uid }));
    opens(&sb, || if hardened { sb.run() } else { sb.run_oci() }, "run");
    let running = Sandbox::sleeper().patch("/process/user", json!({ "uid": uid, "gid": uid }));
    if hardened {
        running.run().arg("--detach").output().ok();
    } else {
        running.create().ok();
        running.verb("start").ok();
    }
    opens(&running, || running.runtime().args(["exec", running.id(), "sh", "-c", OPENS]), "exec");
    running.delete().ok();
}

pub(super) fn in_userns(sb: Sandbox, uid: u32) -> Sandbox {
    let map = json!([{ "containerID": 0, "hostID": 200_000, "size": 65_536 }]);
    let sb = sb
        .patch("/linux/namespaces/-", json!({ "type": "user" }))
        .patch("/linux/uidMappings", map.clone())
        .patch("/linux/gidMappings", map)
        .patch("/process/user", json!({ "uid": uid, "gid": uid }));
    for dir in [sb.dir().to_path_buf(), sb.bundle(), sb.rootfs()] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir, mode).expect("chmod");
    }
    sb
}

pub(super) fn mapped(uid: u32) {
    let sb = in_userns(Sandbox::new().sh(OPENS), uid);
    opens(&sb, || sb.run_oci(), "run");
    let running = in_userns(Sandbox::sleeper(), uid);
    running.create().ok();
    running.verb("start").ok();
    opens(&running, || running.runtime().args(["exec", running.id(), "sh", "-c", OPENS]), "exec");
    running.delete().ok();
}

/// For example nginx in the background: its log is a file of the caller.
#[case(super::OWN)]
fn dev_stdout_can_be_opened_detached() {
    let sb = Sandbox::new().sh("echo log >/dev/stdout && echo error >/dev/stderr; sleep 1000");
    let call = sb.run().arg("--detach");
    let run = call.spawn();
    poll("both lines", Duration::from_secs(10), || {
        let (out, err) = run.so_far();
        out.contains("log") && err.contains("error")
    });
    // The harness collects outputs in files.
    let (out, err) = run.files().clone();
    let owner = |path: &std::path::Path| std::fs::metadata(path).expect("an output").uid();
    assert!(owner(&out) != 0 && owner(&err) != 0, "the outputs were not given to the program's user");
    sb.delete().ok();
    assert_eq!((owner(&out), owner(&err)), (0, 0), "the owners of the outputs were not restored");
    run.wait().ok();
}
