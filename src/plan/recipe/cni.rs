//! A network of CNI: its plugins run outside once the child's namespace is there, and before Init goes on.

use std::path::Path;
use std::rc::Rc;

use crate::config::cni::NetworkConfigList;
use crate::error::{Error, Result};
use crate::network::RESOLV;
use crate::network::cni::{Attachment, METADATA, container_name, mapping};
use crate::plan::ops::NetOp;
use crate::plan::recipe::{Builder, part, text};
use crate::plan::{Actor::Init, Actor::Runtime, Undo};
use crate::state::files;
use crate::sys::route::{kind_request, unreachable_request};

impl Builder<'_> {
    /// The ports that portmap maps are taken; and a file in memory that Init copies, since what the network says of names
    /// is known only after the clone.
    pub(super) fn before_plugins(&mut self) {
        let config = self.input.config;
        if config.network.cni.is_none() {
            return;
        }
        self.published(true);
        let shown = config.files.iter().find(|file| file.path == Path::new(RESOLV));
        let Some(file) = shown.filter(|_| config.network.servers.is_empty()) else { return };
        let to = self.plan.slot("resolv.conf");
        let row = NetOp::Resolv { content: Rc::new(file.content.clone()), to: to.clone() };
        self.plan.push(Runtime, part::NETWORK, row);
        self.resolv = Some(to);
    }

    /// The plugins, and that what they made is what was asked for.
    pub(super) fn network_of_plugins(&mut self) -> Result<()> {
        let network = &self.input.config.network;
        let Some(cni) = &network.cni else { return Ok(()) };
        let list: &NetworkConfigList =
            cni.list.as_ref().ok_or_else(|| Error::msg("--network cni: the network was not read"))?;
        let dir = self.input.state_dir;
        let (file, record) = (dir.join(files::NAMESPACE), dir.join(files::CNI));
        let attachment = Attachment {
            container: container_name(self.input.id, dir),
            netns: file.clone(),
            path: network.cni_places.plugins(),
            list: list.clone(),
            ports: network.published.iter().map(mapping).collect(),
            result: None,
        };
        let (name, check, isolates): (Rc<str>, _, _) =
            (list.name.as_str().into(), list.check, list.isolates());
        let undo = Undo::Namespace(text(&file));
        self.plan.push_undo(Runtime, part::NETWORK, NetOp::KeepNamespace { file }, undo);
        let undo = Undo::Cni(text(&record));
        let (attachment, resolv) = (Rc::new(attachment), self.resolv.clone());
        let row = NetOp::Cni { attachment, record: record.clone(), resolv };
        self.plan.push_undo(Runtime, part::NETWORK, row, undo);
        if check {
            let row = NetOp::CniCheck { network: name.clone(), record: record.clone() };
            self.plan.push(Runtime, part::NETWORK, row);
        }
        if isolates {
            self.plan.push(Runtime, part::NETWORK, NetOp::Isolate { network: name, record });
        }
        Ok(())
    }

    /// What no program may reach by way of the network.
    pub(super) fn unreachable(&mut self) {
        let network = &self.input.config.network;
        if network.cni.is_none() && network.pasta.is_none() {
            return;
        }
        for address in METADATA.into_iter().filter(|a| a.is_ipv4() || network.v6) {
            let (add, ask) = (Rc::new(unreachable_request(address)), Rc::new(kind_request(address)));
            self.plan.push(Init, part::NETWORK, NetOp::Unreachable { address, add, ask });
        }
    }
}
