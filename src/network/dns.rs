//! The resolver inside: questions are read, and answered without asking anywhere where a rule forbids it.

use std::net::IpAddr;

use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE};

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `A`.
    V4,
    /// `AAAA`.
    V6,
}

/// A question that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsQuestion {
    /// In lower case, without a dot at its end.
    pub name: String,
    /// `None` for records other than addresses, which are never answered.
    pub family: Option<Family>,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// This address, for so many seconds.
    Address(IpAddr, u32),
    /// The name has no such records.
    NoData,
    /// There is no such name.
    NoName,
    /// No rule allows the name.
    Refused,
    /// It could not be looked up.
    Failed,
}

/// The question in a message, or the code with which it is answered at once; `None` for what is no question at all.
pub fn question(message: &[u8]) -> Option<Result<DnsQuestion, RCODE>> {
    let packet = Packet::parse(message).ok()?;
    if packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    if packet.opcode() != OPCODE::StandardQuery {
        return Some(Err(RCODE::NotImplemented));
    }
    let [question] = &packet.questions[..] else { return Some(Err(RCODE::FormatError)) };
    if !matches!(question.qclass, QCLASS::CLASS(CLASS::IN)) {
        return Some(Err(RCODE::Refused));
    }
    let family = match question.qtype {
        QTYPE::TYPE(TYPE::A) => Some(Family::V4),
        QTYPE::TYPE(TYPE::AAAA) => Some(Family::V6),
        _ => None,
    };
    // A name that no rule can have is refused as one that no rule has.
    Some(text(&question.qname).map(|name| DnsQuestion { name, family }).ok_or(RCODE::Refused))
}

/// A name in lower case, if it is one that a host can have.
pub fn text(name: &Name<'_>) -> Option<String> {
    let labels: Option<Vec<&str>> =
        name.as_bytes().map(|label| std::str::from_utf8(label).ok().filter(|l| !l.contains('.'))).collect();
    crate::config::network::name(&labels?.join(".")).ok()
}

/// The answer to a message: with its id, its question and its flag RD.
pub fn answer(message: &[u8], reply: Result<Reply, RCODE>) -> Option<Vec<u8>> {
    let asked = Packet::parse(message).ok()?;
    let mut packet = Packet::new_reply(asked.id());
    *packet.opcode_mut() = asked.opcode();
    packet.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if asked.has_flags(PacketFlag::RECURSION_DESIRED) {
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    *packet.rcode_mut() = match reply {
        Ok(Reply::Address(..) | Reply::NoData) => RCODE::NoError,
        Ok(Reply::NoName) => RCODE::NameError,
        Ok(Reply::Refused) => RCODE::Refused,
        Ok(Reply::Failed) => RCODE::ServerFailure,
        Err(code) => code,
    };
    if let (Ok(Reply::Address(address, ttl)), Some(question)) = (reply, asked.questions.first()) {
        let data = match address {
            IpAddr::V4(a) => RData::A(A { address: a.into() }),
            IpAddr::V6(a) => RData::AAAA(AAAA { address: a.into() }),
        };
        packet.answers.push(ResourceRecord::new(question.qname.clone(), CLASS::IN, ttl, data));
    }
    packet.questions = asked.questions.into_iter().take(1).collect();
    packet.build_bytes_vec_compressed().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::Question as Asked;

    fn ask(name: &str, qtype: TYPE) -> Vec<u8> {
        let mut packet = Packet::new_query(7);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new_unchecked(name);
        packet.questions.push(Asked::new(name, QTYPE::TYPE(qtype), QCLASS::CLASS(CLASS::IN), false));
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn questions_are_read() {
        let read = |name, qtype| question(&ask(name, qtype)).unwrap();
        let expect = |family| Ok(DnsQuestion { name: "a.test".into(), family });
        assert_eq!(read("A.Test", TYPE::A), expect(Some(Family::V4)));
        assert_eq!(read("a.test", TYPE::AAAA), expect(Some(Family::V6)));
        assert_eq!(read("a.test", TYPE::TXT), expect(None));
        assert_eq!(read("a b.test", TYPE::A), Err(RCODE::Refused));
        for bad in [&b""[..], b"x", &[0; 12], &[255; 40]] {
            assert!(question(bad).is_none_or(|q| q.is_err()), "{bad:?}");
        }
        // An answer is no question: two resolvers would talk for ever.
        let reply = answer(&ask("a.test", TYPE::A), Ok(Reply::NoData)).unwrap();
        assert_eq!(question(&reply), None);
    }

    #[test]
    fn answers_have_the_question_and_the_code() {
        let message = ask("A.test", TYPE::A);
        let address = "198.18.0.1".parse().unwrap();
        let bytes = answer(&message, Ok(Reply::Address(address, 30))).unwrap();
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.id(), packet.rcode(), packet.questions.len()), (7, RCODE::NoError, 1));
        assert_eq!((packet.answers[0].ttl, packet.answers[0].name.to_string()), (30, "A.test".into()));
        for (reply, code) in [
            (Ok(Reply::Refused), RCODE::Refused),
            (Ok(Reply::NoName), RCODE::NameError),
            (Ok(Reply::NoData), RCODE::NoError),
            (Ok(Reply::Failed), RCODE::ServerFailure),
            (Err(RCODE::NotImplemented), RCODE::NotImplemented),
        ] {
            let bytes = answer(&message, reply).unwrap();
            let packet = Packet::parse(&bytes).unwrap();
            assert_eq!((packet.rcode(), packet.answers.len()), (code, 0));
        }
    }
}
