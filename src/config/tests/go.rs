//! Unusual documents are parsed as runc's decoder, which is Go's, parses them.

use serde_json::Value;

use super::{GOOD, base, from_slice, merge, parse, resources_from_slice};

/// As in Go's decoder: parsing stops after the value; for duplicate keys the last wins and objects are
/// merged.
#[test]
fn what_go_reads_of_odd_documents() {
    let text = base().to_string();
    assert!(from_slice(format!("{text} }}more").as_bytes()).is_ok());
    let twice = format!(
        r#"{{{},"root":{{"path":"other"}},"hostname":"a","HostName":"b","hostname":"c"}}"#,
        &text[1..text.len() - 1]
    );
    let config = from_slice(twice.as_bytes()).unwrap();
    assert_eq!((config.root.path.to_str(), config.root.readonly), (Some("other"), true));
    assert_eq!(config.hostname.as_deref(), Some("c"));
    let error = from_slice(r#"{"root":{"path":"a","Path":"b","PATH":3}}"#.as_bytes()).unwrap_err();
    assert_eq!((&*error.pointer, error.message.contains("integer `3`")), ("/root/path", true), "{error}");
}

/// Each key of each struct matches in any case; keys of maps are data.
#[test]
fn keys_match_in_any_case() {
    const MAPS: [&str; 7] =
        ["annotations", "sysctl", "unified", "netDevices", "timeOffsets", "rdma", "listenerMetadata"];
    fn shout(value: Value, map: bool) -> Value {
        match value {
            Value::Array(values) => values.into_iter().map(|v| shout(v, false)).collect(),
            Value::Object(members) => {
                let loud = |(key, value): (String, Value)| {
                    let value = shout(value, MAPS.contains(&&*key));
                    (if map { key } else { key.to_uppercase() }, value)
                };
                members.into_iter().map(loud).collect::<serde_json::Map<_, _>>().into()
            }
            value => value,
        }
    }
    let seen = |document: &Value| format!("{:?}", from_slice(document.to_string().as_bytes()));
    for patch in GOOD {
        let mut spec = base();
        merge(&mut spec, serde_json::from_str(patch).unwrap());
        assert_eq!(seen(&shout(spec.clone(), false)), seen(&spec), "{patch}");
    }
    let odd = "{\"\u{17f}i\u{212a}\":1,\"memory\":{\"Limit\":5000000},\"PID\u{17f}\":{\"limit\":7}}";
    let resources = resources_from_slice(odd.as_bytes()).unwrap();
    assert_eq!((resources.memory.limit, resources.pids_limit), (Some(5_000_000), Some(7)));
    let sysctl = parse(r#"{"linux":{"sysctl":{"kernel.MSGMAX":"1"}}}"#).expect_err("another name");
    assert_eq!(sysctl.pointer, "/linux/sysctl/kernel.MSGMAX");
}

/// Only texts that are passed to the kernel must not have a NUL.
#[test]
fn a_nul_in_a_text_that_the_kernel_never_reads_is_ignored() {
    let patch = r#"{"unknown":["\u0000"],"un\u0000known":1,"annotations":{"a\u0000":"b\u0000"}}"#;
    assert_eq!(parse(patch).unwrap().annotations["a\0"], "b\0");
    let sysctl = parse(r#"{"linux":{"sysctl":{"net.\u0000":"1"}}}"#).expect_err("a NUL");
    assert!(sysctl.message.contains("NUL"), "{sysctl}");
}
