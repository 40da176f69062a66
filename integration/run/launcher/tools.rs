//! Developers' tools of this machine, without options or with the paths that they need: git, python, npm, cargo.

use std::path::Path;

use super::{picture, project, run_in};
use crate::harness::needs::find;
use crate::harness::{Output, Sandbox, case};

/// `sh -c SCRIPT` in the project, with these options.
fn sh(sb: &Sandbox, dir: &Path, options: &[&str], script: &str) -> Output {
    run_in(sb, dir).arg("-q").args(options).args(["--", "sh", "-c", script]).output()
}

#[case(Root, Userns, Idmap, Python)]
fn python_works() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let program = "import asyncio, hashlib, json, multiprocessing, os, sqlite3, ssl, subprocess, sys, tempfile, threading\n\
                   async def slept(): await asyncio.sleep(0.01); return 3\n\
                   if __name__ == '__main__':\n    \
                       with multiprocessing.Pool(2) as pool: print(pool.map(abs, [-1, 2]))\n    \
                       print(subprocess.run(['echo', 'x'], capture_output=True).stdout, asyncio.run(slept()))\n    \
                       sqlite3.connect(tempfile.mkstemp()[1]).execute('create table t (x)')\n    \
                       print(sys.argv[1:], os.cpu_count() > 0, os.getcwd())\n";
    std::fs::write(dir.join("x.py"), program).expect("write");
    let out = run_in(&sb, &dir).args(["-q", "--", "python3", "x.py", "-v"]).output().ok();
    let expect = format!("[1, 2]\nb'x\\n' 3\n['-v'] True {}\n", dir.display());
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), (expect.as_str(), ""), "{out}");
    sb.leak_check();
}

/// The repository belongs to root, and the program does not run as root.
#[case(Root, Userns, Idmap, Program("git"))]
fn git_works() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let make = "git -c init.defaultBranch=main init -q . && git add file && \
                git -c user.name=x -c user.email=x commit -qm one";
    let made = std::process::Command::new("sh").args(["-c", make]).current_dir(&dir).output().expect("git");
    assert!(made.status.success(), "{made:?}");
    let before = picture(&dir);
    let out = sh(&sb, &dir, &[], "git log --format=%s; git status --short; git diff --stat").ok();
    assert_eq!(out.stdout, "one\n?? sub/\n", "{out}");
    assert!(picture(&dir) == before, "the repository is as it was");
    let commit = "git add sub && git -c user.name=x -c user.email=x commit -qm two && git log --format=%s";
    assert_eq!(sh(&sb, &dir, &["--rw", "."], commit).ok().stdout, "two\none\n");
    assert!(!picture(&dir).contains(" 65532:"), "all that was written is root's");
    sb.leak_check();
}

#[case(Root, Userns, Idmap, Program("npm"))]
fn npm_works() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let package = r#"{ "name": "p", "version": "1.0.0", "scripts": { "test": "node t.js" }, "dependencies": { "lib": "file:../lib" } }"#;
    std::fs::write(dir.join("package.json"), package).expect("write");
    std::fs::write(dir.join("t.js"), "console.log(require('lib'))").expect("write");
    let lib = sb.dir().join("lib");
    std::fs::create_dir(&lib).expect("mkdir");
    std::fs::write(lib.join("package.json"), r#"{ "name": "lib", "version": "1.0.0", "main": "i.js" }"#)
        .expect("write");
    std::fs::write(lib.join("i.js"), "module.exports = 'of the library'").expect("write");
    let script = "npm install --offline --no-audit --no-fund >/dev/null && npm test --silent";
    let out = sh(&sb, &dir, &["--rw", ".", "--ro", "../lib"], script).ok();
    assert_eq!(out.stdout, "of the library\n", "{out}");
    sb.leak_check();
}

/// cargo and its toolchain are often below the home directory: the error for a missing program names the path.
#[case(Root, Userns, Idmap, Program("cargo"))]
fn cargo_works() {
    let sb = Sandbox::new();
    let dir = project(&sb);
    let manifest = "[package]\nname = \"p\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
    std::fs::write(dir.join("Cargo.toml"), manifest).expect("write");
    std::fs::create_dir(dir.join("src")).expect("mkdir");
    std::fs::write(dir.join("src/main.rs"), "fn main() { println!(\"built\"); }").expect("write");
    let home = |name: &str, default: &str| {
        std::env::var_os(name).map_or_else(
            || std::path::PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(default),
            std::path::PathBuf::from,
        )
    };
    let (cargo, rustup) = (home("CARGO_HOME", ".cargo"), home("RUSTUP_HOME", ".rustup"));
    let program = find("cargo").expect("cargo");
    let rustup_s = cargo.is_dir() && rustup.is_dir() && program.starts_with(&cargo);
    let shown = [cargo.to_string_lossy().into_owned(), rustup.to_string_lossy().into_owned()];
    let mut options = vec!["--rw", "."];
    if rustup_s {
        let bin = program.parent().expect("a directory").display().to_string();
        let out = sh(&sb, &dir, &options, "exec cargo check");
        assert_eq!(out.code, 127, "{out}");
        let out = run_in(&sb, &dir).args(["-q", "--", "cargo", "check"]).output().exits(127);
        out.says(&format!("{bin}/cargo of this machine is not shown: --ro {bin} shows it"));
        options.extend(["--ro", &shown[0], "--ro", &shown[1], "-e", "PATH"]);
    }
    let out = sh(&sb, &dir, &options, "cargo check --offline --quiet && cargo run --offline --quiet").ok();
    assert_eq!(out.stdout, "built\n", "{out}");
    sb.leak_check();
}
