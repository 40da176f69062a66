use super::*;
use simple_dns::ResourceRecord;
use simple_dns::rdata::{A, CNAME};

fn lookup(name: &str) -> NameLookup {
    let mut lookup = NameLookup {
        wanted: (name.into(), Family::V4),
        asked: name.into(),
        aliases: 0,
        ttl: LONGEST,
        id: 0,
        query: Vec::new(),
        turn: 0,
        socket: None,
        stream: None,
        deadline: Instant::now(),
    };
    lookup.compose().unwrap();
    lookup
}

fn reply<'a>(lookup: &'a NameLookup, records: &[(&'a str, u32, RData<'a>)]) -> Vec<u8> {
    let mut packet = Packet::parse(&lookup.query).unwrap().into_reply();
    packet.set_flags(PacketFlag::RECURSION_AVAILABLE);
    for (name, ttl, data) in records {
        let name = Name::new_unchecked(name);
        packet.answers.push(ResourceRecord::new(name, CLASS::IN, *ttl, data.clone()));
    }
    packet.build_bytes_vec().unwrap()
}

fn a(last: u8) -> RData<'static> {
    RData::A(A { address: 0xcb00_7100 + u32::from(last) })
}

fn cname(to: &str) -> RData<'_> {
    RData::CNAME(CNAME(Name::new_unchecked(to)))
}

#[test]
fn aliases_are_followed_and_strangers_are_not() {
    let lookup = lookup("a.test");
    let records =
        [("a.test", 50, cname("b.test")), ("b.test", 20, a(7)), ("b.test", 30, a(8)), ("x.test", 1, a(9))];
    match lookup.understand(&reply(&lookup, &records)) {
        DnsReply::Addresses(found, 20) => assert_eq!(found.len(), 2),
        _ => panic!("the addresses of b.test"),
    }
    let other = reply(&lookup, &[("x.test", 1, a(9))]);
    assert!(matches!(lookup.understand(&other), DnsReply::NoData(0)));
    let circle = reply(&lookup, &[("a.test", 9, cname("b.test")), ("b.test", 9, cname("a.test"))]);
    assert!(matches!(lookup.understand(&circle), DnsReply::Failed));
    // Another id, another question, no answer.
    let mut bytes = reply(&lookup, &[("a.test", 50, a(1))]);
    assert!(matches!(lookup.understand(&bytes), DnsReply::Addresses(..)));
    bytes[0] ^= 1;
    assert!(matches!(lookup.understand(&bytes), DnsReply::Stranger));
    assert!(matches!(lookup.understand(&lookup.query), DnsReply::Stranger));
    let others = self::lookup("c.test");
    let mut theirs = reply(&others, &[("c.test", 50, a(1))]);
    theirs[..2].copy_from_slice(&lookup.id.to_be_bytes());
    assert!(matches!(lookup.understand(&theirs), DnsReply::Stranger));
}

#[test]
fn the_hosts_file_comes_first() {
    let hosts = HashMap::from([("a.test".to_string(), vec!["203.0.113.9".parse().unwrap()])]);
    let config = HostConfig {
        servers: vec!["127.0.0.1:9".parse().unwrap()],
        timeout: Duration::from_secs(1),
        attempts: 1,
        tcp: false,
        hosts,
    };
    let (mut resolver, epoll) = (Resolver::new(config), Epoll::new().unwrap());
    let mut ask = |family| resolver.ask(&epoll, |_| 0, &("a.test".into(), family));
    assert!(matches!(ask(Family::V4), Some(NameAnswer::Addresses(found, _)) if found.len() == 1));
    assert_eq!(ask(Family::V6), Some(NameAnswer::NoData));
}

#[test]
fn a_chain_of_aliases_may_be_long_and_not_endless() {
    let lookup = lookup("0.test");
    let names: Vec<String> = (0..30).map(|i| format!("{i}.test")).collect();
    for (aliases, good) in [(1, true), (12, true), (16, true), (17, false), (29, false)] {
        let mut records: Vec<_> = (0..aliases).map(|i| (&*names[i], 9, cname(&names[i + 1]))).collect();
        records.push((&*names[aliases], 9, a(1)));
        let said = lookup.understand(&reply(&lookup, &records));
        assert_eq!(matches!(said, DnsReply::Addresses(..)), good, "{aliases}");
        assert!(good || matches!(said, DnsReply::Failed), "{aliases}");
        records.reverse();
        assert_eq!(matches!(lookup.understand(&reply(&lookup, &records)), DnsReply::Addresses(..)), good);
    }
    // The last alias has no address, and the server knows no more.
    let records = [("0.test", 9, cname("1.test"))];
    assert!(matches!(lookup.understand(&reply(&lookup, &records)), DnsReply::NoData(_)));
}
