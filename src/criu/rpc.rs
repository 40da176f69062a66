//! The protocol of `criu swrk`: one request, then notifications, then one answer.
//!
//! Each message is one packet on a SEQPACKET socket (criu.org/RPC). The numbers are those of criu's
//! `rpc.proto`; they are stable.

use std::os::fd::RawFd;

use super::wire::{WireMessage, fields};
use crate::error::{Error, Result};
use crate::sys::{Errno, fs, socket};

/// Kinds of requests (`criu_req_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CriuRequestType {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
}

impl CriuRequestType {
    /// The name that runc prints, for a number of criu.
    pub fn name(number: u64) -> &'static str {
        match number {
            1 => "DUMP",
            2 => "RESTORE",
            4 => "PRE_DUMP",
            6 => "NOTIFY",
            9 => "FEATURE_CHECK",
            _ => "EMPTY",
        }
    }
}

/// Fields of `criu_opts`.
pub mod opt {
    #![allow(missing_docs)]
    pub const IMAGES_DIR_FD: u32 = 1;
    pub const PID: u32 = 2;
    pub const LEAVE_RUNNING: u32 = 3;
    pub const EXT_UNIX_SK: u32 = 4;
    pub const TCP_ESTABLISHED: u32 = 5;
    pub const EVASIVE_DEVICES: u32 = 6;
    pub const SHELL_JOB: u32 = 7;
    pub const FILE_LOCKS: u32 = 8;
    pub const LOG_LEVEL: u32 = 9;
    pub const LOG_FILE: u32 = 10;
    pub const PAGE_SERVER: u32 = 11;
    pub const NOTIFY_SCRIPTS: u32 = 12;
    pub const ROOT: u32 = 13;
    pub const PARENT_IMG: u32 = 14;
    pub const TRACK_MEM: u32 = 15;
    pub const AUTO_DEDUP: u32 = 16;
    pub const WORK_DIR_FD: u32 = 17;
    pub const LINK_REMAP: u32 = 18;
    pub const EXT_MNT: u32 = 23;
    pub const MANAGE_CGROUPS: u32 = 24;
    pub const CG_ROOT: u32 = 25;
    pub const RST_SIBLING: u32 = 26;
    pub const INHERIT_FD: u32 = 27;
    pub const MANAGE_CGROUPS_MODE: u32 = 34;
    pub const EXTERNAL: u32 = 37;
    pub const EMPTY_NS: u32 = 38;
    pub const JOIN_NS: u32 = 39;
    pub const FREEZE_CGROUP: u32 = 44;
    pub const TCP_SKIP_IN_FLIGHT: u32 = 46;
    pub const LAZY_PAGES: u32 = 48;
    pub const ORPHAN_PTS_MASTER: u32 = 50;
    pub const CONFIG_FILE: u32 = 51;
    pub const TCP_CLOSE: u32 = 52;
    pub const LSM_PROFILE: u32 = 53;
    pub const LSM_MOUNT_CONTEXT: u32 = 63;
    pub const NETWORK_LOCK: u32 = 64;
}

/// Fields of `criu_req`, `criu_resp` and the small messages in them.
mod field {
    pub const TYPE: u32 = 1;
    pub const OPTS: u32 = 2;
    pub const NOTIFY_SUCCESS: u32 = 3;
    pub const FEATURES: u32 = 5;
    pub const SUCCESS: u32 = 2;
    pub const RESTORED: u32 = 4;
    pub const NOTIFICATION: u32 = 5;
    pub const ERRNO: u32 = 7;
    pub const FEATURES_FOUND: u32 = 8;
}

/// A pair of strings, the format of `ext_mount_map`, `cgroup_root` and `join_namespace`.
pub fn pair(first: &str, second: &str) -> WireMessage {
    let mut m = WireMessage::new();
    m.text(1, first).text(2, second);
    m
}

/// A pair of a name and a number, for example an `inherit_fd`.
pub fn numbered(name: &str, number: i64) -> WireMessage {
    let mut m = WireMessage::new();
    m.text(1, name).int(2, number);
    m
}

/// A request of `kind` with these `criu_opts`.
pub fn request(kind: CriuRequestType, opts: &WireMessage) -> WireMessage {
    let mut m = WireMessage::new();
    m.int(field::TYPE, kind as i64).nested(field::OPTS, opts);
    m
}

/// A request to check whether criu and the kernel have the feature with this number (`criu_features`).
pub fn feature_check(feature: u32) -> WireMessage {
    let (mut features, mut m) = (WireMessage::new(), WireMessage::new());
    features.switch(feature, true);
    m.int(field::TYPE, CriuRequestType::FeatureCheck as i64).nested(field::FEATURES, &features);
    m
}

/// A notification from criu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CriuNotification {
    /// Name of the event: `setup-namespaces`, `post-restore`, ...
    pub name: String,
    /// Pid of the process, if the event has one.
    pub pid: i32,
    /// A descriptor sent with it: the master end of a terminal.
    pub fd: Option<RawFd>,
}

/// criu's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CriuResponse {
    /// Pid of the restored container.
    pub pid: i32,
    /// The numbers of the supported features.
    pub features: Vec<u32>,
}

/// A packet from criu.
#[derive(Debug, Default)]
struct Packet {
    kind: u64,
    success: bool,
    errno: i32,
    event: Option<(String, i32)>,
    answer: CriuResponse,
}

/// Maximum size of a packet; criu's packets are far smaller.
const PACKET: usize = 40 << 10;

/// Sends `request` and handles all packets up to the answer. `on_event` handles notifications: its error
/// makes criu abort and is returned.
pub fn converse(
    criu: RawFd,
    request: &WireMessage,
    on_event: &mut dyn FnMut(CriuNotification) -> Result<()>,
) -> Result<CriuResponse> {
    let lost = |e: Errno| Error::os("talk to", "criu", e);
    socket::send(criu, request.bytes()).map_err(lost)?;
    let mut buf = vec![0u8; PACKET];
    let mut refused = None;
    loop {
        let (n, fd) = match socket::recv_with_fd(criu, &mut buf) {
            Ok((0, _)) | Err(Errno::ECONNRESET) => {
                return Err(refused.unwrap_or_else(|| Error::msg("criu ended without an answer")));
            }
            other => other.map_err(lost)?,
        };
        if n == buf.len() {
            return Err(Error::msg("criu sent a packet that is too large"));
        }
        let packet = parse(&buf[..n]).ok_or_else(|| Error::msg("criu sent a malformed answer"))?;
        if !packet.success {
            let text =
                format!("criu failed: type {} errno {}", CriuRequestType::name(packet.kind), packet.errno);
            return Err(refused.unwrap_or_else(|| Error::msg(text)));
        }
        let Some((name, pid)) = packet.event else { return Ok(packet.answer) };
        let went_well = match on_event(CriuNotification { name, pid, fd }) {
            Ok(()) => true,
            Err(e) => {
                refused = Some(e);
                false
            }
        };
        let mut reply = WireMessage::new();
        reply
            .int(field::TYPE, CriuRequestType::Notify as i64)
            .int(field::NOTIFY_SUCCESS, i64::from(went_well));
        socket::send(criu, reply.bytes()).map_err(lost)?;
    }
}

fn parse(bytes: &[u8]) -> Option<Packet> {
    let mut packet = Packet::default();
    for (number, value) in fields(bytes)? {
        match number {
            field::TYPE => packet.kind = value.int(),
            field::SUCCESS => packet.success = value.int() != 0,
            field::ERRNO => packet.errno = value.signed(),
            field::RESTORED => packet.answer.pid = fields(value.block())?.first()?.1.signed(),
            field::FEATURES_FOUND => {
                let found = fields(value.block())?;
                packet.answer.features =
                    found.iter().filter(|(_, v)| v.int() != 0).map(|(n, _)| *n).collect();
            }
            field::NOTIFICATION => {
                let mut event = (String::new(), 0);
                for (number, value) in fields(value.block())? {
                    match number {
                        1 => event.0 = value.text(),
                        2 => event.1 = value.signed(),
                        _ => {}
                    }
                }
                packet.event = Some(event);
            }
            _ => {}
        }
    }
    Some(packet)
}

/// This process's end of the socket. criu ends when it is closed.
#[derive(Debug)]
pub struct CriuSocket(pub RawFd);

impl Drop for CriuSocket {
    fn drop(&mut self) {
        fs::close(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// criu's answer to a restore.
    fn answer(success: bool) -> WireMessage {
        let (mut m, mut restored) = (WireMessage::new(), WireMessage::new());
        restored.int(1, 77);
        m.int(field::TYPE, 2).int(field::SUCCESS, i64::from(success)).nested(field::RESTORED, &restored);
        m.int(field::ERRNO, 17);
        m
    }

    fn notification(name: &str) -> WireMessage {
        let (mut m, mut inner) = (WireMessage::new(), WireMessage::new());
        inner.text(1, name).int(2, 42);
        m.int(field::TYPE, 6).int(field::SUCCESS, 1).nested(field::NOTIFICATION, &inner);
        m
    }

    fn talk(
        script: &[WireMessage],
        on_event: &mut dyn FnMut(CriuNotification) -> Result<()>,
    ) -> (Result<CriuResponse>, Vec<Vec<u8>>) {
        let (ours, theirs) = socket::seqpacket_pair().unwrap();
        let (ours, theirs) = (CriuSocket(ours), CriuSocket(theirs));
        for m in script {
            socket::send(theirs.0, m.bytes()).unwrap();
        }
        let result = converse(ours.0, &request(CriuRequestType::Restore, &WireMessage::new()), on_event);
        drop(ours);
        let (mut heard, mut buf) = (Vec::new(), [0u8; 256]);
        while let Ok(n) = socket::recv(theirs.0, &mut buf)
            && n > 0
        {
            heard.push(buf[..n].to_vec());
        }
        (result, heard)
    }

    #[test]
    fn notifications_are_answered_and_the_answer_comes_last() {
        let mut seen = Vec::new();
        let script = [notification("setup-namespaces"), notification("post-restore"), answer(true)];
        let (result, heard) = talk(&script, &mut |e| {
            seen.push((e.name, e.pid));
            Ok(())
        });
        assert_eq!(result.unwrap().pid, 77);
        assert_eq!(seen, [("setup-namespaces".into(), 42), ("post-restore".into(), 42)]);
        assert_eq!(heard[1], [8, 6, 24, 1], "a NOTIFY that reports success");
    }

    #[test]
    fn criu_s_failure_and_ours_are_distinguished() {
        let (result, _) = talk(&[answer(false)], &mut |_| Ok(()));
        assert_eq!(result.unwrap_err().to_string(), "criu failed: type RESTORE errno 17");
        let script = [notification("setup-namespaces"), answer(false)];
        let (result, heard) = talk(&script, &mut |_| Err(Error::msg("a hook failed")));
        assert_eq!(result.unwrap_err().to_string(), "a hook failed");
        assert_eq!(heard[1], [8, 6, 24, 0]);
    }
}
