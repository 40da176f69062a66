//! /etc/resolv.conf of a container on a network of CNI.

use std::net::IpAddr;

use super::METADATA;
use super::result::Dns;

/// What a container without servers of its network's sees: the host's file, without the servers that it cannot reach.
pub fn of_host(text: &str) -> String {
    let reached = |line: &&str| match line.trim().strip_prefix("nameserver") {
        Some(server) => server.trim().parse::<IpAddr>().is_ok_and(is_reached),
        None => true,
    };
    text.lines().filter(reached).map(|line| format!("{line}\n")).collect()
}

/// Neither the container's own loopback nor an address that is closed to it.
fn is_reached(server: IpAddr) -> bool {
    !server.is_loopback() && !METADATA.contains(&server)
}

/// The file that a result asks for; `None` where it names no server.
pub fn of_result(dns: &Dns) -> Option<String> {
    let servers: Vec<IpAddr> = dns.nameservers.iter().filter_map(|server| server.parse().ok()).collect();
    if servers.is_empty() {
        return None;
    }
    let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    // One line each, whatever the plugin says.
    let word = |word: &&String| !word.is_empty() && word.chars().all(|c| c.is_ascii_graphic());
    let words = |list: &[String]| list.iter().filter(word).cloned().collect::<Vec<_>>().join(" ");
    let search = if dns.search.is_empty() { vec![dns.domain.clone()] } else { dns.search.clone() };
    for (key, list) in [("search", words(&search)), ("options", words(&dns.options))] {
        if !list.is_empty() {
            text.push_str(&format!("{key} {list}\n"));
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_cannot_be_reached_are_left_out() {
        let host = "# x\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nnameserver 169.254.169.254\nsearch a.org\nnameserver ::1\n";
        assert_eq!(of_host(host), "# x\nnameserver 9.9.9.9\nsearch a.org\n");
    }

    #[test]
    fn a_result_has_one_line_of_each() {
        let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let dns = Dns {
            nameservers: words(&["10.0.0.1", "evil\nnameserver 1.2.3.4", "fd00::1"]),
            domain: "a.org".into(),
            search: words(&["b.org", "c.org\noptions x"]),
            options: words(&["ndots:2"]),
        };
        let text = of_result(&dns).unwrap();
        assert_eq!(text, "nameserver 10.0.0.1\nnameserver fd00::1\nsearch b.org\noptions ndots:2\n");
        let dns = Dns { search: Vec::new(), options: Vec::new(), ..dns };
        assert!(of_result(&dns).unwrap().ends_with("search a.org\n"));
        assert_eq!(of_result(&Dns::default()), None);
    }
}
