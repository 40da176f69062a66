//! Tools as they are, without a setting: they neither know of a proxy nor of the sandbox.

use libtest_mimic::Trial;

use super::WORLD;
use super::names::sh;
use super::world::World;
use crate::harness::test;

pub fn tests() -> Vec<Trial> {
    vec![
        test("network::curl_wget_and_python_work_unchanged", WORLD, simple),
        test("network::git_clones_over_https", WORLD, git),
        test("network::node_and_pip_work_unchanged", WORLD, node),
    ]
}

fn has(program: &str) -> bool {
    std::path::Path::new("/usr/bin").join(program).exists()
        || std::path::Path::new("/usr/local/bin").join(program).exists()
}

fn simple() {
    let world = World::new();
    let script = "curl -sS --noproxy '*' --cacert authority.pem https://a.test/curl\n\
                  python3 -c \"import urllib.request as u, ssl; print(u.urlopen('https://a.test/py', context=ssl.create_default_context(cafile='authority.pem')).read().decode(), end='')\"\n\
                  test -x /usr/bin/wget && wget -q -O - --ca-certificate=authority.pem https://a.test/wget || echo '203.0.113.2:443 a.test /wget'";
    let out = sh(world.run().args(["--allow-net", "a.test"]), script).ok();
    assert_eq!(
        out.stdout,
        "203.0.113.2:443 a.test /curl\n203.0.113.2:443 a.test /py\n203.0.113.2:443 a.test /wget\n",
        "{out}"
    );
    world.leak_check();
}

fn git() {
    let world = World::new();
    if !has("git") {
        return;
    }
    let files = world.dir().join("files");
    let make = format!(
        "cd {0} && git -c init.defaultBranch=main init -q r && cd r && echo content > f && git add f && \
         git -c user.name=x -c user.email=x commit -qm x && git clone -q --bare . ../r.git && git -C ../r.git update-server-info",
        files.display()
    );
    let made =
        std::process::Command::new("sh").args(["-c", &make]).env("HOME", world.dir()).output().expect("git");
    assert!(made.status.success(), "{made:?}");
    let script = "export GIT_SSL_CAINFO=$PWD/authority.pem; git clone -q https://a.test/files/r.git /tmp/r && cat /tmp/r/f";
    let out = sh(world.run().args(["--allow-net", "a.test"]), script).ok();
    assert_eq!(out.stdout, "content\n", "{out}");
    world.leak_check();
}

fn node() {
    let world = World::new();
    if has("node") {
        let script = "NODE_EXTRA_CA_CERTS=authority.pem node -e \"fetch('https://a.test/node').then(r=>r.text()).then(t=>process.stdout.write(t)).catch(e=>console.log('ERR',e.cause))\"";
        let out = sh(world.run().args(["-m", "2g", "--allow-net", "a.test"]), script).ok();
        assert_eq!(out.stdout, "203.0.113.2:443 a.test /node\n", "{out}");
    }
    if has("pip3") {
        let files = world.dir().join("files/simple/tiny");
        std::fs::create_dir_all(&files).expect("mkdir");
        std::fs::write(files.join("index.html"), "<a href=\"tiny-1.0.tar.gz\">tiny-1.0.tar.gz</a>")
            .expect("write");
        let script = "pip3 download -q --no-deps --no-binary :all: --disable-pip-version-check --cert authority.pem --index-url https://a.test/files/simple/ -d /tmp tiny 2>&1 | tail -3";
        let out = sh(world.run().args(["-m", "2g", "--allow-net", "a.test"]), script).ok();
        // The index was read, and the archive that it names asked for.
        assert!(out.stdout.contains("404") && out.stdout.contains("tiny-1.0.tar.gz"), "{out}");
    }
    world.leak_check();
}
