//! The network by name: the helper is forked before the clone; its sockets are made inside, and handed to it.

use std::rc::Rc;

use crate::error::{ConfigError, Error, Result};
use crate::network::{Role, Settings, Socket, harden, local_ranges, sockets};
use crate::plan::ops::{NetOp, RelayOp};
use crate::plan::recipe::{Builder, part, text};
use crate::plan::{Actor::Init, Actor::Runtime, Slot, Undo};
use crate::state::files;
use crate::sys::route::local_request;
use crate::tables::namespaces::NsKind;

impl Builder<'_> {
    /// The helper, before anything of the container is there that it could hold open.
    pub(super) fn network_helper(&mut self) -> Result<()> {
        let network = &self.input.config.network;
        if !network.is_used() {
            return Ok(());
        }
        if !self.input.config.is_new(NsKind::Net) {
            let text = "names are allowed (--allow-net) only in a network namespace of the container's own";
            return Err(Error::Config(ConfigError::new("/linux/namespaces", text)));
        }
        let host = self.input.host;
        let published = self.published(false);
        let settings = Settings {
            rules: network.rules.clone(),
            servers: network.servers.clone(),
            hosts: network.hosts.clone(),
            published: network.published.clone(),
            sockets: sockets(network, network.v6),
            with_launcher: !self.input.options.detached,
            filter: Rc::new(harden::filter()?),
            user: (host.rootless.is_none() && host.euid == 0).then_some(harden::USER),
        };
        let audit = network.audit.then(|| self.slots.audit.clone());
        let to = self.plan.slot("network helper");
        let row = RelayOp::Helper { settings: Rc::new(settings), audit, published, to: to.clone() };
        self.plan.push_undo(Runtime, part::NETWORK, row, Undo::Helper);
        self.helper = Some(to);
        Ok(())
    }

    /// The ports of the host, as sockets.
    pub(super) fn published(&mut self, kept: bool) -> Vec<Slot> {
        let mut slots = Vec::new();
        for port in &self.input.config.network.published {
            let to = self.plan.slot(&format!("published {}", port.address));
            let row = RelayOp::Publish { published: *port, kept, to: to.clone() };
            self.plan.push(Runtime, part::NETWORK, row);
            slots.push(to);
        }
        slots
    }

    /// pasta, which joins the network namespace of the child. Root has the right to; others have it in the child's user
    /// namespace, which it joins, too.
    pub(super) fn pasta(&mut self) {
        let Some(program) = self.input.config.network.pasta.clone() else { return };
        let root = self.input.host.rootless.is_none() && self.input.host.euid == 0;
        let (runas, in_userns) = (root.then_some(0), !root);
        let file = self.input.state_dir.join(files::PASTA);
        let undo = Undo::Pasta(text(&file));
        self.plan.push_undo(Runtime, part::NETWORK, NetOp::Pasta { program, runas, in_userns, file }, undo);
    }

    /// Addresses, sockets, and their way out.
    pub(super) fn network_inside(&mut self) {
        let Some(to) = self.helper.clone() else { return };
        let network = &self.input.config.network;
        for (address, prefix) in local_ranges(network, network.v6) {
            let range = format!("{address}/{prefix}");
            let request = Rc::new(local_request(address, prefix));
            self.plan.push(Init, part::NETWORK, RelayOp::LocalRoute { range, request });
        }
        let mut slots = Vec::new();
        for socket in sockets(network, network.v6) {
            let Socket { address, .. } = socket;
            let kind = match socket.role {
                Role::Strays => "packets",
                _ if socket.listens() => "tcp",
                _ => "udp",
            };
            let slot = self.plan.slot(&format!("{kind} {address}"));
            self.plan.push(Init, part::NETWORK, RelayOp::Socket { socket, to: slot.clone() });
            slots.push(slot);
        }
        if !network.published.is_empty() {
            let row = RelayOp::Diallers { count: crate::network::DIALLERS, to: to.clone() };
            self.plan.push(Init, part::NETWORK, row);
        }
        self.plan.push(Init, part::NETWORK, RelayOp::HandOver { sockets: slots, to });
    }
}
