//! Idmapped mounts.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use super::{bind, run_with_tree, tree};
use crate::harness::{Sandbox, case};
use serde_json::{Value, json};

pub(super) fn owned(sb: &Sandbox) {
    let dir = sb.dir().join("owned");
    std::fs::create_dir(&dir).expect("a directory");
    std::fs::write(dir.join("root"), "").expect("a file");
    std::fs::write(dir.join("seven"), "").expect("a file");
    chown(dir.join("seven"), Some(7), Some(8)).expect("chown");
}

pub(super) fn maps(inside: u32, outside: u32) -> Value {
    json!([{ "containerID": inside, "hostID": outside, "size": 1000 }])
}

#[case(Root, Idmap)]
fn mounts_idmap_with_its_own_mapping() {
    for options in [&["bind"][..], &["rbind", "idmap"], &["rbind", "ridmap"]] {
        let sb = Sandbox::new();
        owned(&sb);
        let mut mount = bind(&sb, "owned", "/mnt", options);
        mount["uidMappings"] = maps(0, 5000);
        mount["gidMappings"] = maps(0, 6000);
        let sb = sb
            .sh("stat -c '%u:%g' /mnt/root /mnt/seven; touch /mnt/new")
            .patch("/root/readonly", json!(false))
            .patch("/process/user", json!({ "uid": 5000, "gid": 6000 }))
            .patch("/process/capabilities", json!({}))
            .patch("/mounts/-", mount);
        sb.run_oci().output().ok().prints("5000:6000\n5007:6008\n");
        let new = std::fs::metadata(sb.dir().join("owned/new")).expect("the new file");
        assert_eq!(
            (new.uid(), new.gid()),
            (0, 0),
            "what is made inside has the owner on disk that it is mapped from"
        );
    }
}

/// A config with a new user namespace whose host ids start at 100000.
pub(super) fn userns(sb: Sandbox) -> Sandbox {
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    sb.patch("/linux/namespaces/-", json!({ "type": "user" }))
        .patch("/linux/uidMappings", map.clone())
        .patch("/linux/gidMappings", map)
        .patch("/root/readonly", json!(false))
        .without("/linux/resources")
}

#[case(Root, Userns, Idmap)]
fn mounts_idmap_of_the_container() {
    let sb = Sandbox::new();
    owned(&sb);
    // The rootfs and its parent directories belong to another user inside; they only need search permission.
    for dir in [sb.dir().to_path_buf(), sb.bundle(), sb.rootfs()] {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    let (plain, mapped) =
        (bind(&sb, "owned", "/mnt/plain", &["bind"]), bind(&sb, "owned", "/mnt/mapped", &["bind", "idmap"]));
    let sb = userns(sb)
        .sh("stat -c '%u:%g' /mnt/plain/seven /mnt/mapped/seven")
        .patch("/mounts/-", plain)
        .patch("/mounts/-", mapped);
    sb.run_oci().output().ok().prints("65534:65534\n7:8\n");
}

#[case(Root, Idmap, IdmapTmpfs)]
fn mounts_ridmap_reaches_what_is_below() {
    for (option, below) in [("ridmap", "5000:6000"), ("idmap", "0:0")] {
        let sb = Sandbox::new();
        tree(&sb);
        let mut mount = bind(&sb, "tree", "/mnt", &["rbind", option]);
        mount["uidMappings"] = maps(0, 5000);
        mount["gidMappings"] = maps(0, 6000);
        let sb = sb
            .sh("stat -c '%u:%g' /mnt /mnt/below")
            .patch("/root/readonly", json!(false))
            .patch("/mounts/-", mount);
        run_with_tree(&sb, "true").ok().prints(&format!("5000:6000\n{below}\n"));
    }
}
