//! Compose files, manifests, `docker run` lines and Dockerfiles: run where they can be, judged in any case.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};

use crate::harness::needs::templates;
use crate::harness::{Need, Output, Sandbox, case};

const RUN: &[Need] = &[Need::Root, Need::Userns];

const COMPOSE: &str = r#"services:
  web:
    image: shop/web:2.4.1
    user: "1000:1000"
    read_only: true
    init: true
    working_dir: /srv/web
    entrypoint: ["/bin/sh", "-c"]
    command: ["id -u; pwd; cat index.html; cat /run/secrets/db; echo $$LOG_LEVEL; ulimit -n; touch /tmp/x && echo scratch; grep Seccomp: /proc/self/status"]
    tmpfs:
      - /tmp:noexec,nosuid,size=8m
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    deploy:
      resources:
        limits: { cpus: "0.5", memory: 64M, pids: 50 }
    ulimits:
      nofile: { soft: 100, hard: 200 }
    ports: ["127.0.0.1:8080:8080"]
    restart: unless-stopped
    frobnicate: yes
    secrets: [db]
    environment: { LOG_LEVEL: info }
    volumes:
      - ./site:/srv/web:ro
      - logs:/var/log
  open:
    image: x
    privileged: true
    network_mode: host
    environment:
      - DB_PASSWORD=hunter2
    volumes:
      - /var/run/docker.sock:/var/run/docker.sock
volumes: { logs: {} }
secrets:
  db: { file: ./secret.txt }
"#;

/// The compose file and what it names, beside a bundle's rootfs.
fn compose() -> (Sandbox, PathBuf) {
    let sb = Sandbox::new();
    let file = sb.dir().join("compose.yaml");
    // Of tests that run at once each has a port of its own.
    static PORT: AtomicU16 = AtomicU16::new(18_400);
    let port = format!("127.0.0.1:{}:8080", PORT.fetch_add(1, Ordering::Relaxed));
    std::fs::write(&file, COMPOSE.replace("127.0.0.1:8080:8080", &port)).expect("write");
    std::fs::create_dir(sb.dir().join("site")).expect("mkdir");
    std::fs::write(sb.dir().join("site/index.html"), "hello\n").expect("write");
    std::fs::write(sb.dir().join("secret.txt"), "s3cret\n").expect("write");
    (sb, file)
}

fn run(sb: &Sandbox, flag: &str, file: &PathBuf, more: &[&str]) -> Output {
    let call = sb.runtime().arg("run").arg("--rootfs").arg(sb.rootfs()).arg(flag).arg(file);
    call.args(more).args(["--name", sb.id()]).output()
}

#[case(RUN)]
fn the_compose_file_runs() {
    let (sb, file) = compose();
    let out = run(&sb, "--compose", &file, &["web"]).ok();
    assert!(out.stdout.starts_with("1000\n/srv/web\nhello\ns3cret\ninfo\n100\nscratch\n"), "{out}");
    assert!(out.stdout.contains("Seccomp:\t2"), "{out}");
    sb.leak_check();
}

const POD: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  template:
    spec:
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        runAsUser: 1001
        runAsGroup: 1001
        fsGroup: 1001
        seccompProfile: { type: RuntimeDefault }
      containers:
        - name: web
          image: shop/web:2.4.1
          command: ["/bin/sh", "-c"]
          args: ["id -u; echo $LOG_LEVEL; touch /data/x && echo data"]
          env: [{ name: LOG_LEVEL, value: info }]
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: { drop: ["ALL"] }
          resources:
            limits: { memory: 64Mi, cpu: 500m }
          volumeMounts:
            - { name: data, mountPath: /data }
          livenessProbe:
            exec: { command: ["true"] }
      volumes:
        - name: data
          emptyDir: { sizeLimit: 4Mi }
"#;

#[case(RUN)]
fn the_pod_runs() {
    let sb = Sandbox::new();
    std::fs::create_dir(sb.rootfs().join("data")).expect("mkdir");
    let file = sb.dir().join("pod.yaml");
    std::fs::write(&file, POD).expect("write");
    for name in [&["web"][..], &[]] {
        let out = run(&sb, "--pod", &file, name).ok();
        assert!(out.stdout.starts_with("1001\ninfo\ndata\n"), "{out}");
        sb.leak_check();
    }
    let open = POD.replace(
        "            readOnlyRootFilesystem",
        "            procMount: Unmasked\n            readOnlyRootFilesystem",
    );
    std::fs::write(&file, open).expect("write");
    run(&sb, "--pod", &file, &[]).exits(125).says("use --allow proc");
    let masks = findings(&report(&sb, &file)[0]);
    assert!(masks.iter().any(|(id, line)| id == "masks" && *line == 22), "{masks:?}");
    run(&sb, "--pod", &file, &["nope"]).exits(125).says("no container \"nope\"; one of web");
}

#[case(RUN)]
fn the_command_line_counts_before_the_file() {
    let (sb, file) = compose();
    let out = run(
        &sb,
        "--compose",
        &file,
        &["web", "--user", "7:7", "--env", "MORE=1", "--", "/bin/sh", "-c", "id -u; echo $MORE$LOG_LEVEL"],
    );
    out.ok().prints("7\n1info\n");
    sb.leak_check();
}

#[case(RUN)]
fn what_has_no_effect_is_listed() {
    let (sb, file) = compose();
    let out = run(&sb, "--compose", &file, &["web"]).ok();
    for text in [
        "compose.yaml:21: frobnicate is not known",
        "compose.yaml:20: restart has no effect: a service manager",
        "the volume logs is a tmpfs here",
    ] {
        assert!(out.stderr.contains(text), "{text}\n{out}");
    }
    // A service that asks for everything is not run with less.
    run(&sb, "--compose", &file, &["open"]).exits(125).says("privileged: name what is needed");
    sb.leak_check();
}

#[case(Root)]
fn mistakes_are_named_with_their_line() {
    let (sb, file) = compose();
    run(&sb, "--compose", &file, &["nope"]).exits(125).says("no service \"nope\"; one of web, open");
    run(&sb, "--compose", &file, &[]).exits(125).says("name the service");
    sb.runtime()
        .args(["run", "--compose"])
        .arg(&file)
        .arg("web")
        .output()
        .exits(125)
        .says("unpack shop/web:2.4.1");
    let bad = COMPOSE.replace("nofile: { soft: 100, hard: 200 }", "nofile: { soft: 100 }");
    std::fs::write(&file, bad).expect("write");
    run(&sb, "--compose", &file, &["web"])
        .exits(125)
        .says("compose.yaml:18: ulimits: nofile: soft and hard are needed");
    std::fs::write(&file, "services: [").expect("write");
    run(&sb, "--compose", &file, &["web"]).exits(125).says("compose.yaml:");
    sb.leak_check();
}

/// A service is not run with less than it asks for, nor with more.
#[case(RUN)]
fn what_cannot_be_done_stops_the_run() {
    let (sb, file) = compose();
    for (line, says) in [
        ("extends: { service: open }", "compose.yaml:4: extends: "),
        ("volumes: [\"./site:/srv/web:rshared\"]", "compose.yaml:4: volume "),
        ("volumes: [\"/var/run/docker.sock:/s\"]", "docker.sock"),
        ("use_api_socket: true", "docker.sock"),
        ("cap_add: [ALL]", "cap-add ALL"),
        ("network_mode: \"service:open\"", "network service:open"),
        (
            "user: \"${NOT_SET_ANYWHERE:?name the user}\"",
            "compose.yaml:4: the variable NOT_SET_ANYWHERE is needed",
        ),
    ] {
        let text = format!("services:\n  a:\n    image: x\n    {line}\n");
        std::fs::write(&file, text).expect("write");
        run(&sb, "--compose", &file, &["a"]).exits(125).says(says);
        sb.leak_check();
    }
    // The audit says what it has not judged.
    std::fs::write(&file, "services: { a: { image: x, extends: { service: b } } }\n").expect("write");
    let unknown = report(&sb, &file)[0]["notUnderstood"].to_string();
    assert!(unknown.contains("extends: what is inherited"), "{unknown}");
    // A FIFO has no end.
    let fifo = sb.dir().join("fifo.yaml");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).expect("a FIFO");
    run(&sb, "--compose", &fifo, &["a"]).exits(125).says("not a regular file");
    std::fs::remove_file(&fifo).expect("remove");
    run(&sb, "--pod", &PathBuf::from("/dev/zero"), &[]).exits(125).says("not a regular file");
}

#[case(RUN)]
fn a_detached_service_has_its_log_and_health() {
    let (sb, file) = compose();
    let text = "services:\n  a:\n    image: x\n    command: [sh, -c, \"echo hello $${WHO}; sleep 60\"]\n    environment: { WHO: \"${NOT_SET_ANYWHERE:-you}\" }\n    healthcheck: { test: [CMD, test, -e, /bin/sh], interval: 1s }\n    logging: { driver: json-file, options: { max-size: 1m, max-file: \"2\" } }\n";
    std::fs::write(&file, text).expect("write");
    run(&sb, "--compose", &file, &["a", "--detach"]).ok();
    crate::harness::poll("the log", std::time::Duration::from_secs(10), || {
        sb.verb("logs").stdout == "hello you\n"
    });
    crate::harness::poll("a health check", std::time::Duration::from_secs(15), || {
        sb.verb("inspect").stdout.contains("\"healthy\"")
    });
    sb.runtime().args(["rm", "--force", sb.id()]).output().ok();
    sb.leak_check();
    // In the foreground it is said to have no effect.
    let text = text.replace("sleep 60", "true");
    std::fs::write(&file, text).expect("write");
    let out = run(&sb, "--compose", &file, &["a"]).ok();
    assert!(out.stdout == "hello you\n" && out.stderr.contains("health-cmd has no effect"), "{out}");
}

fn report(sb: &Sandbox, target: &PathBuf) -> Vec<Value> {
    let out = sb.runtime().arg("audit").arg(target).args(["--format", "json"]).output().ok();
    let value: Value = serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("{e}\n{out}"));
    value["targets"].as_array().expect("targets").clone()
}

fn findings(target: &Value) -> Vec<(String, u64)> {
    let all = target["findings"].as_array().expect("findings").iter();
    all.map(|f| (f["rule"].as_str().unwrap_or_default().to_string(), f["line"].as_u64().unwrap_or(0)))
        .collect()
}

#[case]
fn files_are_judged_with_their_lines() {
    let (sb, file) = compose();
    let targets = report(&sb, &file);
    assert_eq!(targets.len(), 2);
    let web = findings(&targets[0]);
    for rule in [
        "non-root",
        "read-only-rootfs",
        "no-new-privileges",
        "no-capabilities",
        "limits",
        "seccomp",
        "environment-secrets",
    ] {
        assert!(!web.iter().any(|(id, _)| id == rule), "{rule}: {web:?}");
    }
    let unknown = targets[0]["notUnderstood"].to_string();
    assert!(unknown.contains("frobnicate") && unknown.contains("compose.yaml:21"), "{unknown}");
    let open = findings(&targets[1]);
    let line = |text: &str| COMPOSE.lines().position(|l| l.contains(text)).expect("a line") as u64 + 1;
    for (rule, text) in [
        ("privileged", "privileged: true"),
        ("dangerous-capabilities", "privileged: true"),
        ("seccomp", "privileged: true"),
        ("host-namespaces", "network_mode: host"),
        ("environment-secrets", "DB_PASSWORD"),
        ("engine-sockets", "docker.sock"),
        // What is not said is at the service.
        ("non-root", "  open:"),
        ("limits", "  open:"),
    ] {
        assert!(open.contains(&(rule.to_string(), line(text))), "{rule} at {}: {open:?}", line(text));
    }
    let file = sb.dir().join("pod.yaml");
    std::fs::write(&file, POD).expect("write");
    let pod = findings(&report(&sb, &file)[0]);
    for rule in ["non-root", "read-only-rootfs", "no-new-privileges", "no-capabilities", "seccomp"] {
        assert!(!pod.iter().any(|(id, _)| id == rule), "{rule}: {pod:?}");
    }
    std::fs::write(&file, "a: 1\n").expect("write");
    sb.runtime().arg("audit").arg(&file).output().exits(2).says("nor a Kubernetes manifest");
}

/// The files of ../shared/templates, where they are.
#[case(Templates)]
fn the_templates_are_judged() {
    let dir = templates();
    let sb = Sandbox::new();
    let bad = findings(&report(&sb, &dir.join("Dockerfile.bad"))[0]);
    for (rule, line) in [
        ("dockerfile-user", 2),
        ("dockerfile-tag", 2),
        ("dockerfile-digest", 2),
        ("dockerfile-secrets", 3),
        ("dockerfile-secrets", 4),
        ("dockerfile-add", 5),
        ("dockerfile-secrets", 6),
        ("dockerfile-packages", 7),
        ("dockerfile-sudo", 7),
        ("dockerfile-curl-pipe", 8),
        ("dockerfile-secrets", 9),
        ("dockerfile-setuid", 10),
        ("dockerfile-ssh", 11),
        ("dockerfile-workdir", 12),
        ("dockerfile-exec-form", 13),
        ("dockerfile-healthcheck", 2),
    ] {
        assert!(bad.contains(&(rule.to_string(), line)), "{rule}:{line}: {bad:?}");
    }
    for (file, count) in [("compose.yaml", 2), ("pod.yaml", 1)] {
        let targets = report(&sb, &dir.join(file));
        assert_eq!(targets.len(), count, "{file}");
        for target in targets {
            let high = target["findings"]
                .as_array()
                .expect("findings")
                .iter()
                .filter(|f| f["severity"] == "high")
                .count();
            assert_eq!(high, 0, "{file}: {target:#}");
            assert_eq!(target["notUnderstood"].to_string().matches("not known").count(), 0);
        }
    }
}

/// Both describe a web server that does not end; it runs until its time is over.
#[case(Root, Userns, Templates)]
fn the_templates_run() {
    let dir = templates();
    let sb = Sandbox::new();
    std::os::unix::fs::symlink("busybox", sb.rootfs().join("bin/httpd")).expect("a link");
    for dir in ["rootfs/srv/web", "rootfs/var/log", "rootfs/var/run"] {
        std::fs::create_dir_all(sb.bundle().join(dir)).expect("mkdir");
    }
    let copy = |name: &str, change: &dyn Fn(String) -> String| {
        let text = std::fs::read_to_string(dir.join(name)).expect("a template");
        let file = sb.dir().join(name);
        std::fs::write(&file, change(text)).expect("write");
        file
    };
    // What the file names beside it. The machine may have no AppArmor, and then no profile of it.
    std::fs::create_dir_all(sb.dir().join("site")).expect("mkdir");
    std::fs::create_dir_all(sb.dir().join("secrets")).expect("mkdir");
    std::fs::write(sb.dir().join("secrets/db_password.txt"), "x").expect("write");
    std::fs::write(sb.dir().join("web-seccomp.json"), "{\"defaultAction\":\"SCMP_ACT_ALLOW\"}")
        .expect("write");
    let compose = copy("compose.yaml", &|text| text.replace("      - apparmor=shop-web\n", ""));
    run(&sb, "--compose", &compose, &["web", "--timeout", "1s"]).exits(124);
    sb.leak_check();
    let pod = copy("pod.yaml", &|text| text);
    run(&sb, "--pod", &pod, &["--timeout", "1s"]).exits(124);
    sb.leak_check();
}

const LINE: &str = "docker run -d --rm -it -p80:80 --name web -e 'DB_PASSWORD=a b' --cap-add=NET_ADMIN \\\n -v /etc:/host/etc --memory 64m --restart=always nginx:1.27 nginx -g 'daemon off;'";

#[case]
fn a_docker_run_line_is_judged() {
    let sb = Sandbox::new();
    let out = sb.runtime().args(["audit", "-", "--format", "json"]).input(LINE).output().ok();
    let value: Value = serde_json::from_str(&out.stdout).expect("JSON");
    let found = findings(&value["targets"][0]);
    for rule in
        ["non-root", "dangerous-capabilities", "host-directories", "environment-secrets", "no-new-privileges"]
    {
        assert!(found.iter().any(|(id, _)| id == rule), "{rule}: {found:?}");
    }
    let limits: Vec<_> = found.iter().filter(|(id, _)| id == "limits").collect();
    assert_eq!(limits.len(), 2, "memory is limited, cpu and processes are not: {found:?}");
    assert!(!out.stdout.contains("a b"), "the value is not shown: {out}");
    sb.runtime().args(["audit", "-"]).input("docker ps").output().exits(2).says("docker run");
}

#[case(Root)]
fn from_docker_prints_a_config_that_runs() {
    let sb = Sandbox::new();
    let line = "docker run --user 7:8 --read-only --cap-drop ALL --security-opt no-new-privileges --memory 64m \
                --pids-limit 50 --env A=1 --tmpfs /tmp:size=1m --security-opt seccomp=unconfined busybox sh -c 'id -u; echo $A'";
    let out = sb.runtime().args(["from-docker", line]).output().ok();
    let config: Value = serde_json::from_str(&out.stdout).expect("JSON");
    assert_eq!(config["process"]["user"], json!({ "uid": 7, "gid": 8 }));
    assert_eq!(config["linux"]["resources"]["memory"]["limit"], json!(64 << 20));
    std::fs::write(sb.bundle().join("config.json"), &out.stdout).expect("write");
    sb.run_oci().output().ok().prints("7\n1\n");
    let line = "docker run -e NOT_SET_ANYWHERE -e A=1 x";
    let out = sb.runtime().args(["from-docker", line]).output().ok();
    assert!(!out.stdout.contains("NOT_SET") && out.stdout.contains("A=1"), "{out}");
    let out = sb.runtime().args(["from-docker", "docker run -p 80:80"]).output();
    assert_ne!(out.code, 0);
    let out = sb.runtime().args(["from-docker", "docker run -p 80:80 --frob x y"]).output().ok();
    assert!(out.stderr.contains("publish 80:80") && out.stderr.contains("--frob"), "{out}");
}
