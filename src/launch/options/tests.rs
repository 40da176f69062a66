use super::*;
use crate::launch::value::Launch;

fn all() -> Vec<&'static OptionRow> {
    rows().collect()
}

#[test]
fn a_spelling_is_one_row_of_a_verb() {
    for verb in [verbs::RUN, verbs::CREATE, verbs::EXPLAIN] {
        let mut seen = std::collections::BTreeSet::new();
        for row in all().iter().filter(|r| r.verbs & verb != 0) {
            assert!(seen.insert(row.long.to_string()), "--{} is there twice", row.long);
            assert!(row.short.is_none_or(|c| seen.insert(c.to_string())), "-{:?} is there twice", row.short);
            assert!(row.also.is_none_or(|a| seen.insert(a.to_string())), "--{:?} is there twice", row.also);
        }
    }
}

#[test]
fn every_row_says_something_and_refuses_what_it_does_not_take() {
    let unsaid = format!("{:?}", Launch::default());
    for row in all() {
        assert!(!row.doc.is_empty() && !row.doc.ends_with('.'), "--{}: {:?}", row.long, row.doc);
        match row.says {
            Says::Flag(_) | Says::Switch(_) => {
                let mut launch = Launch::default();
                row.say(&mut launch, "").unwrap();
                assert_ne!(format!("{launch:?}"), unsaid, "--{} has no effect", row.long);
            }
            Says::Refused(..) => {
                let why = row.say(&mut Launch::default(), "x").unwrap_err();
                assert!(why.len() > 15, "--{}: {why:?} is no reason", row.long);
            }
            Says::One(..) | Says::Each(..) | Says::List(..) | Says::Path(..) => {
                assert!(!row.good.is_empty(), "--{} names no value that it takes", row.long);
            }
        }
        for value in row.good {
            let mut launch = Launch::default();
            row.say(&mut launch, value).unwrap_or_else(|e| panic!("--{} {value}: {e}", row.long));
            // The defaults, written out.
            let default = matches!(*value, "none" | "private" | "default");
            assert!(default || format!("{launch:?}") != unsaid, "--{} {value} has no effect", row.long);
        }
        for value in row.bad {
            let why = row.say(&mut Launch::default(), value).expect_err(&format!("--{} {value:?}", row.long));
            assert!(!why.is_empty() && !why.ends_with('.'), "--{} {value:?}: {why:?}", row.long);
        }
    }
}

/// The options of `docker run --help` (Docker 28).
const DOCKER: &str = "add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns \
    cidfile cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus \
    cpuset-mems detach detach-keys device device-cgroup-rule device-read-bps device-read-iops device-write-bps \
    device-write-iops disable-content-trust dns dns-option dns-search domainname entrypoint env env-file expose gpus \
    group-add health-cmd health-interval health-retries health-start-interval health-start-period health-timeout hostname init interactive io-maxbandwidth io-maxiops ip ip6 ipc isolation kernel-memory label label-file link \
    link-local-ip log-driver log-opt mac-address memory memory-reservation memory-swap memory-swappiness mount name net network \
    network-alias no-healthcheck oom-kill-disable oom-score-adj pid pids-limit platform privileged publish publish-all pull quiet \
    read-only restart rm runtime security-opt shm-size sig-proxy stop-signal stop-timeout storage-opt sysctl tmpfs tty ulimit user userns uts \
    volume volume-driver volumes-from workdir";

#[test]
fn every_option_of_docker_run_is_a_row() {
    for name in DOCKER.split_whitespace() {
        assert!(row(name).is_some(), "docker run has --{name}: take it, or say why not");
    }
    for (short, long) in [
        ('v', "volume"),
        ('w', "workdir"),
        ('e', "env"),
        ('p', "publish"),
        ('t', "tty"),
        ('m', "memory"),
        ('d', "detach"),
        ('c', "cpu-shares"),
        ('u', "user"),
        ('i', "interactive"),
        ('l', "label"),
        ('a', "attach"),
        ('q', "quiet"),
    ] {
        assert_eq!(row(long).and_then(|r| r.short), Some(short), "--{long}");
    }
}

#[test]
fn mounts_are_read_as_docker_writes_them() {
    let mut launch = Launch::default();
    for (long, value) in [
        ("volume", "/a:/b:rw,noexec"),
        ("mount", "type=bind,src=/a,dst=/c"),
        ("mount", "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700"),
        ("tmpfs", "/u:size=2m,exec"),
    ] {
        row(long).unwrap().say(&mut launch, value).unwrap();
    }
    let [a, b, c, d] = &launch.files.volumes[..] else { panic!("{:?}", launch.files.volumes) };
    assert_eq!((a.write, &a.options[..]), (true, &["noexec".to_string()][..]));
    assert_eq!((b.write, b.source.as_deref()), (false, Some(Path::new("/a"))), "a bind mount is read-only");
    assert_eq!((&c.source, &c.options[..]), (&None, &["size=1048576".to_string(), "mode=700".into()][..]));
    assert_eq!(d.options, ["size=2097152", "exec"]);
}
