#!/usr/bin/env bash
# Real programs from a Debian root file system, each doing real work under `safebox run BUNDLE/` with the default
# policy, with a result that is checked. `scripts/stacks --programs` runs it; it takes minutes and some 3 GB.
#
#   SAFEBOX         the program
#   SAFEBOX_ROOTFS  a Debian root file system that is there already; otherwise debootstrap makes one
#
# Arguments: names of the programs to try; none for all.

set -uo pipefail
: "${SAFEBOX:?the path of safebox}"
packages=ca-certificates,nginx-light,redis-server,postgresql,openjdk-17-jre-headless,nodejs,golang-go,python3
packages+=,python3-venv,git,openssh-client,gcc,libc6-dev,strace,numactl
# What apt's resolver must see: debootstrap installs no alternatives.
later=(chromium gdb)

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
rootfs=${SAFEBOX_ROOTFS:-}
if [[ -z $rootfs ]]; then
    rootfs=$work/rootfs
    debootstrap --variant=minbase --include="$packages" bookworm "$rootfs" >"$work/log" 2>&1 &&
        DEBIAN_FRONTEND=noninteractive chroot "$rootfs" apt-get -y --no-install-recommends install "${later[@]}" \
            >>"$work/log" 2>&1 || { tail "$work/log"; exit 1; }
fi

failed=0
wanted=("$@")
# program NAME WANTED [FLAG]... <<SCRIPT: runs the script with `sh` in a container; its last line is the result. Where
# $executable is set, the config asks for a tmpfs there whose files can be executed, for this program.
program() {
    local name=$1 result=$2 place=${executable:-} got code=0; shift 2
    executable=
    script=$(cat)
    ((${#wanted[@]} == 0)) || [[ " ${wanted[*]} " == *" $name "* ]] || return 0
    mkdir -p "$work/$name"
    (cd "$work/$name" && rm -f config.json && "$SAFEBOX" spec &&
        sed -i "s#\"path\": \"rootfs\"#\"path\": \"$rootfs\"#; s#\"terminal\": true#\"terminal\": false#" config.json &&
        { [[ -z $place ]] || sed -i "s#\"mounts\": \[#&{\"destination\":\"$place\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[\"exec\",\"mode=1777\"]},#" config.json; })
    got=$(timeout 300 "$SAFEBOX" --root "$work/state" run "$@" "$work/$name/" -- sh -c "$script" </dev/null 2>"$work/$name/err") ||
        code=$?
    if [[ $code == 0 && ${got##*$'\n'} == "$result" ]]; then
        printf '%-12s works\n' "$name"
    else
        printf '%-12s FAILED (exit status %s): not %q but\n%s\n' "$name" "$code" "$result" "$got"
        grep -v '^safebox: [a-z-]*: ' "$work/$name/err" | tail -n 20
        failed=1
    fi
}

program nginx 'hello 80' <<'EOS'
mkdir -p /tmp/www && echo 'hello 80' >/tmp/www/index.html
cat >/tmp/nginx.conf <<'EOC'
pid /run/nginx.pid; error_log stderr;
events {}
http { access_log /dev/stdout; root /tmp/www; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p;
  fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s; server { listen 80; } }
EOC
nginx -c /tmp/nginx.conf 2>/dev/null || exit 1
python3 -c 'import urllib.request as u; print(u.urlopen("http://127.0.0.1/").read().decode(), end="", file=open("/tmp/out", "w"))'
nginx -c /tmp/nginx.conf -s quit; cat /tmp/out
EOS

program redis 'value 1' <<'EOS'
redis-server --dir /tmp --port 6379 --save '' >/tmp/log 2>&1 &
for i in $(seq 100); do redis-cli ping >/dev/null 2>&1 && break; sleep 0.1; done
redis-cli set key value >/dev/null && got="$(redis-cli get key) $(redis-cli dbsize)"
redis-cli shutdown nosave; wait && echo "$got"
EOS

program postgres '5050' <<'EOS'
PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)
initdb --auth trust --no-sync "$HOME/db" >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
pg_ctl --wait --silent --log /tmp/log -o '-k /tmp' -D "$HOME/db" start || { cat /tmp/log; exit 1; }
sum=$(psql --host /tmp --no-align --tuples-only postgres -c 'create table t as select generate_series(1,100) n; select sum(n) from t' | tail -n 1)
pg_ctl --silent -D "$HOME/db" stop; echo "$sum"
EOS

program java 'heap within the limit' <<'EOS'
cat >/tmp/A.java <<'EOC'
public class A { public static void main(String[] a) throws Exception {
  long m = Runtime.getRuntime().maxMemory() >> 20; int[] n = {0}; Thread[] t = new Thread[8];
  for (int i = 0; i < 8; i++) { t[i] = new Thread(() -> { synchronized (n) { n[0]++; } }); t[i].start(); }
  for (Thread x : t) x.join();
  System.out.println(n[0] == 8 && m <= 256 ? "heap within the limit" : n[0] + " threads, heap " + m + " MiB"); } }
EOC
java /tmp/A.java
EOS

program node '42 v' <<'EOS'
node -e 'const fs = require("fs"), os = require("os"); fs.writeFileSync(os.homedir() + "/f", "42");
const s = require("http").createServer((q, r) => r.end(fs.readFileSync(os.homedir() + "/f")));
s.listen(80, () => require("http").get("http://127.0.0.1/", r => r.on("data", d => { console.log(d + " " + process.version[0]); s.close(); })));'
EOS

executable=/tmp
program go 'built for uid 65532' <<'EOS'
export GOTMPDIR=/tmp
mkdir "$HOME/m" && cd "$HOME/m" && cat >go.mod <<'EOC'
module m
EOC
cat >main.go <<'EOC'
package main
import ("fmt"; "os/user")
func main() { u, err := user.Current(); if err != nil { panic(err) }; fmt.Println("built for uid", u.Uid) }
EOC
go vet . && go run .
EOS

program venv 'nonroot /run/home' <<'EOS'
python3 -m venv "$HOME/venv" && . "$HOME/venv/bin/activate" && python -m pip --version >/dev/null &&
python -c 'import getpass, os, sqlite3, multiprocessing as m, sys
assert sys.prefix != sys.base_prefix
with m.Pool(4) as p: assert sum(p.map(abs, range(100))) == 4950
sqlite3.connect("/tmp/db").execute("create table t (n)")
print(getpass.getuser(), os.path.expanduser("~"))'
EOS

program git 'second' <<'EOS'
git config --global user.name me && git config --global user.email me@example.org && git init -q /tmp/r && cd /tmp/r
echo a >f && git add f && git commit -qm first && echo b >f && git commit -qam second
git clone -q /tmp/r /tmp/c && git -C /tmp/c fsck --no-progress 2>/dev/null && git -C /tmp/c log -1 --format=%s
EOS

program ssh-keygen 'Good signature' <<'EOS'
ssh-keygen -q -t ed25519 -N '' -f "$HOME/.ssh-key" && echo text >/tmp/t &&
ssh-keygen -q -Y sign -f "$HOME/.ssh-key" -n file /tmp/t 2>/dev/null &&
ssh-keygen -Y check-novalidate -n file -s /tmp/t.sig </tmp/t | grep -o 'Good "file" signature' | sed 's/"file" //'
EOS

executable=/tmp
program gcc 'computed 42' <<'EOS'
cd /tmp && printf '#include <stdio.h>\nint main(void) { printf("computed %%d\\n", 6 * 7); }\n' >t.c &&
gcc -O2 -Wall -o t t.c && ./t
EOS

program chromium '<p>42</p>' --memory 2g --pids-limit 1024 <<'EOS'
echo '<p></p><script>document.querySelector("p").textContent = 6 * 7</script>' >/tmp/x.html
chromium --headless --no-sandbox --disable-gpu --dump-dom file:///tmp/x.html 2>/tmp/log | grep -o '<p>42</p>' || tail -n 5 /tmp/log
EOS

program strace 'write(1' --allow ptrace <<'EOS'
strace -f -o /tmp/t sh -c 'echo traced' >/dev/null && grep -o 'write(1' /tmp/t | head -n 1
EOS

program gdb '$1 = 42' --allow ptrace <<'EOS'
gdb -q -nx -batch -ex 'set startup-with-shell off' -ex 'break main' -ex 'starti' -ex 'print 6*7' -ex kill /bin/true 2>/dev/null | grep '^\$1'
EOS

program numactl 'no NUMA' <<'EOS'
numactl --show 2>&1 | grep -q 'No NUMA' && echo no NUMA
EOS

exit $failed
