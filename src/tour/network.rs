//! Layer: a network namespace.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::{TourLayer, always, world};

pub const LAYER: TourLayer = TourLayer {
    name: "network",
    title: "a network of its own, with nothing in it",
    attack: "a program asks the cloud's metadata service for a token (a server of the tour on 127.0.0.1 plays \
             169.254.169.254)",
    stopped: "a new network namespace has a loopback device of its own and no route: neither the host's services, nor \
              the metadata address, nor another container can be reached.",
    apply: |config, _| world::namespace(config, "network"),
    arguments: |world| vec![world.port.to_string()],
    perform: |arguments| {
        let port: u16 = arguments.first().and_then(|port| port.parse().ok()).ok_or("a port is needed")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut text = String::new();
        let read = TcpStream::connect_timeout(&address, Duration::from_secs(5))
            .and_then(|mut stream| stream.read_to_string(&mut text));
        match read {
            Ok(_) => Ok(format!("connect({address}): the service answered {text:?}")),
            Err(e) => Err(format!("connect({address}): {e}")),
        }
    },
    also: &["loopback"],
    missing: always,
};
