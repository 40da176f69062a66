//! From the state of a container to the plan of one more process.

use crate::config::idmap;
use crate::host::Host;
use crate::plan::recipe::{self, FilterInput, Options};
use crate::state::State;
use crate::tables::namespaces::NsKind;

/// The input of an `exec` plan, from a container's state.
pub fn exec_input<'a>(
    state: &'a State,
    process_id: (i32, u64),
    process: &'a crate::config::Process,
    host: &'a Host,
    filters: &'a [FilterInput],
    options: &'a Options,
    groups: &'a crate::plan::recipe::ExecCgroups,
) -> recipe::ExecInput<'a> {
    let pid = process_id.0;
    let of_process = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    recipe::ExecInput {
        state,
        process_id,
        namespaces: state.namespaces,
        process,
        program: None,
        inside: false,
        may_set_groups: of_process("setgroups").trim() != "deny",
        user_outside: user_outside(process.user.uid, state, host, &of_process("uid_map")),
        root_is_mapped: idmap::to_host(&idmap::parse_map(&of_process("uid_map")), 0).is_some(),
        groups,
        host,
        filters,
        options,
    }
}

/// The user's id as the runtime sees it, if the runtime is root and can change file owners.
pub fn user_outside(uid: u32, state: &State, host: &Host, uid_map: &str) -> Option<u32> {
    let in_userns = state.namespaces & NsKind::User.row().flag != 0;
    let outside = if in_userns { idmap::to_host(&idmap::parse_map(uid_map), uid) } else { Some(uid) };
    outside.filter(|_| host.euid == 0)
}
