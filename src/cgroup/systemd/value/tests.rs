use super::*;

#[test]
fn annotations_are_gvariant_text() {
    let text = |s: &str| BusValue::Text(s.into());
    for (from, to) in [
        ("true", BusValue::Bool(true)),
        ("15", BusValue::I32(15)),
        ("-1", BusValue::I32(-1)),
        ("uint64 10000000", BusValue::U64(10_000_000)),
        ("@t 7", BusValue::U64(7)),
        ("byte 0x", BusValue::Byte(0)),
        ("1.5", BusValue::Double(1.5f64.to_bits())),
        ("'a b'", text("a b")),
        (r#""it's""#, text("it's")),
        (r"'it\'s'", text("it's")),
        ("['crio.service', \"b\"]", BusValue::texts(["crio.service", "b"])),
        ("@as []", BusValue::texts([] as [&str; 0])),
        ("[uint32 1, 2]", BusValue::Array("u".into(), vec![BusValue::U32(1), BusValue::U32(2)])),
    ] {
        if from == "byte 0x" {
            assert!(parse(from).is_err());
            continue;
        }
        assert_eq!(parse(from), Ok(to), "{from}");
    }
    for bad in ["", "yes", "'open", "[1, 'a']", "[", "1 2", "99999999999", "@(ss) 1", "{'a': 1}", "uint64 -1"]
    {
        assert!(parse(bad).is_err(), "{bad:?} was taken");
    }
}

#[test]
fn seconds_become_microseconds() {
    assert_eq!(parse("5").unwrap().seconds_as_micros(), Some(BusValue::U64(5_000_000)));
    assert_eq!(parse("0.5").unwrap().seconds_as_micros(), Some(BusValue::U64(500_000)));
    assert_eq!(parse("'5'").unwrap().seconds_as_micros(), None);
    assert_eq!(parse("-5").unwrap().seconds_as_micros(), None);
}

#[test]
fn what_is_written_can_be_read() {
    let value = BusValue::Array(
        "(sv)".into(),
        vec![
            BusValue::Struct(vec![
                BusValue::Text("PIDs".into()),
                BusValue::Variant(Box::new(parse("[uint32 7]").unwrap())),
            ]),
            BusValue::Struct(vec![
                BusValue::Text("Delegate".into()),
                BusValue::Variant(Box::new(BusValue::Bool(true))),
            ]),
            BusValue::Struct(vec![
                BusValue::Text("T".into()),
                BusValue::Variant(Box::new(BusValue::U64(1 << 40))),
            ]),
        ],
    );
    let mut writer = Writer::default();
    writer.put(&BusValue::Byte(1));
    writer.put(&value);
    let mut reader = BusReader::new(&writer.0);
    assert_eq!(reader.get("y", 0).unwrap().0, BusValue::Byte(1));
    assert_eq!(reader.get(&value.signature(), 0).unwrap(), (value, ""));
    // Cut short, or lying about its length, it is an error and no panic.
    for cut in 0..writer.0.len() {
        let mut reader = BusReader::new(&writer.0[..cut]);
        let read = reader.get("y", 0).and_then(|_| reader.get("a(sv)", 0));
        assert!(read.is_err(), "{cut}");
    }
    assert!(BusReader::new(&[255; 16]).get("aaaa", 0).is_err());
}
