//! Tools as they are, without a setting: they neither know of a proxy nor of the sandbox.

use super::WORLD;
use super::names::sh;
use super::world::World;
use crate::harness::{Need, case};

const NODE: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::World, Need::File("/usr/bin/node")];
const GIT: &[Need] = &[Need::Root, Need::Userns, Need::Idmap, Need::World, Need::Git];

#[case(WORLD)]
fn curl_wget_and_python_work_unchanged() {
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

#[case(GIT)]
fn git_clones_over_https() {
    let world = World::new();
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

#[case(NODE)]
fn node_fetches_unchanged() {
    let world = World::new();
    let script = "NODE_EXTRA_CA_CERTS=authority.pem node -e \"fetch('https://a.test/node').then(r=>r.text()).then(t=>process.stdout.write(t)).catch(e=>console.log('ERR',e.cause))\"";
    let out = sh(world.run().args(["-m", "2g", "--allow-net", "a.test"]), script).ok();
    assert_eq!(out.stdout, "203.0.113.2:443 a.test /node\n", "{out}");
    world.leak_check();
}
