//! The program in a small interpreter, in the kernel's verifier, and at work.

use super::*;
use std::fs;
use std::process::Command;

/// `c 1:3 rw`, a leading `-` for deny.
fn rule(text: &str) -> DeviceRule {
    let allow = !text.starts_with('-');
    let mut words = text.trim_start_matches('-').split(' ');
    let kind = words.next().unwrap().chars().next().unwrap();
    let (major, minor) = words.next().unwrap().split_once(':').unwrap();
    let access = words.next().unwrap_or_default();
    let has = |c| access.contains(c);
    DeviceRule {
        allow,
        kind,
        major: major.parse().ok(),
        minor: minor.parse().ok(),
        read: has('r'),
        write: has('w'),
        mknod: has('m'),
    }
}

fn rules(texts: &[&str]) -> Vec<DeviceRule> {
    texts.iter().map(|t| rule(t)).collect()
}

/// What the kernel's interpreter would answer.
fn run(program: &[BpfInsn], kind: i32, major: u32, minor: u32, access: i32) -> u32 {
    let context = [(access as u32) << 16 | kind as u32, major, minor];
    let mut r = [0u32; 16];
    let mut pc = 0usize;
    loop {
        let i = program[pc];
        let (dst, src) = ((i.regs & 15) as usize, (i.regs >> 4) as usize);
        pc += 1;
        let jump = (pc as isize + i.off as isize) as usize;
        match i.code {
            LDX_W => r[dst] = context[i.off as usize / 4],
            MOV => r[dst] = i.imm as u32,
            MOV_REG => r[dst] = r[src],
            AND => r[dst] &= i.imm as u32,
            RSH => r[dst] >>= i.imm,
            JNE if r[dst] != i.imm as u32 => pc = jump,
            JSET if r[dst] & i.imm as u32 != 0 => pc = jump,
            JNE | JSET => {}
            JA => pc = jump,
            EXIT => return r[0],
            code => panic!("instruction {code:#x}"),
        }
    }
}

/// The definition: each wanted access is decided by the last rule that matches.
fn meaning(rules: &[DeviceRule], kind: i32, major: u32, minor: u32, wanted: i32) -> bool {
    [MKNOD, READ, WRITE].iter().filter(|bit| wanted & **bit != 0).all(|bit| {
        let fits = |r: &&DeviceRule| {
            (r.kind == 'a' || (r.kind == 'b') == (kind == BLOCK))
                && r.major.is_none_or(|m| m == major)
                && r.minor.is_none_or(|m| m == minor)
                && access(r) & *bit != 0
        };
        rules.iter().rev().find(fits).is_some_and(|r| r.allow)
    })
}

const LISTS: &[&[&str]] = &[
    &[],
    &["a *:* rwm"],
    &["-a *:* rwm"],
    &["a *:* rwm", "-c 1:3 rwm"],
    &["-a *:* rwm", "c 1:3 rwm", "c 1:5 r", "b 8:* rw", "-b 8:1 w"],
    &["c 1:3 rwm", "-c 1:3 w"],
    &["c 1:3 r", "c 1:3 w"],
    &["-c 1:3 r", "c *:3 m", "b 8:0 rwm"],
    &["a 1:* r", "-a *:5 w"],
    &["a *:* r", "c 1:* w", "-a *:* m"],
    &["c 4294967295:4294967295 rwm", "c 2147483648:0 r"],
    &["c 1:3"],
    &["-c 1:3", "c 1:3 rwm"],
];

#[test]
fn the_last_matching_rule_decides_each_access() {
    let mut lists: Vec<Vec<DeviceRule>> = LISTS.iter().map(|l| rules(l)).collect();
    lists.extend(LISTS.iter().map(|l| with_defaults(&rules(l))));
    for list in lists {
        let code = program(&list);
        for kind in [BLOCK, CHAR] {
            for major in [0, 1, 5, 8, 10, 136, 2147483648, u32::MAX] {
                for minor in [0, 1, 2, 3, 5, 200, u32::MAX] {
                    for wanted in 1..=ALL {
                        let want = u32::from(meaning(&list, kind, major, minor, wanted));
                        let got = run(&code, kind, major, minor, wanted);
                        assert_eq!(got, want, "{kind} {major}:{minor} {wanted} {list:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn defaults_reach_a_container_whose_engine_denies_all() {
    let code = program(&with_defaults(&rules(&["-a *:* rwm", "c 10:229 rwm"])));
    for (major, minor) in
        [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, 7), (10, 200), (10, 229)]
    {
        assert_eq!(run(&code, CHAR, major, minor, ALL), 1, "{major}:{minor}");
    }
    assert_eq!(run(&code, BLOCK, 8, 0, READ), 0);
    assert_eq!(run(&code, BLOCK, 8, 0, MKNOD), 1);
    assert_eq!(run(&code, CHAR, 1, 1, READ), 0, "/dev/mem");
}

#[test]
fn the_verifier_accepts_every_program() {
    let long: Vec<DeviceRule> = (0..600).map(|i| rule(&format!("c 10:{i} rw"))).collect();
    let mut lists: Vec<Vec<DeviceRule>> = LISTS.iter().map(|l| rules(l)).collect();
    lists.extend([with_defaults(&[]), with_defaults(&long)]);
    for list in lists {
        match load(&program(&list)) {
            Err(Errno::EPERM) => {
                println!("skipped: bpf(2) is not permitted here");
                return;
            }
            loaded => {
                drop(loaded.unwrap_or_else(|e| panic!("{e}: {} rules from {:?}", list.len(), list.first())))
            }
        }
    }
}

/// A cgroup of this test's own, removed at the end.
struct Cgroup(std::path::PathBuf);

impl Drop for Cgroup {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).unwrap_or_else(|e| println!("{}: {e}", self.0.display()));
    }
}

fn cgroup() -> Option<Cgroup> {
    let root = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .find(|d| std::path::Path::new(d).join("cgroup.controllers").exists())?;
    let dir = format!("{root}/safebox-devices-test-{}", std::process::id());
    fs::create_dir(&dir).ok()?;
    Some(Cgroup(dir.into()))
}

/// Whether a process of the cgroup can run the shell command.
fn works(cgroup: &Cgroup, command: &str) -> bool {
    let script = format!("echo $$ > {}/cgroup.procs && {command}", cgroup.0.display());
    Command::new("sh").args(["-c", &script]).stderr(std::process::Stdio::null()).status().unwrap().success()
}

#[test]
fn attached_and_replaced_in_a_real_cgroup() {
    let Some(cgroup) = cgroup() else {
        println!("skipped: no cgroup v2 hierarchy to write to");
        return;
    };
    let dir = fs::File::open(&cgroup.0).unwrap();
    let first = match load(&program(&with_defaults(&rules(&["-c 1:3 rwm"])))) {
        Err(Errno::EPERM) => {
            println!("skipped: bpf(2) is not permitted here");
            return;
        }
        loaded => loaded.unwrap(),
    };
    assert!(works(&cgroup, ": < /dev/kmsg"));
    attach(dir.as_fd(), first.as_fd()).unwrap();
    assert!(!works(&cgroup, ": < /dev/kmsg"), "1:11 is not on the list");
    assert!(works(&cgroup, ": < /dev/null > /dev/zero"));

    let second = load(&program(&rules(&["c 1:3 rwm", "-c 1:3 w", "c 1:11 r"]))).unwrap();
    replace(dir.as_fd(), second.as_fd()).unwrap();
    assert_eq!(bpf::attached_device_programs(dir.as_fd()).unwrap().len(), 1);
    assert!(works(&cgroup, ": < /dev/null"));
    assert!(!works(&cgroup, ": > /dev/null"));
    assert!(!works(&cgroup, ": <> /dev/null"), "read and write, of which write is denied");
    assert!(!works(&cgroup, ": < /dev/zero"));

    let third = load(&program(&rules(&["a *:* rwm"]))).unwrap();
    attach(dir.as_fd(), third.as_fd()).unwrap();
    assert!(!works(&cgroup, ": < /dev/zero"), "all must consent");
    let fourth = load(&program(&rules(&["c *:* rwm"]))).unwrap();
    replace(dir.as_fd(), fourth.as_fd()).unwrap();
    assert_eq!(bpf::attached_device_programs(dir.as_fd()).unwrap().len(), 1);
    assert!(works(&cgroup, ": < /dev/zero"));
    assert!(is_enforced(dir.as_fd(), &rules(&["c *:* rwm"])).unwrap());
    for other in [&["c *:* rw"] as &[&str], &["a *:* rwm"], &[]] {
        assert!(!is_enforced(dir.as_fd(), &rules(other)).unwrap(), "{other:?}");
    }
    bpf::detach_device_program(dir.as_fd(), fourth.as_fd()).unwrap();
    assert!(!is_enforced(dir.as_fd(), &rules(&["c *:* rwm"])).unwrap());
}

#[test]
fn lines_for_v1() {
    let lines = |texts: &[&str]| {
        v1_lines(&rules(texts)).map(|l| l.iter().map(|(f, t)| format!("{f} {t}")).collect::<Vec<_>>())
    };
    assert_eq!(lines(&[]).unwrap(), ["devices.deny a"]);
    assert_eq!(
        lines(&["c 9:9 r", "-a *:* rwm", "c 1:3 rwm", "b *:* m"]).unwrap(),
        ["devices.deny a", "devices.allow c 1:3 rwm", "devices.allow b *:* m"]
    );
    assert_eq!(lines(&["a *:* rwm", "-c 1:3 w"]).unwrap(), ["devices.allow a", "devices.deny c 1:3 w"]);
    // "a" with less than everything would be taken for everything.
    assert_eq!(
        lines(&["a *:* r"]).unwrap(),
        ["devices.deny a", "devices.allow b *:* r", "devices.allow c *:* r"]
    );
    assert_eq!(
        lines(&["c 1:3 rw", "-c 1:3 w"]).unwrap(),
        ["devices.deny a", "devices.allow c 1:3 rw", "devices.deny c 1:3 w"]
    );
    assert_eq!(lines(&["c 1:* rw", "-c 1:3 w"]), Err(Inexpressible(rule("-c 1:3 w"))));
    assert_eq!(lines(&["a *:* rwm", "-c 1:* rw", "c 1:3 w"]), Err(Inexpressible(rule("c 1:3 w"))));
    assert!(lines(&["c 1:* r", "-c 1:3 w"]).is_ok());
    // Crossing each other: 1:3 is in both.
    assert_eq!(lines(&["c 1:* rw", "-c *:3 w"]), Err(Inexpressible(rule("-c *:3 w"))));
    // What is wider reaches the exceptions within it.
    assert_eq!(
        lines(&["c 1:3 rw", "c 2:3 r", "c 1:* m", "-c 1:* w"]).unwrap(),
        [
            "devices.deny a",
            "devices.allow c 1:3 rw",
            "devices.allow c 2:3 r",
            "devices.allow c 1:* m",
            "devices.deny c 1:3 w",
            "devices.deny c 1:* w"
        ]
    );
    // All but one: the defaults behind it give nothing back.
    let all_but = v1_lines(&with_defaults(&rules(&["a *:* rwm", "-c 1:11 rwm"]))).unwrap();
    let all_but: Vec<_> = all_but.iter().map(|(f, t)| format!("{f} {t}")).collect();
    assert_eq!(all_but, ["devices.allow a", "devices.deny c 1:11 rwm"]);
    assert!(v1_lines(&with_defaults(&rules(&["-a *:* rwm"]))).is_ok());
}

#[test]
fn after_all_is_allowed_only_the_same_device_is_given_back() {
    let of = |texts: &[&str]| with_defaults(&rules(texts));
    let denied = ["a *:* rwm", "-c 1:11 rwm"];
    assert_eq!(of(&denied), rules(&denied), "the defaults' mknod of all gives nothing back");
    assert_eq!(of(&["a *:* rwm", "-c 1:11 rwm", "c *:* rw"]), rules(&denied));
    assert_eq!(of(&["a *:* rwm", "-c 1:11 rwm", "c 1:11 r"]), rules(&["a *:* rwm", "-c 1:11 wm"]));
    assert_eq!(of(&["a *:* rwm", "-c *:* w", "-c 1:3 rwm"]), rules(&["a *:* rwm", "-c *:* w"]));
    let may = |texts: &[&str]| may_mknod(&of(texts), 'c', (1, 11));
    assert!(!may(&denied) && may(&["a *:* rwm", "-c 1:11 rw"]) && may(&[]) && may(&["-a *:* rwm"]));
    assert_eq!(of(&["-a *:* rwm"]), [rules(&["-a *:* rwm"]), DEFAULT_RULES.to_vec()].concat());
}

#[test]
fn a_hardened_container_has_no_tun_unless_its_rules_say_so() {
    let of = |no_tun, texts: &[&str]| {
        let devices = rules(texts);
        super::rules(&Resources { no_tun, devices, ..Resources::default() })
    };
    let tun = |rules: &[DeviceRule]| rules.iter().any(|r| r.allow && r.major == Some(10) && r.read);
    assert!(tun(&of(false, &[])) && tun(&of(true, &["c 10:200 rw"])));
    assert!(!tun(&of(true, &[])));
    assert_eq!(of(true, &[]).len() + 1, of(false, &[]).len());
}
