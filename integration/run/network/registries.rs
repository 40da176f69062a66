//! Package managers as they are, each against a registry of its own kind: the index is read, the package is fetched, and its
//! checksum is right.

use std::process::Command;

use super::names::sh;
use super::world::World;
use crate::harness::{Need, Output, case, needs};

const SCRIPT: &str = include_str!("registries.py");

const PIP: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::World, Need::File("/usr/bin/pip3")];
const NPM: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::World, Need::File("/usr/bin/npm")];
const APT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::World, Need::File("/usr/bin/apt-get")];
const CARGO: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::World, Need::Toolchain];

/// A world with a registry of each kind at https://a.test/files and http://a.test/files.
fn world() -> World {
    let world = World::new();
    let script = world.dir().join("registries.py");
    std::fs::write(&script, SCRIPT).expect("write");
    let files = world.dir().join("files");
    let mut make = Command::new("/usr/bin/python3");
    let made = make.arg(&script).arg(&files).arg("https://a.test/files").output().expect("python3");
    assert!(made.status.success(), "{made:?}");
    world
}

/// Runs a script that may connect to a.test alone, in a directory of its own.
fn run(more: &[&str], script: &str) -> Output {
    let world = world();
    let call = world.run().args(["-m", "1g", "--pids-limit", "512", "--allow-net", "a.test"]).args(more);
    let out = sh(
        call,
        &format!(
            "ca=$PWD/authority.pem; export HOME=/tmp/home; mkdir -p /tmp/home/p; cd /tmp/home/p; {script}"
        ),
    );
    world.leak_check();
    out.ok()
}

#[case(PIP)]
fn pip_installs_unchanged() {
    let script = "pip3 install -q --cert $ca --index-url https://a.test/files/simple/ --target lib tiny 2>&1 && PYTHONPATH=lib python3 -c 'import tiny; print(tiny.word)'";
    let out = run(&[], script);
    assert_eq!(out.stdout, "of pip\n", "{out}");
}

/// The library of Debian's python3-requests, or the one that pip brings along.
#[case(PIP)]
fn requests_works_unchanged() {
    let script = "python3 -c \"
import os
try: import requests
except ImportError: from pip._vendor import requests
s = requests.Session(); s.verify = '$ca'
print(s.get('https://a.test/one').text, s.get('https://a.test/two').status_code)
try: s.get('https://b.test/')
except requests.exceptions.ConnectionError as e: print('refused')
\"";
    let out = run(&[], script);
    assert_eq!(out.stdout, "203.0.113.2:443 a.test /one\n 200\nrefused\n", "{out}");
    out.says("refused the name b.test");
}

#[case(NPM)]
fn npm_installs_unchanged() {
    let script = "npm install --registry=https://a.test/files/npm/ --cafile=$ca --no-audit --no-fund --no-update-notifier --loglevel=error tiny 2>&1 >/dev/null; node -e \"console.log(require('tiny'))\"";
    let out = run(&[], script);
    assert_eq!(out.stdout, "of npm\n", "{out}");
}

#[case(CARGO)]
fn cargo_fetches_unchanged() {
    let sysroot = needs::toolchain().expect("a toolchain");
    let bin = sysroot.join("bin");
    let script = format!(
        "export PATH={0}:$PATH CARGO_HOME=/tmp/home/cargo CARGO_HTTP_CAINFO=$ca; mkdir -p src .cargo; echo > src/lib.rs
cat > Cargo.toml <<'E'
[package]
name = \"user\"
version = \"0.1.0\"
edition = \"2021\"
[dependencies]
tiny = {{ version = \"1\", registry = \"here\" }}
E
printf '[registries.here]\\nindex = \"sparse+https://a.test/files/index/\"\\n' > .cargo/config.toml
cargo fetch -q 2>&1 && cargo vendor -q --offline >/dev/null 2>&1; cat vendor/tiny/src/lib.rs",
        bin.display()
    );
    let out = run(&["--ro", &sysroot.to_string_lossy()], &script);
    assert_eq!(out.stdout, "pub const WORD: &str = \"of cargo\";\n", "{out}");
}

/// Over TLS and without. apt asks for SRV records first: there are none, and nothing is refused.
#[case(APT)]
fn apt_updates_and_downloads_unchanged() {
    let script = |scheme: &str| {
        format!(
            "mkdir -p state/lists/partial cache/archives/partial etc/preferences.d etc/apt.conf.d; echo 'deb [trusted=yes] {scheme}://a.test/files/apt ./' > etc/list
o='-o Dir::Etc=/tmp/home/p/etc -o Dir::Etc::sourcelist=/tmp/home/p/etc/list -o Dir::Etc::sourceparts=- -o Dir::State=/tmp/home/p/state -o Dir::Cache=/tmp/home/p/cache -o Acquire::https::CaInfo='$ca
apt-get $o -qq update 2>&1 && apt-get $o -qq download tiny 2>&1; dpkg-deb -f tiny_1.0_all.deb Description"
        )
    };
    let out = run(&[], &script("https"));
    assert_eq!(out.stdout, "of apt\n", "{out}");
    assert!(!out.stderr.contains("refused"), "{out}");
    let out = run(&["--allow-net", "a.test:80"], &script("http"));
    assert_eq!(out.stdout, "of apt\n", "{out}");
}
