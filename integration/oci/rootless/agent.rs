//! A seccomp agent of an unprivileged user: the runtime may not take the listener from a process that has
//! changed its user, so Init passes it.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::json;

use super::{ONE, RANGE, User, one, range};
use crate::harness::{Sandbox, case, poll};
use crate::oci::fields::seccomp::{Agent, MKDIR, asking};

#[case(ONE)]
fn a_seccomp_agent_decides() {
    decides(one());
}

#[case(RANGE)]
fn a_seccomp_agent_decides_with_a_range() {
    decides(range());
}

fn asked(user: User, sb: Sandbox, names: &[&str], nnp: bool) -> (Sandbox, Agent) {
    let (sb, agent) = asking(sb, names, nnp);
    let socket = sb.dir().join("agent");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).expect("chmod");
    user.own(&sb.bundle());
    (sb, agent)
}

fn decides(user: User) {
    // The calls of the last rows of a launch, which the agent may be asked about too.
    let busy = [MKDIR, &["execve", "openat", "read", "close"]].concat();
    for (nnp, names) in [(true, MKDIR), (false, MKDIR), (true, &busy), (false, &busy)] {
        let sb = user.sandbox().sh("mkdir /tmp/x; echo done");
        let (sb, agent) = asked(user, sb, names, nnp);
        let run = user.runtime(&sb).args(["--cgroup-manager", "disabled", "run", "--quiet"]);
        let run = run.args(["--policy", "privileged", "--bundle"]).arg(sb.bundle()).arg(sb.id());
        run.output().ok().says("No medium found").prints("done");
        assert_eq!(agent.told().len(), 1);
        drop(agent);
        sb.leak_check();

        let (sb, agent) = asked(user, user.sandbox().args(["/bin/sleep", "1000"]), names, nnp);
        user.create(&sb).output().ok();
        user.verb(&sb, "start").output().ok();
        let exec = user.verb(&sb, "exec").args(["/bin/mkdir", "/tmp/x"]);
        exec.output().exits(1).says("No medium found");
        poll("the agent is told twice", Duration::from_secs(5), || agent.told().len() == 2);
        let told = agent.told();
        assert_eq!(told[0]["pid"], told[1]["state"]["pid"], "{told:#?}");
        assert_ne!(told[1]["pid"], told[1]["state"]["pid"], "{told:#?}");
        user.runtime(&sb).args(["delete", "--force"]).arg(sb.id()).output().ok();
        drop(agent);
        sb.leak_check();
    }
}

#[case(ONE)]
fn a_listener_that_cannot_be_handed_over_is_refused() {
    let user = one();
    let (sb, agent) = asked(user, user.sandbox(), &["sendmsg"], true);
    user.create(&sb).output().exits(1).says("/linux/seccomp/syscalls/0/names/0: ").says("sendmsg");
    drop(agent);
    sb.leak_check();
    let (mut sb, agent) = asked(user, user.sandbox(), MKDIR, true);
    sb.set("/linux/seccomp/defaultAction", json!("SCMP_ACT_ERRNO"));
    user.create(&sb).output().exits(1).says("/linux/seccomp/defaultAction: ").says("sendmsg");
    drop(agent);
    sb.leak_check();
}
