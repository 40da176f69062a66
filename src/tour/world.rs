//! The targets of the tour's attacks: a directory with a secret, a root file system, a process, a server. All
//! of them are removed when the tour ends, even if it is killed.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::statvfs::{FsFlags, statvfs};
use serde_json::{Value, json};

use super::{LAYERS, TourLayer};
use crate::error::{Error, Result};
use crate::tables::capabilities::CAPABILITIES;

/// Exit code of a failed attack.
pub const STOPPED: u8 = 3;
/// Name of the process that only waits: the target of an attack.
pub const VICTIM: &str = "victim";
/// First host id of the containers' id range.
pub const FIRST_ID: u32 = 1_500_000_000;
/// The answer of the server, which plays the metadata service of a cloud.
pub const TOKEN: &str = "role: host-admin";
/// Content of the secret files.
pub const SECRET: &str = "the host's secret";

/// The targets; see the module documentation.
pub struct World {
    /// Directory that contains all files.
    pub dir: PathBuf,
    /// Port of the server on 127.0.0.1.
    pub port: u16,
    /// A process of the host.
    pub victim: std::cell::RefCell<Child>,
    /// Whether this is root of the machine. Containers of an unprivileged user always have a user namespace,
    /// and no cgroups.
    pub root: bool,
    program: PathBuf,
    janitor: Child,
}

/// The result of an attack.
pub struct AttackResult {
    pub worked: bool,
    pub text: String,
}

impl World {
    /// Creates the targets.
    pub fn new() -> Result<Self> {
        let dir = directory()?;
        let janitor = janitor(&dir).inspect_err(|_| remove(&dir))?;
        let mut world = World {
            program: dir.join("rootfs/attack"),
            victim: std::cell::RefCell::new(victim("/proc/self/exe".as_ref())?),
            port: 0,
            root: nix::unistd::geteuid().is_root(),
            dir,
            janitor,
        };
        world.fill().map_err(|e| Error::msg(format!("tour: {}: {e}", world.dir.display())))?;
        world.port = serve().map_err(|e| Error::msg(format!("tour: listen on 127.0.0.1: {e}")))?;
        Ok(world)
    }

    fn fill(&self) -> std::io::Result<()> {
        let write = |name: &str, text: &str, mode: u32| {
            std::fs::write(self.dir.join(name), text)?;
            std::fs::set_permissions(self.dir.join(name), PermissionsExt::from_mode(mode))
        };
        for name in ["rootfs", "rootfs/proc", "rootfs/dev", "rootfs/tmp", "bundle"] {
            std::fs::create_dir(self.dir.join(name))?;
            std::fs::set_permissions(self.dir.join(name), PermissionsExt::from_mode(0o755))?;
        }
        write("secret", SECRET, 0o644)?;
        write("root-only", SECRET, 0o600)?;
        write("rootfs/root-only", "the container root's secret", 0o600)?;
        for (name, mode) in [("attack", 0o755), ("setuid", 0o4755)] {
            let path = self.dir.join("rootfs").join(name);
            std::fs::copy("/proc/self/exe", &path)?;
            if self.root {
                chown(&path, Some(FIRST_ID), Some(FIRST_ID))?;
            }
            // After the owner, because chown(2) clears the setuid bit.
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode))?;
        }
        // The container's root owns its files, as after unpacking an image with the id map.
        for name in ["rootfs", "rootfs/root-only", "rootfs/tmp"] {
            if self.root {
                chown(self.dir.join(name), Some(FIRST_ID), Some(FIRST_ID))?;
            }
        }
        Ok(())
    }

    /// Performs the attack of a layer with the first `layers` layers on; 0: a plain fork and exec.
    pub fn perform(&self, layer: &TourLayer, layers: usize) -> Result<AttackResult> {
        // Each attack starts with a live victim and without files of earlier attacks.
        let alive = victim(&self.program)?;
        end(&mut self.victim.replace(alive));
        std::fs::remove_file(self.dir.join("rootfs/planted")).unwrap_or_default();
        let mut words = vec!["tour".to_string(), "--attack".into(), layer.name.into(), "--".into()];
        words.extend((layer.arguments)(self));
        // Descriptor 3 is a directory of the host, as a careless caller leaves one open.
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg("exec 3<\"$0\" && exec \"$@\"").arg(&self.dir);
        if layers == 0 {
            command.arg(&self.program).args(&words);
        } else {
            self.write_config(layers, &words)?;
            let passes = LAYERS[..layers].iter().all(|layer| layer.name != super::descriptors::LAYER.name);
            command.arg(&self.program).arg("--root").arg(self.dir.join("state"));
            self.manager(&mut command);
            command.args(["run", "--quiet", "--policy", "privileged"]);
            command.args(passes.then_some("--preserve-fds=1"));
            command.arg("--bundle").arg(self.dir.join("bundle")).arg(format!("tour-{}", std::process::id()));
        }
        let out =
            command.stdin(Stdio::null()).env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").output();
        let out = out.map_err(|e| Error::msg(format!("tour: /bin/sh: {e}")))?;
        let text = [String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)].concat();
        // What the tour itself has asked for is not a part of the attack.
        let of_attack = |line: &&str| !line.starts_with("safebox: weaker: ");
        let text: String = text.split_inclusive('\n').filter(of_attack).collect();
        match out.status.code() {
            // A failure of the runtime is not a stopped attack.
            Some(125..=127) => Err(Error::msg(format!("tour {}: {}", layer.name, text.trim()))),
            code => Ok(AttackResult { worked: code == Some(0), text }),
        }
    }

    /// The rows of the plan with the first `layers` layers on.
    pub fn plan(&self, layers: usize) -> Result<Vec<Value>> {
        self.write_config(layers, &[])?;
        let mut command = Command::new(&self.program);
        self.manager(&mut command);
        command.args(["explain", "--json", "--policy", "privileged"]).arg(self.dir.join("bundle"));
        let out = command.stdin(Stdio::null()).output();
        let out = out.map_err(|e| Error::msg(format!("tour: {}: {e}", self.program.display())))?;
        if !out.status.success() {
            return Err(Error::msg(format!(
                "tour: explain: {}",
                String::from_utf8_lossy(&out.stderr).trim()
            )));
        }
        let plan: Value =
            serde_json::from_slice(&out.stdout).map_err(|e| Error::msg(format!("explain: {e}")))?;
        Ok(plan["steps"].as_array().cloned().unwrap_or_default())
    }

    fn manager(&self, command: &mut Command) {
        command.args((!self.root).then_some(["--cgroup-manager", "disabled"]).into_iter().flatten());
    }

    fn write_config(&self, layers: usize, words: &[String]) -> Result<()> {
        let mut config = self.base();
        LAYERS[..layers]
            .iter()
            .filter(|l| (l.missing)(self).is_none())
            .for_each(|l| (l.apply)(&mut config, self));
        // The program's path depends on the root that the layers set.
        let inside = config["root"]["path"] != "/";
        let program = if inside { Path::new("/attack") } else { &self.program };
        let words = words.iter().map(String::as_str);
        config["process"]["args"] = std::iter::once(&*program.to_string_lossy()).chain(words).collect();
        let file = self.dir.join("bundle/config.json");
        std::fs::write(&file, config.to_string())
            .map_err(|e| Error::msg(format!("tour: {}: {e}", file.display())))
    }

    /// A container with minimal isolation: a mount namespace with the host's root file system, read-only so
    /// that the tour cannot harm it.
    fn base(&self) -> Value {
        // The capabilities of this process. An unprivileged user's container gets them in its own user
        // namespace.
        let held = crate::host::Host::probe().map_or(u64::MAX, |host| host.caps);
        let held = if self.root { held } else { u64::MAX };
        let all: Vec<_> =
            CAPABILITIES.iter().filter(|row| held & (1 << row.bit) != 0).map(|row| row.name).collect();
        let mut config = json!({
            "ociVersion": "1.2.0",
            "process": {
                "user": { "uid": 0, "gid": 0 },
                "cwd": "/",
                "env": ["PATH=/"],
                "capabilities": { "bounding": all, "effective": all, "permitted": all, "inheritable": [], "ambient": [] },
            },
            "root": { "path": "/", "readonly": true },
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755", "size=64k"] },
            ],
            "linux": {
                "namespaces": [{ "type": "mount" }],
                "resources": { "devices": [{ "allow": true, "access": "rwm" }] },
            },
        });
        if !self.root {
            let id = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
            namespace(&mut config, "user");
            config["linux"]["uidMappings"] = id(nix::unistd::geteuid().as_raw());
            config["linux"]["gidMappings"] = id(nix::unistd::getegid().as_raw());
            config["linux"]["resources"] = json!({});
            // Mounting procfs needs a pid namespace of the same user namespace.
            namespace(&mut config, "pid");
        }
        config
    }
}

impl Drop for World {
    fn drop(&mut self) {
        end(&mut self.victim.borrow_mut());
        // The janitor removes the directory at the end of its input.
        drop(self.janitor.stdin.take());
        let _status = self.janitor.wait();
    }
}

/// Adds a new namespace to a config.
pub fn namespace(config: &mut Value, kind: &str) {
    if let Some(list) = config["linux"]["namespaces"].as_array_mut()
        && list.iter().all(|ns| ns["type"] != kind)
    {
        list.push(json!({ "type": kind }));
    }
}

/// Why a layer that needs root of the machine cannot be shown.
pub fn needs_root(world: &World) -> Option<String> {
    (!world.root).then(|| "it needs root of this machine (sudo safebox tour)".into())
}

/// A new directory on a file system that allows execution and setuid.
fn directory() -> Result<PathBuf> {
    let places = [std::env::temp_dir(), "/var/tmp".into(), "/run".into(), "/root".into(), "/".into()];
    let good = |place: &&PathBuf| {
        statvfs(place.as_path()).is_ok_and(|fs| {
            !fs.flags().intersects(FsFlags::ST_NOEXEC | FsFlags::ST_NOSUID | FsFlags::ST_RDONLY)
        })
    };
    let place = places.iter().find(good).unwrap_or(&places[0]);
    let dir = place.join(format!("safebox-tour-{}", std::process::id()));
    // Fails if another user has created the directory.
    std::fs::DirBuilder::new().mode(0o755).create(&dir).map_err(|e| {
        Error::msg(format!("tour: mkdir {}: {e} (TMPDIR chooses another place)", dir.display()))
    })?;
    Ok(dir)
}

/// A process that removes the directory when the tour has ended, even by SIGKILL: it waits for the end of its
/// input.
fn janitor(dir: &Path) -> Result<Child> {
    let script = "trap '' INT TERM HUP QUIT; read -r line; rm -rf --one-file-system -- \"$0\"";
    Command::new("/bin/sh")
        .args(["-c", script])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| Error::msg(format!("tour: /bin/sh: {e}")))
}

fn remove(dir: &Path) {
    std::fs::remove_dir_all(dir).unwrap_or_default();
}

/// A process that lives while its input is open.
fn victim(program: &Path) -> Result<Child> {
    let mut command = Command::new(program);
    command.args(["tour", "--attack", VICTIM]).stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().map_err(|e| Error::msg(format!("tour: {}: {e}", program.display())))
}

/// Waits until the end of the input.
pub fn wait_for_the_end() {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap_or_default();
}

fn end(child: &mut Child) {
    // The attack may have killed it already.
    child.kill().unwrap_or_default();
    let _status = child.wait();
}

/// Answers every connection with the token.
fn serve() -> std::io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            // An attacker that closed the connection needs no answer.
            connection.and_then(|mut c| c.write_all(TOKEN.as_bytes())).unwrap_or_default();
        }
    });
    Ok(port)
}
