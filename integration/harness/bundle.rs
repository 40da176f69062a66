//! The bundle of a test: a rootfs with one static busybox, and a config based on the output of `safebox
//! spec`.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::carried::copy_program;
pub use super::carried::safebox;
use super::needs::find;

/// Symlinks to busybox in the rootfs's /bin.
const APPLETS: &[&str] = &[
    "cat", "chmod", "chown", "cp", "dd", "df", "echo", "env", "false", "find", "grep", "head", "hostname",
    "id", "ip", "kill", "ln", "ls", "mkdir", "mknod", "mount", "mv", "nc", "ps", "rm", "seq", "setsid", "sh",
    "sleep", "sort", "stat", "stty", "tail", "timeout", "touch", "true", "tty", "umount", "uname", "unshare",
    "wc", "wget",
];

/// The tested runtime: `SAFEBOX_RUNTIME`, else safebox.
pub fn runtime() -> PathBuf {
    match std::env::var_os("SAFEBOX_RUNTIME").filter(|v| !v.is_empty()) {
        Some(name) => find(&name.to_string_lossy()).unwrap_or_else(|| name.into()),
        None => safebox(),
    }
}

/// Whether the tested runtime is not safebox.
pub fn is_foreign() -> bool {
    !runtime().file_name().is_some_and(|n| n.to_string_lossy().starts_with("safebox"))
}

/// Creates the rootfs of a test.
pub fn make_rootfs(rootfs: &Path) {
    for dir in ["bin", "dev", "etc", "home", "proc", "root", "sys", "tmp", "usr", "var"] {
        std::fs::create_dir_all(rootfs.join(dir)).expect("a directory of the rootfs");
    }
    let busybox = find("busybox").expect("busybox is not installed; the rootfs of every test needs it");
    copy_program(&busybox, &rootfs.join("bin/busybox"));
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).expect("a link to busybox");
    }
    std::fs::write(
        rootfs.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nbox:x:1000:1000::/home:/bin/sh\n",
    )
    .expect("etc/passwd");
    std::fs::write(rootfs.join("etc/group"), "root:x:0:\nbox:x:1000:\n").expect("etc/group");
}

/// The output of `safebox spec` on a host with cgroup v2, without a terminal and running `true`.
pub fn spec() -> Value {
    static SPEC: LazyLock<Value> = LazyLock::new(|| {
        let mut config = safebox::config::template::spec(None);
        set(&mut config, "/process/terminal", json!(false));
        set(&mut config, "/process/args", json!(["/bin/true"]));
        if is_foreign() {
            // Older runtimes refuse an unknown version; the tests use no feature of the new one.
            set(&mut config, "/ociVersion", json!("1.0.2"));
        }
        config
    });
    SPEC.clone()
}

/// A list of one hook, which is a script of the host's shell.
pub fn hook(script: &str) -> Value {
    json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] }])
}

/// Sets the value at a JSON pointer and creates missing objects; `-` as the last part appends to an array.
pub fn set(config: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = place(config, pointer);
    match parent {
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let i: usize = key.parse().unwrap_or_else(|_| panic!("{pointer}: not an index"));
            assert!(i < items.len(), "{pointer}: the array has {} items", items.len());
            items[i] = value;
        }
        Value::Object(fields) => {
            fields.insert(key, value);
        }
        other => panic!("{pointer}: lies in {other}"),
    }
}

/// Removes the value at a JSON pointer; a pointer to no value is an error of the test.
pub fn remove(config: &mut Value, pointer: &str) {
    let (parent, key) = place(config, pointer);
    match parent {
        Value::Object(fields) => assert!(fields.remove(&key).is_some(), "{pointer}: nothing there"),
        Value::Array(items) => {
            items.remove(key.parse().unwrap_or_else(|_| panic!("{pointer}: not an index")));
        }
        other => panic!("{pointer}: lies in {other}"),
    }
}

/// The object or array that contains the last part of `pointer`, and that part.
fn place<'a>(config: &'a mut Value, pointer: &str) -> (&'a mut Value, String) {
    let mut keys: Vec<String> =
        pointer.split('/').skip(1).map(|k| k.replace("~1", "/").replace("~0", "~")).collect();
    let last = keys.pop().unwrap_or_else(|| panic!("{pointer:?} is no JSON pointer"));
    let mut at = config;
    for key in &keys {
        at = match at {
            Value::Array(items) => {
                let i: usize = key.parse().unwrap_or_else(|_| panic!("{pointer}: {key} is not an index"));
                items.get_mut(i).unwrap_or_else(|| panic!("{pointer}: no item {i}"))
            }
            Value::Object(fields) => {
                // Creates a missing array for `-`, which would otherwise become an object.
                let missing =
                    if last == "-" && key == keys.last().expect("a key") { json!([]) } else { json!({}) };
                fields.entry(key.clone()).or_insert(missing)
            }
            other => panic!("{pointer}: {key} lies in {other}"),
        };
    }
    (at, last)
}
