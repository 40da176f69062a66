//! Configs that are refused, and where.

use super::parse;
use crate::config::ConfigError;
use crate::config::parse::resources_from_slice;

/// (patch, pointer of the error, part of its message)
type Bad = (&'static str, &'static str, &'static str);

const BAD_PROCESS: &[Bad] = &[
    (r#"{"process":{"args":[]}}"#, "/process/args", "must not be empty"),
    (r#"{"process":{"args":null}}"#, "/process/args", "must not be empty"),
    (r#"{"process":{"args":"sh"}}"#, "/process/args", "expected an array"),
    (r#"{"process":{"args":["sh", 1]}}"#, "/process/args/1", "expected a string"),
    (r#"{"process":{"args":["a\u0000b"]}}"#, "/process/args/0", "NUL"),
    (r#"{"process":{"env":["A=\u0000"]}}"#, "/process/env/0", "NUL"),
    (r#"{"process":{"env":["PATH"]}}"#, "/process/env/0", "has no ="),
    (r#"{"process":{"env":["A=b","=x"]}}"#, "/process/env/1", "empty name"),
    (r#"{"process":{"cwd":"tmp"}}"#, "/process/cwd", "not an absolute path"),
    (r#"{"process":{"cwd":""}}"#, "/process/cwd", "must not be empty"),
    (r#"{"process":{"terminal":"yes"}}"#, "/process/terminal", "expected a boolean"),
    (
        r#"{"process":{"terminal":true,"consoleSize":{"height":65536,"width":80}}}"#,
        "/process/consoleSize/height",
        "0 to 65535",
    ),
    (r#"{"process":{"user":{"uid":-1}}}"#, "/process/user/uid", "0 to 4294967295"),
    (r#"{"process":{"user":{"uid":4294967296}}}"#, "/process/user/uid", "0 to 4294967295"),
    (r#"{"process":{"user":{"uid":4294967295}}}"#, "/process/user/uid", "no id"),
    (r#"{"process":{"user":{"uid":"root"}}}"#, "/process/user/uid", "whole number"),
    (r#"{"process":{"user":{"uid":1.5}}}"#, "/process/user/uid", "whole number"),
    (r#"{"process":{"user":{"gid":1e3}}}"#, "/process/user/gid", "whole number"),
    (r#"{"process":{"user":{"additionalGids":[1,-2]}}}"#, "/process/user/additionalGids/1", "whole number"),
    (r#"{"process":{"user":{"additionalGids":[4294967295]}}}"#, "/process/user/additionalGids/0", "no id"),
    (r#"{"process":{"user":{"umask":512}}}"#, "/process/user/umask", "0777"),
    (r#"{"process":{"capabilities":["CAP_KILL"]}}"#, "/process/capabilities", "expected an object"),
    (
        r#"{"process":{"rlimits":[{"type":"RLIMIT_FOO","soft":1,"hard":1}]}}"#,
        "/process/rlimits/0/type",
        "unknown resource limit \"RLIMIT_FOO\"",
    ),
    (
        r#"{"process":{"rlimits":[{"type":"RLIMIT_CPU"},{"type":"RLIMIT_CPU"}]}}"#,
        "/process/rlimits/1/type",
        "listed twice",
    ),
    (
        r#"{"process":{"rlimits":[{"type":"RLIMIT_CPU","soft":2,"hard":1}]}}"#,
        "/process/rlimits/0/soft",
        "above the hard limit",
    ),
    (r#"{"process":{"oomScoreAdj":1001}}"#, "/process/oomScoreAdj", "-1000 to 1000"),
    (
        r#"{"process":{"ioPriority":{"class":"RT","priority":1}}}"#,
        "/process/ioPriority/class",
        "IOPRIO_CLASS_RT",
    ),
    (
        r#"{"process":{"ioPriority":{"class":"IOPRIO_CLASS_RT","priority":8}}}"#,
        "/process/ioPriority/priority",
        "0 to 7",
    ),
    (r#"{"process":{"scheduler":{"policy":"SCHED_FAST"}}}"#, "/process/scheduler/policy", "SCHED_FAST"),
    (
        r#"{"process":{"scheduler":{"policy":"SCHED_OTHER","nice":20}}}"#,
        "/process/scheduler/nice",
        "-20 to 19",
    ),
    (
        r#"{"process":{"scheduler":{"policy":"SCHED_OTHER","priority":1}}}"#,
        "/process/scheduler/priority",
        "SCHED_FIFO",
    ),
    (r#"{"process":{"execCPUAffinity":{"initial":"0-"}}}"#, "/process/execCPUAffinity/initial", "range"),
];

const BAD_TOP: &[Bad] = &[
    (r#"{"ociVersion":null}"#, "/ociVersion", "must be specified"),
    (r#"{"ociVersion":""}"#, "/ociVersion", "must be specified"),
    (r#"{"ociVersion":"1.0"}"#, "/ociVersion", "MAJOR.MINOR.PATCH"),
    (r#"{"ociVersion":"1.0.0-"}"#, "/ociVersion", "MAJOR.MINOR.PATCH"),
    (r#"{"ociVersion":"2.0.0"}"#, "/ociVersion", "not supported"),
    (r#"{"ociVersion":"0.5.0-dev"}"#, "/ociVersion", "not supported"),
    (r#"{"root":null}"#, "/root", "root must be specified"),
    (r#"{"root":{"path":""}}"#, "/root/path", "must be specified"),
    (r#"{"hostname":"h","linux":{"namespaces":[{"type":"mount"}]}}"#, "/hostname", "uts namespace"),
    (r#"{"hostname":null,"domainname":"d","linux":{"namespaces":[{"type":"mount"}]}}"#, "/domainname", "uts"),
    (r#"{"annotations":{"":"x"}}"#, "/annotations/", "must not be empty"),
    (r#"{"annotations":{"a/b":1}}"#, "/annotations/a~1b", "expected a string"),
    (r#"{"hooks":{"prestart":[{"path":"true"}]}}"#, "/hooks/prestart/0/path", "not an absolute path"),
    (r#"{"hooks":{"poststop":[{"path":"/x","timeout":0}]}}"#, "/hooks/poststop/0/timeout", "above 0"),
    (r#"{"linux":null,"windows":{}}"#, "/windows", "another platform"),
    (r#"{"mounts":[{"type":"proc"}]}"#, "/mounts/0/destination", "must not be empty"),
    (r#"{"mounts":[{"destination":"/a\u0000"}]}"#, "/mounts/0/destination", "NUL"),
    (r#"{"mounts":[{"destination":"/a"}]}"#, "/mounts/0/type", "file system"),
    (r#"{"mounts":[{"destination":"/a","options":["bind"]}]}"#, "/mounts/0/source", "needs a source"),
    (
        r#"{"mounts":[{"destination":"/a","source":"/b","options":["rbind","z"]}]}"#,
        "/mounts/0/options",
        "\"z\"",
    ),
    (
        r#"{"mounts":[{"destination":"/a","source":"/b","options":["rbind","idmap"]}]}"#,
        "/mounts/0/options",
        "user namespace",
    ),
    (
        r#"{"mounts":[{"destination":"/a","source":"/b","options":["bind"],"uidMappings":[{"size":1}]}]}"#,
        "/mounts/0/gidMappings",
        "needs both",
    ),
];

const BAD_LINUX: &[Bad] = &[
    (r#"{"linux":{"namespaces":[{"type":"net"}]}}"#, "/linux/namespaces/0/type", "unknown namespace \"net\""),
    (
        r#"{"linux":{"namespaces":[{"type":"pid"},{"type":"pid"}]}}"#,
        "/linux/namespaces/1/type",
        "listed twice",
    ),
    (r#"{"linux":{"namespaces":[{"type":"pid","path":"x"}]}}"#, "/linux/namespaces/0/path", "absolute"),
    (
        r#"{"linux":{"namespaces":[{"type":"user"},{"type":"uts"},{"type":"mount"}]}}"#,
        "/linux/uidMappings",
        "no mappings",
    ),
    (r#"{"linux":{"uidMappings":[{"size":0}]}}"#, "/linux/uidMappings/0/size", "size is 0"),
    (
        r#"{"linux":{"uidMappings":[{"hostID":4294967290,"size":10}]}}"#,
        "/linux/uidMappings/0/hostID",
        "beyond",
    ),
    (r#"{"linux":{"gidMappings":[{"hostID":-1,"size":10}]}}"#, "/linux/gidMappings/0/hostID", "whole number"),
    (
        r#"{"linux":{"uidMappings":[{"size":10},{"containerID":9,"hostID":50,"size":1}]}}"#,
        "/linux/uidMappings/1/containerID",
        "overlaps",
    ),
    (
        r#"{"linux":{"uidMappings":[{"size":10},{"containerID":10,"hostID":5,"size":1}]}}"#,
        "/linux/uidMappings/1/hostID",
        "overlaps",
    ),
    (
        r#"{"linux":{"sysctl":{"kernel.core_pattern":"x"}}}"#,
        "/linux/sysctl/kernel.core_pattern",
        "would change the host",
    ),
    (r#"{"linux":{"sysctl":{"kernel.hostname":"x"}}}"#, "/linux/sysctl/kernel.hostname", "conflicts"),
    (
        r#"{"linux":{"sysctl":{"net.ipv4.ip_forward":"1\nx"}}}"#,
        "/linux/sysctl/net.ipv4.ip_forward",
        "one line",
    ),
    (r#"{"linux":{"sysctl":{"net.a+kernel.b":"1"}}}"#, "/linux/sysctl/net.a+kernel.b", "'+'"),
    (r#"{"linux":{"sysctl":{"net/../kernel/x":"1"}}}"#, "/linux/sysctl/net~1..~1kernel~1x", "dots"),
    (
        r#"{"hostname":null,"linux":{"namespaces":[{"type":"mount"}],"sysctl":{"net.a":"1"}}}"#,
        "/linux/sysctl/net.a",
        "host network namespace",
    ),
    (
        r#"{"linux":{"namespaces":[{"type":"mount"},{"type":"uts"},{"type":"ipc","path":"/x"}],"sysctl":{"kernel.sem":"1"}}}"#,
        "/linux/sysctl/kernel.sem",
        "new ipc namespace",
    ),
    (r#"{"linux":{"maskedPaths":["proc"]}}"#, "/linux/maskedPaths/0", "absolute"),
    (r#"{"linux":{"readonlyPaths":["/ok","x"]}}"#, "/linux/readonlyPaths/1", "absolute"),
    (r#"{"linux":{"namespaces":[{"type":"uts"}]}}"#, "/linux/maskedPaths", "mount namespace"),
    (
        r#"{"linux":{"devices":[{"type":"x","path":"/dev/x"}]}}"#,
        "/linux/devices/0/type",
        "invalid device type",
    ),
    (r#"{"linux":{"devices":[{"type":"c","path":"/dev/../x"}]}}"#, "/linux/devices/0/path", ".."),
    (r#"{"linux":{"devices":[{"type":"c","path":"dev/x"}]}}"#, "/linux/devices/0/path", "absolute"),
    (r#"{"linux":{"devices":[{"type":"c","path":"/x","major":-1}]}}"#, "/linux/devices/0/major", "outside"),
    (r#"{"linux":{"netDevices":{"e/0":{}}}}"#, "/linux/netDevices/e~10", "interface name"),
    (r#"{"linux":{"rootfsPropagation":"rslow"}}"#, "/linux/rootfsPropagation", "not supported"),
    (r#"{"linux":{"personality":{"domain":"BSD"}}}"#, "/linux/personality/domain", "LINUX32"),
    (
        r#"{"linux":{"personality":{"domain":"LINUX","flags":["X"]}}}"#,
        "/linux/personality/flags",
        "no personality flag",
    ),
    (r#"{"linux":{"timeOffsets":{"realtime":{"secs":1}}}}"#, "/linux/timeOffsets/realtime", "unknown clock"),
    (r#"{"linux":{"timeOffsets":{"boottime":{"secs":1}}}}"#, "/linux/timeOffsets", "time namespace"),
    (
        r#"{"linux":{"timeOffsets":{"boottime":{"nanosecs":1000000000}}}}"#,
        "/linux/timeOffsets/boottime/nanosecs",
        "outside",
    ),
    (r#"{"linux":{"cgroupsPath":"/a/../../b"}}"#, "/linux/cgroupsPath", ".."),
    (r#"{"linux":{"intelRdt":{"closID":"../x"}}}"#, "/linux/intelRdt/closID", "class of service"),
    (
        r#"{"linux":{"intelRdt":{"l3CacheSchema":"L3:0=f\nx"}}}"#,
        "/linux/intelRdt/l3CacheSchema",
        "line of schemata",
    ),
    (r#"{"linux":{"intelRdt":{"memBwSchema":"L3:0=f"}}}"#, "/linux/intelRdt/memBwSchema", "begins with MB:"),
    (r#"{"linux":{"intelRdt":{"memBwSchema":"MB:0=1\nL3:0=f"}}}"#, "/linux/intelRdt/memBwSchema", "one line"),
    (
        r#"{"linux":{"intelRdt":{"schemata":["L3:0=f","x"]}}}"#,
        "/linux/intelRdt/schemata/1",
        "line of schemata",
    ),
    (
        r#"{"linux":{"memoryPolicy":{"mode":"MPOL_BIND"}}}"#,
        "/linux/memoryPolicy/nodes",
        "invalid memory policy node: MPOL_BIND needs nodes",
    ),
    (
        r#"{"linux":{"memoryPolicy":{"mode":"MPOL_LOCAL","nodes":"0"}}}"#,
        "/linux/memoryPolicy/nodes",
        "set_mempolicy: invalid argument",
    ),
    (
        r#"{"linux":{"memoryPolicy":{"mode":"BIND"}}}"#,
        "/linux/memoryPolicy/mode",
        "invalid memory policy mode",
    ),
    (r#"{"linux":{"memoryPolicy":{"nodes":"0"}}}"#, "/linux/memoryPolicy/mode", "required"),
    (
        r#"{"linux":{"memoryPolicy":{"mode":"MPOL_BIND","nodes":"9999"}}}"#,
        "/linux/memoryPolicy/nodes",
        "above",
    ),
    (
        r#"{"linux":{"memoryPolicy":{"mode":"MPOL_BIND","nodes":"0","flags":["F"]}}}"#,
        "/linux/memoryPolicy/flags/0",
        "invalid memory policy flag",
    ),
    (
        r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_FOO"}}}"#,
        "/linux/seccomp/defaultAction",
        "SCMP_ACT_FOO",
    ),
    (
        r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_VAX"]}}}"#,
        "/linux/seccomp/architectures/0",
        "SCMP_ARCH_VAX",
    ),
];

/// Patches of `linux.resources`; pointers are relative to it, as for `update`.
const BAD_RESOURCES: &[Bad] = &[
    (r#"{"memory":{"limit":-2}}"#, "/memory/limit", "-1 for no limit"),
    (r#"{"memory":{"limit":"1G"}}"#, "/memory/limit", "whole number"),
    (r#"{"memory":{"limit":100,"swap":99}}"#, "/memory/swap", "must not be below"),
    (r#"{"memory":{"swappiness":101}}"#, "/memory/swappiness", "0 to 100"),
    (r#"{"memory":{"kernel":1}}"#, "/memory/kernel", "use limit"),
    (r#"{"cpu":{"shares":1}}"#, "/cpu/shares", "2 to 262144"),
    (r#"{"cpu":{"shares":262145}}"#, "/cpu/shares", "2 to 262144"),
    (r#"{"cpu":{"quota":999}}"#, "/cpu/quota", "1000 microseconds"),
    (r#"{"cpu":{"quota":-2}}"#, "/cpu/quota", "-1 is no limit"),
    (r#"{"cpu":{"period":999}}"#, "/cpu/period", "1000 to 1000000"),
    (r#"{"cpu":{"quota":1000,"burst":1001}}"#, "/cpu/burst", "above the quota"),
    (r#"{"cpu":{"idle":2}}"#, "/cpu/idle", "SCHED_IDLE"),
    (r#"{"cpu":{"cpus":"3-1"}}"#, "/cpu/cpus", "\"3-1\""),
    (r#"{"cpu":{"mems":"0\n1"}}"#, "/cpu/mems", "range"),
    (r#"{"pids":{"limit":-2}}"#, "/pids/limit", "-1 for no limit"),
    (r#"{"blockIO":{"weight":9}}"#, "/blockIO/weight", "10 to 1000"),
    (r#"{"hugepageLimits":[{"pageSize":"2M","limit":1}]}"#, "/hugepageLimits/0/pageSize", "2MB"),
    (r#"{"devices":[{"allow":true}]}"#, "/devices/0/access", "r, w and m"),
    (r#"{"devices":[{"major":1,"access":"r"}]}"#, "/devices/0/type", "type b or c"),
    (r#"{"devices":[{"type":"c","major":5000,"access":"r"}]}"#, "/devices/0/major", "0 to 4095"),
    (r#"{"unified":{"../x":"1"}}"#, "/unified/..~1x", "cgroup file"),
    (r#"{"unified":{"..":"1"}}"#, "/unified/..", "cgroup file"),
    (r#"{"rdma":{"mlx5_1":{}}}"#, "/rdma/mlx5_1", "hcaHandles"),
    (r#"{"network":{"classID":-1}}"#, "/network/classID", "whole number"),
];

fn assert_bad(result: Result<(), ConfigError>, (patch, pointer, fragment): &Bad) {
    let error = result.expect_err(patch);
    assert_eq!(error.pointer, *pointer, "{patch}: {error}");
    assert!(error.message.contains(fragment), "{patch}: {error}");
    let first = error.message.chars().next().unwrap();
    assert!(!first.is_uppercase() && !error.message.ends_with('.'), "house style: {error}");
}

#[test]
fn bad_configs_are_refused_where_they_are_bad() {
    for bad in BAD_PROCESS.iter().chain(BAD_TOP).chain(BAD_LINUX) {
        assert_bad(parse(bad.0).map(drop), bad);
    }
}

#[test]
fn bad_resources_are_refused_in_both_places() {
    for bad in BAD_RESOURCES {
        assert_bad(resources_from_slice(bad.0.as_bytes()).map(drop), bad);
        let whole = format!(r#"{{"linux":{{"resources":{}}}}}"#, bad.0);
        let pointer = format!("/linux/resources{}", bad.1);
        assert_eq!(parse(&whole).expect_err(bad.0).pointer, pointer);
    }
    let swap = r#"{"linux":{"resources":{"memory":{"swap":5}}}}"#;
    assert_eq!(parse(swap).expect_err(swap).pointer, "/linux/resources/memory/swap");
}
