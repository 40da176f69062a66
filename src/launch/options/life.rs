//! Options about the container's life, about what the launcher says, and those that callers of an OCI runtime use.

use super::heading::{CALLERS, GENERAL, LEARNING};
use super::verbs::{CONFIG, CREATE, RUN};
use super::words::{parse_fail, whole};
use super::{OptionRow, Says};

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    OptionRow::new(
        "rootfs",
        GENERAL,
        CONFIG,
        Says::Path("DIR", |l, v| l.life.rootfs = Some(v.into())),
        "Run in this directory as root file system, without a config.json",
    )
    .values(&["/srv/rootfs"], &[]),
    OptionRow::new(
        "compose",
        GENERAL,
        RUN,
        Says::Path("FILE", |l, v| l.life.compose = Some(v.into())),
        "Run a service of a compose file, by its name, in the directory of --rootfs",
    )
    .more("The options of the command line count before those of the file; what the file says and has no effect is listed")
    .values(&["compose.yaml"], &[]),
    OptionRow::new(
        "pod",
        GENERAL,
        RUN,
        Says::Path("FILE", |l, v| l.life.pod = Some(v.into())),
        "The same for a container of a Kubernetes manifest; without a name its first one",
    )
    .values(&["pod.yaml"], &[]),
    OptionRow::new(
        "bundle",
        GENERAL,
        RUN | CREATE,
        Says::Path("DIR", |l, v| l.life.bundle = Some(v.into())),
        "The bundle's directory [default: the working directory]",
    )
    .short('b')
    .values(&["bundle"], &[]),
    OptionRow::new(
        "name",
        GENERAL,
        RUN,
        Says::One("ID", |l, v| {
            crate::state::check_id(v)
                .map_err(|_| "an id has letters, digits and _ + - . only, and at most 1024 bytes")?;
            l.life.name = Some(v.into());
            Ok(())
        }),
        "The container's id [default: made up from the name of what runs]",
    )
    .values(&["web-1"], &["", "a/b", "..", "a b"]),
    OptionRow::new(
        "quiet",
        GENERAL,
        RUN,
        Says::Flag(|l| l.life.quiet = true),
        "Print no notice, but what is weaker than restricted",
    )
    .short('q'),
    OptionRow::new(
        "verbose",
        GENERAL,
        RUN,
        Says::Flag(|l| l.life.verbose = true),
        "Print each change that options and policy made to the config",
    ),
    OptionRow::new("detach", GENERAL, RUN, Says::Flag(|l| l.life.detach = true), "Return when the program runs")
        .short('d'),
    OptionRow::new(
        "rm",
        GENERAL,
        RUN,
        Says::Flag(|l| l.life.rm = true),
        "Remove the container when it ends; in the foreground this is the default, and --rm overrides --keep",
    ),
    OptionRow::new(
        "keep",
        GENERAL,
        RUN,
        Says::Flag(|l| l.life.keep = true),
        "Keep the state of the container when it ends",
    ),
    OptionRow::new(
        "cidfile",
        GENERAL,
        RUN,
        Says::Path("FILE", |l, v| l.life.cidfile = Some(v.into())),
        "Write the container's id to this file, which must not exist",
    )
    .values(&["/tmp/cid"], &[]),
    OptionRow::new(
        "pid-file",
        CALLERS,
        RUN | CREATE,
        Says::Path("FILE", |l, v| {
            l.caller.pid_file = Some(crate::launch::links::in_real_directory(std::path::Path::new(v)))
        }),
        "Write the pid of the container's process to this file",
    )
    .values(&["/tmp/pid"], &[]),
    OptionRow::new(
        "console-socket",
        CALLERS,
        RUN | CREATE,
        Says::Path("SOCKET", |l, v| l.life.console_socket = Some(v.into())),
        "Send the terminal's master end to this unix socket",
    )
    .values(&["/tmp/socket"], &[]),
    OptionRow::new(
        "pidfd-socket",
        CALLERS,
        RUN | CREATE,
        Says::Path("SOCKET", |l, v| l.life.pidfd_socket = Some(v.into())),
        "Send a pidfd of the container's process to this unix socket",
    )
    .values(&["/tmp/socket"], &[]),
    OptionRow::new(
        "no-pivot",
        CALLERS,
        RUN | CREATE,
        Says::Flag(|l| l.caller.no_pivot = true),
        "Use chroot instead of pivot_root (weaker; for a root on an initramfs)",
    ),
    OptionRow::new(
        "no-new-keyring",
        CALLERS,
        RUN | CREATE,
        Says::Flag(|l| l.caller.no_new_keyring = true),
        "Keep the caller's session keyring",
    ),
    OptionRow::new(
        "preserve-fds",
        CALLERS,
        RUN | CREATE,
        Says::One("N", |l, v| {
            let _: () = l.life.preserve_fds = whole(v, 0..=1_048_576)?;
            Ok(())
        }),
        "Pass file descriptors 3 to 2+N on",
    )
    .values(&["2"], &["", "-1", "x", "1.5"]),
    OptionRow::new("no-subreaper", CALLERS, RUN, Says::Flag(|l| l.life.no_subreaper = true), "Do not reap orphans"),
    OptionRow::new(
        "explain-denials",
        LEARNING,
        RUN,
        Says::Flag(|l| l.life.explain_denials = true),
        "After a run that failed, name the system calls, paths and addresses that were refused, and the flag that allows each",
    )
    .more("The launcher observes the calls (seccomp_unotify(2)), which makes them slower; the kernel alone decides."),
    OptionRow::new(
        "step",
        LEARNING,
        RUN,
        Says::Flag(|l| l.life.step = true),
        "Show each kernel operation and wait for Enter",
    ),
    OptionRow::new(
        "until",
        LEARNING,
        RUN,
        Says::One("ROW", |l, v| match v {
            "" => Err("a row is needed: its name or number, see safebox explain".into()),
            _ => {
                let _: () = l.life.until = Some(v.into());
                Ok(())
            }
        }),
        "Perform the plan up to this row (its name or number, see explain), wait for Enter, undo it",
    )
    .values(&["3", "pivot"], &[""]),
    OptionRow::new(
        "fail",
        LEARNING,
        RUN,
        Says::One("ROW[:ERRNO]", |l, v| {
            let _: () = l.life.fail = Some(parse_fail(v)?);
            Ok(())
        }),
        "Make this row fail, to see what happens, e.g. seccomp:EPERM",
    )
    .values(&["3", "3:EIO", "pivot"], &["3:EWHAT"]),
];
