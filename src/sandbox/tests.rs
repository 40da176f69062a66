use super::*;
use crate::launch::options;

#[test]
fn words_are_those_of_the_command_line() {
    let mut sandbox = Sandbox::new("ls");
    sandbox
        .arg("-l")
        .env("A", "b c")
        .memory(1 << 20)
        .timeout(Duration::from_millis(1500))
        .option("init", "false");
    sandbox.state_root("/r").option("cap-add", "CHOWN");
    let words = sandbox.words("run", verbs::RUN, &["--quiet"]).unwrap();
    let expect = "safebox --root /r run --quiet --env=A=b c --memory=1048576 --timeout=1500000000ns --init=false \
                  --cap-add=CHOWN -- ls -l";
    assert_eq!(words.join(std::ffi::OsStr::new(" ")).to_str(), Some(expect));
    let cli = cli::parse(&words).unwrap();
    let Verb::Run(run) = cli.verb else { panic!("a run") };
    assert_eq!(run.options.0.life.timeout, Some(Duration::from_millis(1500)));
    // Global options come before the verb.
    sandbox.cgroup_manager(Manager::Disabled).policy_file("/p.toml");
    let words = sandbox.words("run", verbs::RUN, &[]).unwrap();
    let cli = cli::parse(&words).unwrap();
    assert_eq!(cli.global.cgroup_manager, Some(Manager::Disabled));
    assert_eq!(cli.global.policy_file.as_deref(), Some(Path::new("/p.toml")));
    // explain has no deadline.
    let words = sandbox.words("explain", verbs::EXPLAIN, &[]).unwrap();
    assert!(!words.iter().any(|w| w.to_string_lossy().contains("timeout")), "{words:?}");
}

/// The launch of a command line, without its record of the words.
fn launch_of(words: &[OsString]) -> Launch {
    let cli = cli::parse(words).unwrap_or_else(|e| panic!("{words:?}: {e}"));
    let Verb::Run(run) = cli.verb else { panic!("a run") };
    let mut launch = run.options.0;
    launch.words.clear();
    launch.options.clear();
    launch
}

#[test]
fn every_option_of_the_command_line_can_be_said_and_says_the_same() {
    let plain = Sandbox::new("true").words("run", verbs::RUN, &[]).unwrap();
    let (mut same, mut own) = (0, 0);
    for row in options::rows().filter(|row| row.verbs & verbs::RUN != 0) {
        for value in if row.good.is_empty() { &[""] } else { row.good } {
            let mut sandbox = Sandbox::new("true");
            let words = sandbox.option(row.long, value).words("run", verbs::RUN, &[]);
            if CALLERS.contains(&row.long) || row.is_refused() {
                assert!(words.is_err(), "--{}", row.long);
                own += 1;
                continue;
            }
            let mut expect = launch_of(&plain);
            row.say(&mut expect, value).unwrap();
            let words = words.unwrap_or_else(|e| panic!("--{}: {e}", row.long));
            assert_eq!(format!("{:?}", launch_of(&words)), format!("{expect:?}"), "--{} {value}", row.long);
            same += 1;
        }
    }
    assert!(same > 100 && own >= CALLERS.len(), "{same} {own}");
    // Every method is the option that it is named after.
    let mut sandbox = Sandbox::new("true");
    sandbox.read("/a").write("/b").hide("/c").overlay("/d").user("1").workdir("/").allow_net("a.org");
    sandbox.publish("1:2").secret("id=a,src=/x").mount("type=tmpfs,dst=/t").memory(1 << 20).cpus(1.0);
    sandbox.pids_limit(9).timeout(Duration::from_secs(1)).cpu_time(Duration::from_secs(1)).env("A", "b");
    sandbox.output_limit(9).policy(Policy::Restricted);
    let options: Vec<&str> = sandbox.options.iter().map(|(row, _)| row.long).collect();
    let expect = "ro rw hide overlay user workdir allow-net publish secret mount memory cpus pids-limit timeout \
                  cpu-time env output-limit policy";
    assert_eq!(options.join(" "), expect);
    sandbox.words("run", verbs::RUN, &[]).unwrap();
}

#[test]
fn what_is_wrong_is_said_before_anything_runs() {
    let wrong = |long: &str, value: &str| {
        let mut sandbox = Sandbox::new("true");
        sandbox.option(long, value).launcher("/nowhere");
        (sandbox.plan().unwrap_err().to_string(), sandbox.spawn().unwrap_err().to_string())
    };
    for (long, value, says) in [
        ("memory", "x", "--memory \"x\": "),
        ("nothing", "", "no option --nothing"),
        ("privileged", "", "--privileged"),
        ("result", "x", "the library uses it itself"),
    ] {
        let (plan, spawn) = wrong(long, value);
        assert!(plan.contains(says) && spawn.contains(says), "{plan} {spawn}");
    }
}
