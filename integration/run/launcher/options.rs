//! docker run's options, errors for bad values, and typical first attempts.

use std::path::Path;

use safebox::launch::options::{Says, rows, verbs};

use super::{project, run_in};
use crate::harness::{Need, Sandbox, case};

const ROOT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap];

#[case(ROOT)]
fn options_of_docker_run_have_their_effect() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let cidfile = sb.dir().join("cid").to_string_lossy().into_owned();
    for (args, program, prints) in [
        (&["-w", "/usr"] as &[&str], "pwd", "/usr\n"),
        (&["--hostname", "web"], "hostname", "web\n"),
        (&["--ulimit", "nofile=77:88"], "ulimit -Sn; ulimit -Hn", "77\n88\n"),
        (&["--umask", "077"], "umask", "0077\n"),
        (&["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj", "500\n"),
        (&["-u", "1234:2345"], "id -u; id -g", "1234\n2345\n"),
        (&["-u", "1234", "--group-add", "7", "--group-add", "9"], "id -G", "1234 7 9\n"),
        (&["--shm-size", "3m"], "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2", "3072\n"),
        (
            &["--tmpfs", "/scratch:size=2m,exec"],
            "cp /bin/true /scratch/t && /scratch/t && df -k /scratch | tail -1 | tr -s ' ' | cut -d' ' -f2",
            "2048\n",
        ),
        (&["-m", "1m", "-m", "64m"], "echo ok", "ok\n"),
        (&["-it", "--rm", "--cidfile", &cidfile][1..], "echo ok", "ok\n"),
        (&["--sysctl", "net.ipv4.ip_forward=1"], "cat /proc/sys/net/ipv4/ip_forward", "1\n"),
        (&["--cap-drop", "ALL", "--read-only", "--network", "none"], "echo ok", "ok\n"),
        (&["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n"),
    ] {
        let out = run_in(&sb, &dir).arg("-q").args(args).args(["--", "sh", "-c", program]).output().ok();
        assert_eq!(out.stdout, prints, "{args:?}\n{out}");
    }
    assert_eq!(std::fs::read_to_string(&cidfile).expect("the id"), sb.id());
    let out = run_in(&sb, &dir).args(["--cidfile", &cidfile, "--", "true"]).output();
    out.exits(125).says("--cidfile").says("exists");
    let out = run_in(&sb, &dir).args(["--entrypoint", "echo", "--", "a", "b"]).output().ok();
    assert_eq!(out.stdout, "a b\n");
    run_in(&sb, &dir).args(["-t", "--", "true"]).output().exits(125).says("not a TTY");
    sb.leak_check();
}

#[case(ROOT)]
fn names_of_users_are_the_container_s() {
    let sb = Sandbox::new();
    let etc = sb.rootfs().join("etc");
    std::fs::create_dir_all(&etc).expect("mkdir");
    let passwd = "root:x:0:0::/:/bin/sh\nweb:x:1500:1600::/srv:/bin/sh\n4242:x:0:0::/:/bin/sh\nevil:x:0:0::/:/bin/sh\n";
    std::fs::write(etc.join("passwd"), passwd).expect("write");
    std::fs::write(etc.join("group"), "root:x:0:\nweb:x:1600:\nextra:x:1700:other,web\n").expect("write");
    let sb = sb.sh("id -u; id -g; id -G");
    for (user, prints) in [
        ("web", "1500\n1600\n1600 1700\n"),
        ("web:extra", "1500\n1700\n1700\n"),
        ("web:1", "1500\n1\n1 1700\n"),
        ("4242", "4242\n4242\n4242\n"),
    ] {
        let out = sb.run().args(["--user", user]).output().ok();
        assert_eq!(out.stdout, prints, "{user}\n{out}");
    }
    for (user, says) in [
        ("nobody-there", "the container's /etc/passwd has no such name"),
        ("web:nothing", "the container's /etc/group has no such name"),
        ("evil", "maps this name to uid 0"),
    ] {
        sb.run().args(["--user", user]).output().exits(125).says(says);
    }
    sb.leak_check();
}

/// Every bad value of each option in the table.
#[case(ROOT)]
fn a_bad_value_is_named_and_leaves_nothing() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let mut tried = 0;
    for row in rows().filter(|row| row.verbs & verbs::RUN != 0) {
        for value in row.bad {
            let word = format!("--{}={value}", row.long);
            let out = run_in(&sb, &dir).args([&word, "--", "echo", "ran"]).output().exits(125);
            assert!(
                out.stderr.starts_with("safebox: ") && out.stderr.contains(&format!("--{}", row.long)),
                "{out}"
            );
            assert_eq!(out.stdout, "", "{out}");
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
    bad_paths(&sb, &dir);
    for (args, says) in [
        (&["--memory", "1k"] as &[&str], "--memory 1k: must be at least 1 MiB"),
        (&["--cap-add", "FOO"], "for flag --cap-add: unknown capability; one of CHOWN, DAC_OVERRIDE"),
        (&["--timeout", "-1"], "invalid value \"-1\" for flag --timeout: \"-1\" is not a duration"),
        (&["--tiemout", "3"], "flag provided but not defined: --tiemout; is --timeout meant?"),
        (&["--memory", "9999t"], "larger than this machine's memory"),
        (&["--cpus", "4096"], "the cpus of this machine"),
        (&["--memory-swap", "1m", "--memory", "64m"], "smaller than the memory limit"),
        (&["--cpus", "1", "--cpu-quota", "1000"], "say the same thing"),
        (&["--env-file", "nowhere"], "--env-file nowhere: "),
        (&["--device", "/dev/nothing"], "no such file"),
        (&["--security-opt", "seccomp=nowhere"], "seccomp=nowhere"),
    ] {
        run_in(&sb, &dir).args(args).args(["--", "true"]).output().exits(125).says(says);
    }
    sb.leak_check();
}

/// Options that take any text: a path, and a program.
fn bad_paths(sb: &Sandbox, dir: &Path) {
    let network = r#"{ "cniVersion": "0.4.0", "name": "x", "type": "bridge" }"#;
    std::fs::write(dir.join("x.conf"), network).expect("write");
    let bad_paths = [
        ("--audit-log=/nowhere/x", 125),
        ("--cidfile=/nowhere/x", 125),
        ("--pid-file=/nowhere/x", 125),
        ("--console-socket=/nowhere/x", 125),
        ("--pidfd-socket=/nowhere/x", 125),
        ("--compose=/nowhere/x", 125),
        ("--pod=/nowhere/x", 125),
        ("--rootfs=/nowhere/x", 125),
        ("--bundle=/nowhere/x", 125),
        ("--cni-netconfpath=/nowhere/x", 125),
        ("--cni-path=/nowhere/x", 125),
        ("--entrypoint=/nowhere/x", 127),
    ];
    for row in rows().filter(|row| row.verbs & verbs::RUN != 0 && row.bad.is_empty()) {
        let free = matches!(row.says, Says::One(..) | Says::Each(..) | Says::List(..) | Says::Path(..));
        let word = format!("--{}=", row.long);
        let case = bad_paths.iter().find(|(bad, _)| bad.starts_with(&word));
        assert!(!free || case.is_some(), "--{} has no bad value here or in its row", row.long);
        let Some((bad, code)) = case else { continue };
        let says = match row.long {
            "console-socket" => "console socket",
            "cni-path" => "/nowhere/x: no such directory",
            _ => "/nowhere/x",
        };
        let call = match row.long {
            "audit-log" => run_in(sb, dir).args(["--allow-net", "example.org", bad]),
            "cni-netconfpath" => run_in(sb, dir).args(["--network", "cni:x", bad]),
            "cni-path" => run_in(sb, dir).args(["--network", "cni:x", "--cni-netconfpath", ".", bad]),
            "compose" => run_in(sb, dir).args([bad, "service"]),
            _ => run_in(sb, dir).arg(bad),
        };
        let out = call.args(["--", "echo", "ran"]).output().exits(*code).says(says);
        assert_eq!(out.stdout, "", "{bad}\n{out}");
        sb.leak_check();
    }
}

#[case]
fn refused_options_say_what_to_use() {
    let sb = Sandbox::new();
    for row in rows() {
        let Says::Refused(shape, why) = row.says else { continue };
        let word = match shape {
            safebox::launch::options::ValueShape::Flag => format!("--{}", row.long),
            safebox::launch::options::ValueShape::Value => format!("--{}=x", row.long),
        };
        sb.runtime().args(["run", &word, "--", "true"]).output().exits(125).says(why);
    }
    sb.leak_check();
}

#[case(ROOT)]
fn a_directory_is_a_root_file_system() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let rootfs = sb.rootfs().to_string_lossy().into_owned();
    let run = |args: &[&str]| run_in(&sb, &dir).arg("-q").args(["--rootfs", &rootfs]).args(args).output();
    let out = run(&["--", "/bin/sh", "-c", "id -u; pwd; touch /x; hostname"]);
    assert!(out.stdout.starts_with("65532\n/\n"), "{out}");
    out.says("Read-only");
    run_in(&sb, &dir).args(["-q", "--rootfs", "/", "--", "true"]).output().ok();
    run_in(&sb, &dir).args(["--rootfs", "nowhere", "--", "true"]).output().exits(125).says("nowhere");
    sb.leak_check();
}

#[case(ROOT)]
fn first_attempts_say_what_to_type() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    std::fs::write(dir.join("image.tar"), "x").expect("write");
    std::fs::copy("/bin/true", dir.join("program")).expect("copy");
    let outside = sb.dir().join("outside");
    std::fs::create_dir(&outside).expect("mkdir");
    std::fs::copy("/bin/true", outside.join("only-outside")).expect("copy");
    std::fs::create_dir(dir.join("layout")).expect("mkdir");
    std::fs::write(dir.join("layout/oci-layout"), "{}").expect("write");
    let index = r#"{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"v7"}}]}"#;
    std::fs::write(dir.join("layout/index.json"), index).expect("write");
    for (args, code, says) in [
        (&["run", "/", "--", "true"] as &[&str], 125, "safebox run -- PROGRAM"),
        (&["run", "./image.tar"], 125, "skopeo copy docker-archive:"),
        (&["run", "./image.tar"], 125, "umoci unpack --image image:latest bundle"),
        (&["run", "image.tar"], 125, "skopeo copy docker-archive:"),
        (&["run", "./layout/"], 125, ":v7 bundle"),
        (&["run"], 125, "safebox run -- PROGRAM"),
        (&["run", "--"], 125, "safebox run -- PROGRAM"),
        (&["run", "sh", "x.sh"], 125, "come after --: safebox run ... -- sh x.sh"),
        (&["run", "sh"], 125, "sh is taken as a container id; for this machine's program: safebox run -- sh"),
        (&["run", "-it", "alpine"], 125, "skopeo copy docker://"),
        (&["run", "--rm", "alpine", "ls"], 125, "skopeo copy docker://"),
        (&["run", "./program"], 125, "safebox run -- ./program"),
        (&["sh", "x.sh"], 3, "safebox run -- sh"),
        (&["run", "--ro-bind", "/usr", "/usr", "--", "true"], 125, "-v SRC:DST is read-only"),
        (&["run", "--private", "--", "true"], 125, "empty tmpfs by default"),
        (&["run", "--property=MemoryMax=1G", "--", "true"], 125, "--memory SIZE"),
        (&["run", "--", "only-outside"], 127, "outside/only-outside of this machine is not shown: --ro "),
        (&["run", "--", "../outside/only-outside"], 127, "only-outside of this machine is not shown: --ro "),
        (&["run", "--", "no-such-program"], 127, "\"no-such-program\": executable file not found in $PATH\n"),
        (&["run", "--privileged", "--", "true"], 125, "--allow"),
    ] {
        let (here, path) = (dir.clone(), format!("{}:/usr/bin:/bin", outside.display()));
        let out = sb
            .runtime()
            .args(args)
            .env("PATH", &path)
            .with(move |c| {
                c.current_dir(here);
            })
            .output();
        out.exits(code).says(says);
    }
    sb.leak_check();
}
