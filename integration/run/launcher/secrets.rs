//! `--secret`: only the program's file contains the secret.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use super::{project, run_in};
use crate::harness::{Call, Need, Sandbox, case};
use crate::oci::rootless::one;

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap];
const USER: &[Need] = &[Need::Root, Need::OrdinaryUserns];

/// A value that is unique on this machine.
fn value(sb: &Sandbox) -> String {
    format!("v-{}-{}", sb.id().chars().rev().collect::<String>(), std::process::id() ^ 0x5a5a)
}

/// A file with the secret, not readable by other users.
fn source(sb: &Sandbox, value: &str) -> String {
    let path = sb.dir().join("source");
    std::fs::write(&path, value).expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    path.to_string_lossy().into_owned()
}

#[case(ROOT)]
fn a_secret_is_a_file_of_the_program_s_user() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let (value, script) =
        (value(&sb), "stat -c '%a %u %g %F' $F; cat $F; echo x 2>/dev/null > $F || echo closed");
    let path = source(&sb, &value);
    for (secret, file, owner) in [
        (format!("id=pw,src={path}"), "/run/secrets/pw", "400 65532 65532"),
        ("id=pw,env=VALUE".into(), "/run/secrets/pw", "400 65532 65532"),
        ("id=VALUE".into(), "/run/secrets/VALUE", "400 65532 65532"),
        (
            format!("id=pw,src={path},target=deep/er/pw,mode=0440,gid=65532"),
            "/run/secrets/deep/er/pw",
            "440 65532 65532",
        ),
        (format!("id=pw,src={path},target=/tmp/pw"), "/tmp/pw", "400 65532 65532"),
    ] {
        let call = run_in(&sb, &dir).env("VALUE", &value).arg("-q").args(["--secret", &secret]);
        // With any umask of the caller.
        let call = call.with(strict);
        let out = call.args(["--", "sh", "-c", &format!("F={file}; {script}")]).output().ok();
        assert_eq!(out.stdout, format!("{owner} regular file\n{value}closed\n"), "{secret}\n{out}");
        sb.leak_check();
    }
    // Another user inside cannot read it; a bundle's program can.
    let sb =
        sb.sh("cat /run/secrets/pw; mount | grep -c 'on /run/secrets type tmpfs (ro,nosuid,nodev,noexec'");
    let out = sb.run().args(["--secret", &format!("id=pw,src={path}")]).output().ok();
    assert_eq!(out.stdout, format!("{value}1\n"), "{out}");
    let out = sb.run().args(["--secret", &format!("id=pw,src={path},uid=1")]).output();
    out.says("Permission denied");
    sb.leak_check();
}

/// Sets the caller's umask to 077.
fn strict(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    let umask = || {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
        Ok(())
    };
    // SAFETY: umask(2) is a system call that cannot fail.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(umask);
    }
}

/// Searches every command line, environment and process of the launch, the state and the disk, while the
/// program runs and after it.
#[case(ROOT)]
fn a_secret_is_nowhere_else() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let value = value(&sb);
    let path = source(&sb, &value);
    let secret = format!("id=pw,src={path}");
    let call = run_in(&sb, &dir).args(["--keep", "--verbose", "--secret", &secret]);
    let running = sb.run_until(call.args(["--", "sh", "-c", "echo up; sleep 30"]), "up");
    let state = sb.verb("state").ok();
    assert!(!state.stdout.contains(&value), "{state}");
    let processes = sb.trace().processes();
    assert!(processes.len() >= 2, "the launcher and the program: {processes:?}");
    for (pid, how) in processes {
        for file in ["cmdline", "environ"] {
            let text = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            assert!(!has(&text, value.as_bytes()), "{file} of {pid} ({how})");
        }
        assert!(!in_memory(pid, &value), "memory of {pid} ({how})");
        for fd in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let link = std::fs::read_link(fd.path()).unwrap_or_default();
            assert!(!link.to_string_lossy().contains("secret"), "{link:?} is open in {pid} ({how})");
        }
    }
    std::fs::remove_file(&path).expect("remove the source");
    assert_eq!(holding(sb.dir(), &value), Vec::<String>::new(), "on disk, while it runs");
    // A process of exec sees the file, and nothing more.
    let out = sb.exec(["sh", "-c", "cat /run/secrets/pw; env"]).ok();
    assert_eq!(out.stdout.matches(&value).count(), 1, "{out}");
    sb.kill("KILL");
    let out = running.wait();
    assert!(!out.stderr.contains(&value) && !out.stdout.contains(&value), "{out}");
    assert_eq!(holding(sb.dir(), &value), Vec::<String>::new(), "in the state that is kept");
    sb.delete().ok();
    // `explain` knows only the size.
    let path = source(&sb, &value);
    let secret = format!("id=pw,src={path}");
    for args in [
        &["explain", "--why", "--secret", &secret, "--", "true"] as &[&str],
        &["explain", "--json", "--secret", &secret, "--", "true"],
    ] {
        let out = in_dir(sb.runtime().args(args), &dir).output().ok();
        assert!(!out.stdout.contains(&value), "{out}");
        out.prints(&format!("write(<secrets>/pw, {} bytes of <secret pw>)", value.len()));
    }
    sb.leak_check();
}

fn in_dir(call: Call, dir: &Path) -> Call {
    let dir = dir.to_path_buf();
    call.with(move |c| {
        c.current_dir(dir);
    })
}

fn has(text: &[u8], value: &[u8]) -> bool {
    text.windows(value.len()).any(|w| w == value)
}

/// Whether the writable memory of a process contains the value.
fn in_memory(pid: i32, value: &str) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let Ok(memory) = std::fs::File::open(format!("/proc/{pid}/mem")) else { return false };
    maps.lines().filter(|line| line.contains(" rw")).any(|line| {
        let (start, end) = line.split(' ').next().and_then(|r| r.split_once('-')).expect("a range");
        let hex = |text| u64::from_str_radix(text, 16).expect("an address");
        let (start, end) = (hex(start), hex(end));
        let mut bytes = vec![0; usize::try_from((end - start).min(64 << 20)).expect("a size")];
        memory.read_at(&mut bytes, start).is_ok() && has(&bytes, value.as_bytes())
    })
}

/// Files below `dir` that contain the value.
fn holding(dir: &Path, value: &str) -> Vec<String> {
    // Excludes the output of the program and of exec to this test.
    let args = ["-rlaF", "--exclude=stdout.*", value];
    let out = std::process::Command::new("grep").args(args).arg(dir).output().expect("grep");
    String::from_utf8_lossy(&out.stdout).lines().map(str::to_string).collect()
}

#[case(USER)]
fn a_secret_of_an_ordinary_user() {
    let user = one();
    let sb = user.sandbox();
    let dir = project(&sb);
    let value = value(&sb);
    let path = source(&sb, &value);
    user.own(Path::new(&path));
    let secret = format!("id=pw,src={path}");
    let run = |secret: &str, script: &str| {
        let call = user.under(&sb, &[]).args(["run", "-q", "--name", sb.id(), "--secret", secret]);
        in_dir(call.args(["--", "sh", "-c", script]), &dir).output()
    };
    let out = run(&secret, "stat -c '%a %u' /run/secrets/pw; cat /run/secrets/pw").ok();
    assert_eq!(out.stdout, format!("400 {}\n{value}", user.uid), "{out}");
    run(&format!("{secret},uid=7"), "true").exits(125).says("user namespace has no such id");
    // A file of another user stays closed.
    std::os::unix::fs::chown(&path, Some(0), Some(0)).expect("chown");
    run(&secret, "true").exits(125).says("ermission denied");
    sb.leak_check();
}

#[case(ROOT)]
fn a_secret_that_cannot_be_given_stops_the_launch() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    std::fs::write(sb.dir().join("large"), vec![b'x'; (1 << 20) + 1]).expect("write");
    let large = format!("id=a,src={}", sb.dir().join("large").display());
    let place = format!("id=a,src=/etc/hostname,target={}", dir.join("missing").display());
    for (args, says) in [
        (&["--secret", "id=a,src=/nowhere"] as &[&str], "--secret id=a,src=/nowhere: no such file"),
        (&["--secret", "id=NOT_SET_ANYWHERE"], "the variable NOT_SET_ANYWHERE is not set"),
        (&["--secret", "id=a,src=/etc"], "it is a directory"),
        (&["--secret", &large], "the maximum of a secret is 1 MiB"),
        (&["--secret", "id=a,src=/dev/zero"], "larger than 1 MiB"),
        (&["--secret", "id=a,src=/etc/hostname", "--secret", "id=a,env=PATH"], "has this name"),
        (&["--tmpfs", "/run/secrets", "--secret", "id=a,env=PATH"], "another mount is at /run/secrets"),
        (&["--rw", ".", "--secret", &place], "nothing is created on the host"),
    ] {
        run_in(&sb, &dir).args(args).args(["--", "true"]).output().exits(125).says(says);
    }
    assert!(!dir.join("missing").exists());
    sb.leak_check();
}

#[case(ROOT)]
fn every_fault_of_a_secret_leaves_nothing() {
    let sb = Sandbox::new();
    let path = source(&sb, "x");
    let secret = format!("id=pw,src={path},target=/run/pw");
    for row in ["mount:/run/secrets", "secret:pw", "source:/run/secrets/pw", "mount:/run/pw"] {
        let call = sb.run().args(["--secret", &secret, "--fail", &format!("{row}:EIO")]);
        call.output().exits(125).says("(EIO)");
        sb.leak_check();
    }
}

#[case(ROOT)]
fn variables_that_look_like_secrets_are_named() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let run = |args: &[&str]| run_in(&sb, &dir).arg("-q").args(args).args(["--", "true"]).output().ok();
    let out = run(&["-e", "API_TOKEN=abc-123"]);
    out.says("the variable API_TOKEN looks like a secret").says("--secret id=API_TOKEN");
    let out = run(&["-e", "API_TOKEN=abc-123"]);
    assert!(!out.stderr.contains("abc-123"), "{out}");
    assert_eq!(run(&["-e", "API_TOKEN_FILE=/run/secrets/API_TOKEN", "-e", "LANG=C"]).stderr, "");
    sb.leak_check();
}
