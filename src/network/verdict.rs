//! What became of a connection or a question, and the rule that would change it.

use std::net::IpAddr;

macro_rules! reasons {
    ($($variant:ident $word:literal),* $(,)?) => {
        /// Why a connection was let through, refused, or failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs)] // each has its word
        pub enum Reason { $($variant),* }

        impl Reason {
            const ALL: &'static [Reason] = &[$(Reason::$variant),*];

            /// Its word in the audit file.
            pub fn word(self) -> &'static str {
                match self { $(Reason::$variant => $word),* }
            }
        }
    };
}

reasons! {
    Allowed "allowed",
    Unresolved "not-resolved", Unreachable "not-reachable", Full "too-many-connections", Start "start",
    Name "no-rule-for-the-name", Port "no-rule-for-the-port", NoName "no-name", Address "closed-address",
    TooManyNames "too-many-names", Datagram "datagram",
    NotTls "not-tls", NoServerName "no-server-name", HiddenServerName "hidden-server-name",
    OtherServerName "other-server-name",
    NotHttp "not-http", NoHost "no-host", OtherHost "other-host", Connect "connect-method",
}

/// What became of one connection or question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionVerdict {
    /// Why.
    pub reason: Reason,
    /// The name that was asked for; empty where there is none.
    pub name: String,
    /// The name that the program sent in its place, or what went wrong in words.
    pub other: String,
    /// The address that was dialled, or that was not.
    pub address: Option<IpAddr>,
    /// The port; 0 for a question.
    pub port: u16,
}

impl ConnectionVerdict {
    /// `allowed`, `refused` or `failed`.
    pub fn word(&self) -> &'static str {
        match self.reason {
            Reason::Allowed => "allowed",
            Reason::Unresolved | Reason::Unreachable | Reason::Full | Reason::Start => "failed",
            _ => "refused",
        }
    }

    /// Whether it is a refusal, which is reported to the user.
    pub fn is_refused(&self) -> bool {
        self.word() == "refused"
    }

    /// The option that would allow it.
    pub fn rule(&self) -> Option<String> {
        let port = if self.port == 0 { 443 } else { self.port };
        let place = |host: &str| match port {
            443 => host.to_string(),
            port => format!("{host}:{port}"),
        };
        let place = match self.reason {
            Reason::Name | Reason::Port => place(&self.name),
            Reason::Address | Reason::NoName => std::net::SocketAddr::new(self.address?, port).to_string(),
            Reason::OtherServerName | Reason::OtherHost
                if crate::config::network::name(&self.other).is_ok() =>
            {
                place(&self.other)
            }
            Reason::NotTls
            | Reason::NoServerName
            | Reason::HiddenServerName
            | Reason::OtherServerName
            | Reason::NotHttp
            | Reason::NoHost
            | Reason::OtherHost
            | Reason::Connect => format!("{},any-sni", place(&self.name)),
            Reason::Allowed
            | Reason::Unresolved
            | Reason::Unreachable
            | Reason::Full
            | Reason::Start
            | Reason::TooManyNames
            | Reason::Datagram => return None,
        };
        crate::config::network::parse_rule(&place).is_ok().then(|| format!("--allow-net {place}"))
    }

    /// One line for the user.
    pub fn text(&self) -> String {
        let address = self.address.map(|a| a.to_string()).unwrap_or_default();
        let (name, other, port) = (&self.name, &self.other, self.port);
        let what = match self.reason {
            Reason::Name if port == 0 => format!("the name {name}: no rule allows it"),
            Reason::Name => format!("{name}:{port}: no rule allows this name"),
            Reason::Port => format!("{name}:{port}: no rule allows this port"),
            Reason::NoName => {
                let place = self.address.map(|a| std::net::SocketAddr::new(a, port).to_string());
                format!("{}: no rule allows this address", place.unwrap_or_default())
            }
            Reason::Address => format!("{name}:{port} leads to {address}, {other}"),
            Reason::TooManyNames => format!(
                "the name {name}: {} names were asked for already",
                crate::config::network::MOST_NAMES
            ),
            Reason::Datagram => format!("{name}{address}:{port}/udp: only TCP is carried"),
            Reason::NotTls => format!("{name}:{port}: no TLS connection"),
            Reason::NoServerName => format!("{name}:{port}: a TLS connection without a server name"),
            Reason::HiddenServerName => {
                format!(
                    "{name}:{port}: a TLS connection whose server name may be another (encrypted ClientHello)"
                )
            }
            Reason::OtherServerName => format!("{name}:{port}: a TLS connection to {other}"),
            Reason::NotHttp => format!("{name}:{port}: no HTTP/1 request that can be read in one way only"),
            Reason::NoHost => format!("{name}:{port}: an HTTP request without a host"),
            Reason::OtherHost => format!("{name}:{port}: an HTTP request to {other}"),
            Reason::Connect => format!("{name}:{port}: an HTTP request with the method CONNECT"),
            Reason::Allowed => format!("{name}:{port}"),
            Reason::Unresolved => format!("{name}: the name could not be looked up"),
            Reason::Unreachable => format!("{name}:{port}: {other}"),
            Reason::Full => format!("{name}:{port}: too many connections"),
            Reason::Start => other.clone(),
        };
        match self.rule() {
            Some(rule) => format!("{what} ({rule})"),
            None => what,
        }
    }

    /// A record of fixed size, as it crosses from the helper to the launcher.
    pub fn record(&self) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        record[0] = self.reason as u8;
        record[1..3].copy_from_slice(&self.port.to_ne_bytes());
        match self.address {
            None => {}
            Some(IpAddr::V4(a)) => {
                record[3] = 4;
                record[4..8].copy_from_slice(&a.octets());
            }
            Some(IpAddr::V6(a)) => {
                record[3] = 6;
                record[4..20].copy_from_slice(&a.octets());
            }
        }
        for (at, text) in [(20, &self.name), (20 + TEXT, &self.other)] {
            let n = text.len().min(TEXT - 1);
            record[at] = n as u8;
            record[at + 1..at + 1 + n].copy_from_slice(&text.as_bytes()[..n]);
        }
        record
    }

    /// What a record says; `None` for one that no helper makes.
    pub fn of_record(record: &[u8]) -> Option<Self> {
        let record: &[u8; RECORD] = record.try_into().ok()?;
        let reason = *Reason::ALL.get(usize::from(record[0]))?;
        let text = |at: usize| {
            let n = usize::from(record[at]);
            String::from_utf8_lossy(record.get(at + 1..at + 1 + n).unwrap_or_default()).into_owned()
        };
        let address = match record[3] {
            4 => <[u8; 4]>::try_from(&record[4..8]).ok().map(IpAddr::from),
            6 => <[u8; 16]>::try_from(&record[4..20]).ok().map(IpAddr::from),
            _ => None,
        };
        let port = u16::from_ne_bytes([record[1], record[2]]);
        Some(ConnectionVerdict { reason, name: text(20), other: text(20 + TEXT), address, port })
    }
}

/// Room for a length and a name.
const TEXT: usize = 256;
/// Bytes of a record.
pub const RECORD: usize = 20 + 2 * TEXT;

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(
        reason: Reason,
        name: &str,
        other: &str,
        address: Option<&str>,
        port: u16,
    ) -> ConnectionVerdict {
        ConnectionVerdict {
            reason,
            name: name.into(),
            other: other.into(),
            address: address.map(|a| a.parse().unwrap()),
            port,
        }
    }

    #[test]
    fn a_record_says_the_same() {
        let long = "x".repeat(253);
        for verdict in [
            verdict(Reason::Name, "evil.test", "", None, 0),
            verdict(Reason::Address, &long, &long, Some("fe80::1"), 443),
            verdict(Reason::Allowed, "", "", Some("10.0.0.5"), 65535),
        ] {
            assert_eq!(ConnectionVerdict::of_record(&verdict.record()), Some(verdict));
        }
        assert_eq!(ConnectionVerdict::of_record(&[0; 3]), None);
        assert_eq!(ConnectionVerdict::of_record(&[255; RECORD]), None);
    }

    #[test]
    fn refusals_name_the_rule() {
        for (verdict, text) in [
            (
                verdict(Reason::Name, "evil.test", "", None, 0),
                "the name evil.test: no rule allows it (--allow-net evil.test)",
            ),
            (
                verdict(Reason::Port, "a.test", "", None, 80),
                "a.test:80: no rule allows this port (--allow-net a.test:80)",
            ),
            (
                verdict(Reason::Address, "a.test", "a private address", Some("10.0.0.5"), 5432),
                "a.test:5432 leads to 10.0.0.5, a private address (--allow-net 10.0.0.5:5432)",
            ),
            (
                verdict(Reason::OtherServerName, "a.test", "b.test", None, 443),
                "a.test:443: a TLS connection to b.test (--allow-net b.test)",
            ),
            (
                verdict(Reason::NoServerName, "a.test", "", None, 443),
                "a.test:443: a TLS connection without a server name (--allow-net a.test,any-sni)",
            ),
            (verdict(Reason::Datagram, "", "", Some("9.9.9.9"), 53), "9.9.9.9:53/udp: only TCP is carried"),
            (
                verdict(Reason::NoName, "", "", Some("2001:db8::1"), 80),
                "[2001:db8::1]:80: no rule allows this address (--allow-net [2001:db8::1]:80)",
            ),
            (
                verdict(Reason::NoName, "", "", Some("198.18.9.9"), 80),
                "198.18.9.9:80: no rule allows this address",
            ),
            // Rules that are possible.
            (verdict(Reason::Port, "a.test", "", None, 53), "a.test:53: no rule allows this port"),
            (
                verdict(Reason::Address, "a.test", "an address of this network", Some("0.0.0.0"), 80),
                "a.test:80 leads to 0.0.0.0, an address of this network",
            ),
            (verdict(Reason::Name, "x.localhost", "", None, 0), "the name x.localhost: no rule allows it"),
        ] {
            assert_eq!(verdict.text(), text);
        }
    }
}
