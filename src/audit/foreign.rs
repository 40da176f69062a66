//! The bundle of a container that another runtime has made: what runc, crun, containerd and safebox write about it.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file with more than this is no state of a runtime.
const MOST: u64 = 16 << 20;

/// The bundle whose container's first process is `pid`; `None` where no state names it.
pub fn bundle_of(pid: i32) -> Option<PathBuf> {
    runc(Path::new("/run/runc"), pid)
        .or_else(|| runc(Path::new("/run/docker/runtime-runc/moby"), pid))
        .or_else(|| runc(Path::new("/run/containerd/runc/k8s.io"), pid))
        .or_else(|| runc(Path::new("/run/containerd/runc/default"), pid))
        .or_else(|| crun(Path::new("/run/crun"), pid))
        .or_else(|| containerd(Path::new("/run/containerd/io.containerd.runtime.v2.task"), pid))
        .filter(|dir| dir.join("config.json").is_file())
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn json(path: &Path) -> Option<Value> {
    let meta = path.metadata().ok()?;
    if !meta.is_file() || meta.len() > MOST {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// runc: `state.json` with `init_process_pid`, and the bundle among the labels.
fn runc(root: &Path, pid: i32) -> Option<PathBuf> {
    entries(root).find_map(|dir| {
        let state = json(&dir.join("state.json"))?;
        if state["init_process_pid"].as_i64() != Some(pid.into()) {
            return None;
        }
        let labels = state["config"]["labels"].as_array()?;
        let bundle = labels.iter().filter_map(Value::as_str).find_map(|label| label.strip_prefix("bundle="));
        bundle.map(PathBuf::from)
    })
}

/// crun: `status` with `pid` and `bundle`.
fn crun(root: &Path, pid: i32) -> Option<PathBuf> {
    entries(root).find_map(|dir| {
        let status = json(&dir.join("status"))?;
        let same = status["pid"].as_i64() == Some(pid.into());
        status["bundle"].as_str().filter(|_| same).map(PathBuf::from)
    })
}

/// containerd's shim: `NAMESPACE/ID/init.pid` beside config.json.
fn containerd(root: &Path, pid: i32) -> Option<PathBuf> {
    entries(root).flat_map(|namespace| entries(&namespace).collect::<Vec<_>>()).find(|bundle| {
        std::fs::read_to_string(bundle.join("init.pid")).is_ok_and(|text| text.trim() == pid.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runtime_s_state_names_the_bundle() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("runc/a/state.json", r#"{"init_process_pid":7,"config":{"labels":["x=y","bundle=/b/a"]}}"#);
        write("runc/b/state.json", "not JSON");
        write("crun/a/status", r#"{"pid":8,"bundle":"/b/c"}"#);
        write("task/k8s.io/x/init.pid", "9");
        let at = |name: &str| root.path().join(name);
        assert_eq!(runc(&at("runc"), 7), Some("/b/a".into()));
        assert_eq!(crun(&at("crun"), 8), Some("/b/c".into()));
        assert_eq!(containerd(&at("task"), 9), Some(at("task/k8s.io/x")));
        assert_eq!(
            (runc(&at("runc"), 8), crun(&at("crun"), 9), containerd(&at("task"), 7)),
            (None, None, None)
        );
    }
}
