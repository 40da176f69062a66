//! `process.apparmorProfile`: a real profile, loaded with apparmor_parser, confines a real container.

use std::process::Command;

use serde_json::json;

use crate::harness::{Need, Sandbox, case};
use crate::oci::rootless::one;

const HERE: &[Need] = &[Need::Root, Need::AppArmor];
const USER: &[Need] = &[Need::Root, Need::AppArmor, Need::OrdinaryUserns];

/// A profile that allows everything but reading one file; unloaded on drop.
struct Profile {
    name: String,
    file: tempfile::NamedTempFile,
}

impl Profile {
    fn load(sb: &Sandbox) -> Self {
        Self::with(sb, "  deny /etc/secret r,\n")
    }

    fn with(sb: &Sandbox, rules: &str) -> Self {
        let name = format!("safebox-test-{}", sb.id());
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let text = format!(
            "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n  file,\n  capability,\n  network,\n  signal,\n{rules}}}\n"
        );
        std::fs::write(file.path(), text).expect("write the profile");
        let profile = Profile { name, file };
        assert!(profile.parser("-r"), "apparmor_parser could not load the profile");
        profile
    }

    fn parser(&self, flag: &str) -> bool {
        Command::new("apparmor_parser").arg(flag).arg(self.file.path()).status().is_ok_and(|s| s.success())
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parser("-R");
    }
}

const TRY: &str = "cat /proc/self/attr/current; cat /etc/public && ! cat /etc/secret";

fn bundle() -> Sandbox {
    let sb = Sandbox::new();
    for name in ["secret", "public"] {
        std::fs::write(sb.rootfs().join("etc").join(name), name).expect("a file of the rootfs");
    }
    sb
}

#[case(HERE)]
fn a_profile_confines_the_program() {
    let sb = bundle().sh(TRY);
    let profile = Profile::load(&sb);
    let sb = sb.patch("/process/apparmorProfile", json!(profile.name));
    for out in [sb.run().output(), sb.run_oci().output()] {
        out.ok().prints(&format!("{} (enforce)", profile.name)).prints("public").says("Permission denied");
    }
    // The control: without the profile the same file can be read.
    let sb = bundle().sh("cat /etc/secret");
    sb.run().output().ok().prints("secret");
}

#[case(HERE)]
fn a_profile_that_is_not_loaded_stops_the_launch() {
    let sb = bundle().sh("echo ran").patch("/process/apparmorProfile", json!("safebox-no-such-profile"));
    let out = sb.run().output();
    out.exits(125).says("self/attr/apparmor/exec").says("apparmor_parser");
    sb.leak_check();
}

#[case(HERE)]
fn exec_gets_the_profile_too() {
    let sb = bundle().args(["/bin/sleep", "1000"]);
    let profile = Profile::load(&sb);
    let sb = sb.patch("/process/apparmorProfile", json!(profile.name));
    sb.create().ok();
    sb.verb("start").ok();
    sb.exec(["/bin/sh", "-c", TRY]).ok().prints(&format!("{} (enforce)", profile.name));
    sb.delete().ok();
}

/// The profile around a default Docker container refuses every mount and pivot_root(2), and so does this one: the run of an
/// ordinary user, and of root, climbs down to the last rung.
#[case(USER)]
fn under_docker_s_profile_landlock_guards_files() {
    let user = one();
    climbs_down(
        &user.sandbox(),
        &format!("setpriv --reuid {} --regid {} --clear-groups", user.uid, user.gid),
    );
    climbs_down(&user.sandbox(), "");
}

fn climbs_down(sb: &Sandbox, before: &str) {
    use std::os::unix::fs::PermissionsExt;
    let profile = Profile::with(sb, "  umount,\n  ptrace,\n  deny mount,\n");
    let (script, project) = (sb.dir().join("confined"), sb.dir().join("project"));
    let text = format!(
        "#!/bin/sh\necho 'exec {}' >/proc/self/attr/apparmor/exec && exec {before} {} \"$@\"\n",
        profile.name,
        sb.dir().join("safebox").display()
    );
    std::fs::write(&script, text).expect("write");
    std::fs::create_dir(&project).expect("mkdir");
    std::fs::write(project.join("file"), "project\n").expect("write");
    std::fs::write(sb.dir().join("outside"), "outside\n").expect("write");
    for path in [&script, &project, &sb.dir().to_path_buf()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    let call = || {
        let project = project.clone();
        sb.runtime_as(&script).with(move |c| {
            c.current_dir(project);
        })
    };
    let out = call().arg("doctor").output().exits(1);
    assert!(out.stdout.starts_with("rung: landlock, no_new_privs and seccomp only\n"), "{out}");
    let words = ["run", "--name", sb.id(), "--", "sh", "-c", "cat file; cat ../outside; ls /home"];
    let out = call().args(words).output();
    assert_eq!(out.stdout, "project\n", "{out}");
    let rung = "weaker: ladder: landlock, no_new_privs and seccomp only: ";
    for says in [rung, "no mount-namespace", "../outside: Permission denied"] {
        assert!(out.stderr.contains(says), "{says}\n{out}");
    }
    sb.leak_check();
}

#[case(Root)]
fn without_the_module_a_profile_is_an_error() {
    if safebox::host::Host::probe().is_ok_and(|h| *h.apparmor.get()) {
        // Where the module is active, the tests above cover this.
        return;
    }
    let sb = bundle().sh("echo ran").patch("/process/apparmorProfile", json!("any"));
    sb.run().output().exits(125).says("/process/apparmorProfile").says("not active");
    sb.leak_check();
}
