//! `process.apparmorProfile`: a real profile, loaded with apparmor_parser, confines a real container.

use std::process::Command;

use libtest_mimic::Trial;
use serde_json::json;

use crate::harness::{Need, Sandbox, test};

const HERE: &[Need] = &[Need::Root, Need::AppArmor];

pub fn tests() -> Vec<Trial> {
    vec![
        test("apparmor::a_profile_confines_the_program", HERE, confines),
        test("apparmor::a_profile_that_is_not_loaded_stops_the_launch", HERE, not_loaded),
        test("apparmor::exec_gets_the_profile_too", HERE, exec),
        test("apparmor::without_the_module_a_profile_is_an_error", &[Need::Root], inactive),
    ]
}

/// A profile that allows everything but reading one file; unloaded on drop.
struct Profile {
    name: String,
    file: tempfile::NamedTempFile,
}

impl Profile {
    fn load(sb: &Sandbox) -> Self {
        let name = format!("safebox-test-{}", sb.id());
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let text = format!(
            "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n  file,\n  capability,\n  network,\n  signal,\n  deny /etc/secret r,\n}}\n"
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

fn confines() {
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

fn not_loaded() {
    let sb = bundle().sh("echo ran").patch("/process/apparmorProfile", json!("safebox-no-such-profile"));
    let out = sb.run().output();
    out.exits(125).says("self/attr/apparmor/exec").says("apparmor_parser");
    sb.leak_check();
}

fn exec() {
    let sb = bundle().args(["/bin/sleep", "1000"]);
    let profile = Profile::load(&sb);
    let sb = sb.patch("/process/apparmorProfile", json!(profile.name));
    sb.create().ok();
    sb.verb("start").ok();
    sb.exec(["/bin/sh", "-c", TRY]).ok().prints(&format!("{} (enforce)", profile.name));
    sb.delete().ok();
}

fn inactive() {
    if safebox::host::Host::probe().is_ok_and(|h| *h.apparmor.get()) {
        // Where the module is active, the tests above cover this.
        return;
    }
    let sb = bundle().sh("echo ran").patch("/process/apparmorProfile", json!("any"));
    sb.run().output().exits(125).says("/process/apparmorProfile").says("not active");
    sb.leak_check();
}
