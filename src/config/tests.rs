//! The parser against tables of invalid and valid configs; each is a merge patch (RFC 7386) of [`base`].

mod bad;
mod go;

use serde_json::{Value, json};

use super::parse::{process_from_slice, resources_from_slice};
use super::template::spec;
use super::{Config, ConfigError};
use crate::tables::{capabilities::CapSet, namespaces::NsKind};

/// Parses and checks a config, as a launch without options and policy does.
fn from_slice(json: &[u8]) -> Result<Config, ConfigError> {
    let config = super::parse::from_slice(json)?;
    super::parse::check(&config).map(|()| config)
}

/// The output of `safebox spec`, the base of all patches.
fn base() -> Value {
    spec(None)
}

/// RFC 7386: objects merge, `null` removes, any other value replaces.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(members) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in members {
        match value {
            Value::Null => {
                target.as_object_mut().unwrap().remove(&name);
            }
            value => merge(&mut target[&name], value),
        }
    }
}

fn parse(patch: &str) -> Result<Config, ConfigError> {
    let mut spec = base();
    merge(&mut spec, serde_json::from_str(patch).unwrap_or_else(|e| panic!("{patch}: {e}")));
    from_slice(spec.to_string().as_bytes())
}

#[test]
fn the_older_schemas_come_first_and_bandwidth_has_its_own_field() {
    let rdt = |fields: &str| {
        let text = format!("{{\"linux\":{{\"intelRdt\":{fields}}}}}");
        parse(&text).unwrap().intel_rdt.expect("intelRdt")
    };
    let both = rdt(r#"{"schemata":["L2:0=3"],"memBwSchema":"MB:0=50","l3CacheSchema":"L3:0=f\nMB:0=10"}"#);
    assert_eq!((both.older, both.schemata), (vec!["L3:0=f".into(), "MB:0=50".into()], vec!["L2:0=3".into()]));
    let one = rdt(r#"{"l3CacheSchema":"L3:0=f\nMB:0=10"}"#);
    assert_eq!(one.older, ["L3:0=f", "MB:0=10"]);
}

#[test]
fn syntax_errors_have_line_and_column() {
    let error = from_slice(b"{\n  \"root\": }").expect_err("syntax");
    assert_eq!(error.to_string(), "config.json: not JSON: expected value at line 2 column 11");
    assert_eq!(
        from_slice(b"").expect_err("nothing").message,
        "not JSON: EOF while parsing a value at line 1 column 0"
    );
    assert_eq!(from_slice(b"[]").expect_err("array").message, "invalid type: array, expected an object");
    assert_eq!(
        from_slice(b"3").expect_err("number").message,
        "invalid type: integer `3`, expected an object"
    );
}

/// Patches that must be accepted.
const GOOD: &[&str] = &[
    r#"{}"#,
    r#"{"ociVersion":"1.0.2-dev"}"#,
    r#"{"ociVersion":"1.99.0-rc.1+build.5"}"#,
    r#"{"process":null}"#,
    r#"{"process":{"user":null}}"#,
    r#"{"process":{"user":{"username":"ContainerAdministrator"}}}"#,
    r#"{"process":{"terminal":false,"consoleSize":{"height":65536,"width":80}}}"#,
    r#"{"process":{"oomScoreAdj":-1000,"consoleSize":{"height":24,"width":80}}}"#,
    r#"{"process":{"env":["A=b=c","EMPTY="],"args":["sh","-c","","\\u0000"]}}"#,
    r#"{"process":{"scheduler":{"policy":"SCHED_FIFO","priority":10,"flags":["SCHED_FLAG_RESET_ON_FORK"]}}}"#,
    r#"{"process":{"execCPUAffinity":{"initial":"0-3,7","final":"0-15:2/4"}}}"#,
    r#"{"unknownProperty":{"x":[1]},"linux":{"somethingNew":true}}"#,
    r#"{"windows":{},"vm":{},"zos":{}}"#,
    r#"{"hooks":{"prestart":[{"path":"/bin/true","timeout":5}],"startContainer":[]}}"#,
    r#"{"mounts":[{"destination":"a/./b//c/","type":"tmpfs","options":["mode=755"]}]}"#,
    r#"{"mounts":[{"destination":"/a","type":"bind","source":"rel/dir","options":["ro","sync"]}]}"#,
    r#"{"mounts":[{"destination":"/a","options":["remount","ro"]}]}"#,
    r#"{"linux":{"cgroupsPath":"system.slice:docker:abc"}}"#,
    r#"{"linux":{"memoryPolicy":{},"personality":{"domain":"LINUX32"}}}"#,
    r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_RISCV64"],"flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]}]}}}"#,
    r#"{"linux":{"sysctl":{"net/ipv4/ip_forward":"1","kernel.msgmax":"1","fs.mqueue.msg_max":"1","kernel.domainname":"x"}}}"#,
    r#"{"linux":{"devices":[{"path":"/dev/fuse","type":"c","major":10,"minor":229,"fileMode":8630}]}}"#,
    r#"{"linux":{"netDevices":{"eth1":{"name":"lan"},"eth2":{}}}}"#,
    r#"{"linux":{"resources":{"memory":{"limit":-1,"swap":-1,"reservation":0,"kernel":0},"cpu":{"shares":0,"quota":-1,"period":0},"pids":{"limit":0},"hugepageLimits":[{"pageSize":"1GB","limit":18446744073709551615}],"unified":{"memory.high":"max"},"rdma":{"mlx5_1":{"hcaHandles":3}}}}}"#,
    r#"{"linux":{"namespaces":[{"type":"user"},{"type":"uts"},{"type":"mount"},{"type":"time"}],"uidMappings":[{"size":4294967295}],"gidMappings":[{"containerID":5,"hostID":6,"size":1},{"size":5,"hostID":100}],"timeOffsets":{"monotonic":{"secs":-5},"boottime":{}}}}"#,
    r#"{"linux":{"namespaces":[{"type":"user","path":"/proc/1/ns/user"},{"type":"uts","path":""},{"type":"mount"}]}}"#,
];

#[test]
fn good_configs_are_taken() {
    for patch in GOOD {
        if let Err(error) = parse(patch) {
            panic!("{patch}: {error}");
        }
    }
}

/// Go's decoder accepts `null` for every member and leaves the zero value. So must this parser, for each
/// member of each object in the document, unless the member is required.
#[test]
fn null_is_nothing() {
    fn members(value: &Value, pointer: &str, found: &mut Vec<String>) {
        if let Value::Object(object) = value {
            for (name, value) in object {
                let here = format!("{pointer}/{}", name.replace('/', "~1"));
                members(value, &here, found);
                found.push(here);
            }
        }
    }
    let mut full = base();
    for patch in GOOD {
        merge(&mut full, serde_json::from_str(patch).unwrap());
    }
    merge(
        &mut full,
        json!({ "process": base()["process"].clone(), "linux": { "namespaces": base()["linux"]["namespaces"].clone() } }),
    );
    let mut pointers = Vec::new();
    members(&full, "", &mut pointers);
    assert!(pointers.len() > 40);
    for pointer in pointers {
        let mut spec = full.clone();
        *spec.pointer_mut(&pointer).unwrap() = Value::Null;
        if let Err(error) = from_slice(spec.to_string().as_bytes()) {
            // The only required member that oci-spec parses.
            let required = pointer == "/linux/seccomp/defaultAction";
            assert!(required || !error.message.contains("null"), "{pointer}: {error}");
        }
    }
    let nulls = r#"{"ociVersion":"1.0.0","process":null,"root":{"path":"r","readonly":null},"hostname":null,
        "mounts":null,"hooks":{"prestart":null},"annotations":{"a":null},"windows":null,
        "linux":{"cgroupsPath":null,"resources":{"memory":null,"devices":null,"pids":{"limit":null}},
        "sysctl":null,"seccomp":null,"namespaces":[{"type":"pid","path":null}],"intelRdt":null}}"#;
    let config = from_slice(nulls.as_bytes()).unwrap();
    assert_eq!(config.annotations["a"], "");
    assert_eq!(config.cgroups_path, None);
}

#[test]
fn values_mean_what_the_types_say() {
    let c = parse(
        r#"{"mounts":[{"destination":"a/./b//../c/","type":"tmpfs","source":"tmpfs","options":["ro"]},
                      {"destination":"/d","type":"none","source":"/s","options":["rbind"]}],
            "process":{"ioPriority":{"class":"IOPRIO_CLASS_BE","priority":4},"capabilities":{"bounding":["kill"]}},
            "linux":{"rootfsPropagation":"rslave","devices":[{"path":"/dev/f","type":"u","fileMode":8630}],
                     "sysctl":{"net/ipv4/conf/e.1/x":"1"},
                     "resources":{"memory":{"limit":0,"swap":0},"pids":{"limit":0}}}}"#,
    )
    .unwrap();
    assert_eq!(c.mounts[0].destination.to_str(), Some("/a/c"));
    assert_eq!((c.mounts[1].bind, c.mounts[1].fs_type.as_deref()), (Some(true), None));
    let p = c.process.as_ref().unwrap();
    assert_eq!((p.io_priority, p.capabilities.bounding), (Some(2 << 13 | 4), CapSet::EMPTY.with(5)));
    assert_eq!(c.rootfs_propagation, Some(libc::MS_SLAVE | libc::MS_REC));
    assert_eq!((c.devices[0].kind, c.devices[0].mode), ('c', 0o666));
    assert_eq!(c.sysctl, [("net.ipv4.conf.e/1.x".to_owned(), "1".to_owned())]);
    assert_eq!((c.resources.memory.limit, c.resources.memory.swap), (None, None));
    assert_eq!(c.resources.pids_limit, Some(0));
    assert!(c.is_new(NsKind::Pid) && c.namespace(NsKind::User).is_none());
}

#[test]
fn letters_that_mean_nothing_leave_no_list_half_in_force() {
    let rules = |json: &str| {
        let c = parse(&format!(r#"{{"linux":{{"resources":{{"devices":{json}}}}}}}"#)).unwrap();
        c.resources.devices.iter().map(|r| (r.allow, r.kind, r.read, r.write, r.mknod)).collect::<Vec<_>>()
    };
    assert_eq!(rules(r#"[{"allow":true,"access":"r"}]"#), [(true, 'a', true, true, true)]);
    assert_eq!(rules(r#"[{"allow":false,"access":"x"}]"#), [(false, 'a', true, true, true)]);
    assert_eq!(rules(r#"[{"allow":true,"type":"c","access":"rx"}]"#), [(true, 'c', true, false, false)]);
    assert_eq!(rules(r#"[{"allow":true,"type":"c","access":"x"}]"#), []);
}

#[test]
fn exec_s_process_has_pointers_of_its_own() {
    let spec = serde_json::to_vec(&super::template::spec(None)).expect("JSON");
    let mut container = from_slice(&spec).expect("the template").process.expect("a process");
    let read = |json: &str| process_from_slice(json.as_bytes(), &container);
    assert_eq!(read(r#"{"args":[],"cwd":"/"}"#).expect_err("args").pointer, "/args");
    let other =
        r#"{"args":["id"],"cwd":"/","capabilities":{},"noNewPrivileges":false,"apparmorProfile":"b"}"#;
    let other = read(other).expect("a process");
    assert_eq!((other.capabilities.bounding.0, other.no_new_privileges), (0, false));
    container.apparmor_profile = Some("a".into());
    container.oom_score_adj = Some(7);
    let small = process_from_slice(br#"{"args":["id"],"cwd":"/"}"#, &container).expect("a process");
    assert_eq!((small.capabilities, small.no_new_privileges), (container.capabilities, true));
    assert_eq!((small.apparmor_profile.as_deref(), small.oom_score_adj), (Some("a"), Some(7)));
    assert_eq!((small.rlimits, other.apparmor_profile.as_deref()), (container.rlimits, Some("b")));
}

/// More than the kernel's maximum of 340 lines.
#[test]
fn too_many_mappings() {
    let maps: Vec<Value> = (0..341).map(|i| json!({ "containerID": i, "hostID": i, "size": 1 })).collect();
    let patch = json!({ "linux": { "uidMappings": maps } }).to_string();
    assert!(parse(&patch).expect_err("341").message.contains("at most 340"));
    // Fewer lines, but longer than a page: the kernel requires a single write.
    let long =
        |i: u32| json!({ "containerID": 4_000_000_000u32 + i, "hostID": 4_000_000_000u32 + i, "size": 1 });
    let patch = |n| json!({ "linux": { "uidMappings": (0..n).map(long).collect::<Vec<_>>() } }).to_string();
    assert!(parse(&patch(171)).expect_err("4104 bytes").message.contains("fewer than 4096"));
    // Without a user namespace the mappings have no effect and are ignored.
    assert_eq!(parse(&patch(170)).expect("4080 bytes").uid_maps, []);
}
