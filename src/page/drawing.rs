//! Drawings of what a plan builds: namespaces, id maps, mounts and cgroups, derived from its rows.

use std::fmt::Write;

use super::html::{Html, text};
use crate::plan::ops::{CgroupOp, CloneOp, DeviceOp, FdOp, FileOp, MountOp, NsOp, RootOp, SetAttr, UserOp};
use crate::plan::{Action, Plan};
use crate::sys::cstr::show;
use crate::tables::namespaces::NAMESPACES;

/// The height of a line, and the width of a character, in user units.
const LINE: usize = 22;
const CHAR: usize = 8;

/// Appends four drawings.
pub fn drawing(out: &mut String, plan: &Plan) {
    out.put("<div class=panels>");
    namespaces(out, plan);
    id_maps(out, plan);
    tree(out, "Mount tree", &mounts(plan), "Mounts of the container:");
    tree(out, "Cgroups", &cgroups(plan), "Cgroups and their limits:");
    out.put("</div>");
}

fn figure(out: &mut String, title: &str, summary: &str, size: (usize, usize), body: &str) {
    let (width, height) = size;
    write!(out, "<figure tabindex=0 aria-label=\"{0}\"><figcaption>{0}</figcaption><svg role=img aria-label=\"{1}\" width={width} height={height} viewBox=\"0 0 {width} {height}\">{body}</svg></figure>", text(title), text(summary))
        .unwrap_or_default();
}

/// Draws the namespaces: new, joined, or those of the host.
fn namespaces(out: &mut String, plan: &Plan) {
    let mut new = 0;
    let mut joined = 0;
    for row in &plan.rows {
        match &row.action {
            Action::Clone(CloneOp::Init { namespaces, .. } | CloneOp::Plain { namespaces })
            | Action::Clone(CloneOp::Sibling { namespaces, .. })
            | Action::Ns(NsOp::Unshare { namespaces, .. }) => new |= namespaces,
            Action::Ns(NsOp::Join { flags, .. }) => joined |= flags,
            Action::Ns(NsOp::NewCgroup) => new |= libc::CLONE_NEWCGROUP as u64,
            _ => {}
        }
    }
    let (mut body, mut words) = (String::new(), Vec::new());
    for (i, ns) in NAMESPACES.iter().enumerate() {
        let (class, state) = match (joined & ns.flag != 0, new & ns.flag != 0) {
            (true, _) => ("joined", "joined"),
            (_, true) => ("new", "new"),
            _ => ("host", "the host's"),
        };
        let (x, y) = (10 + i % 2 * 190, 10 + i / 2 * 50);
        write!(body, "<rect class={class} x={x} y={y} width=180 height=42 rx=6 /><text x={0} y={1}>{2}</text><text class=soft x={0} y={3}>{state}</text>", x + 10, y + 18, ns.oci, y + 34)
            .unwrap_or_default();
        words.push(format!("{}: {state}", ns.oci));
    }
    let height = 10 + NAMESPACES.len().div_ceil(2) * 50;
    figure(
        out,
        "Namespaces",
        &format!("Namespaces of the container: {}", words.join(", ")),
        (390, height),
        &body,
    );
}

/// Id ranges: (first inside, first outside, count).
fn ranges(plan: &Plan, file: &str, tool: &str) -> Vec<(u64, u64, u64)> {
    let mut ranges = Vec::new();
    for row in &plan.rows {
        match &row.action {
            Action::User(UserOp::WriteMap { file: name, value }) if *name == file => {
                let text = String::from_utf8_lossy(value);
                let numbers = |line: &str| -> Vec<u64> {
                    line.split_whitespace().filter_map(|n| n.parse().ok()).collect()
                };
                ranges.extend(text.lines().filter_map(|line| match numbers(line)[..] {
                    [inside, outside, count] => Some((inside, outside, count)),
                    _ => None,
                }));
            }
            Action::User(UserOp::RunMapTool { program, maps }) if program.ends_with(tool) => {
                ranges.extend(maps.iter().map(|m| (m.container.into(), m.host.into(), m.size.into())));
            }
            _ => {}
        }
    }
    ranges
}

fn id_maps(out: &mut String, plan: &Plan) {
    let (mut body, mut words, mut y) = (String::new(), Vec::new(), 20);
    for (what, file, tool) in [("uid", "uid_map", "newuidmap"), ("gid", "gid_map", "newgidmap")] {
        for (inside, outside, count) in ranges(plan, file, tool) {
            let last = |first: u64| first.saturating_add(count.saturating_sub(1));
            let (a, b) = (format!("{inside} to {}", last(inside)), format!("{outside} to {}", last(outside)));
            write!(body, "<text class=soft x=10 y={y}>{what} inside</text><text class=soft x=230 y={y}>{what} on the host</text><path class=map d=\"M10 {0}h130l90 0h200v34h-200l-90 0h-130z\"/><text x=18 y={1}>{a}</text><text x=160 y={1}>=</text><text x=238 y={1}>{b}</text>", y + 8, y + 30)
                .unwrap_or_default();
            words.push(format!("{what} {a} inside is {b} on the host"));
            y += 72;
        }
    }
    if words.is_empty() {
        body.put("<text x=10 y=24>No id map: ids inside are the host's ids,</text><text x=10 y=46>or those of the joined namespace.</text>");
        words.push("none: ids inside are the host's ids, or those of the joined namespace".into());
        y = 60;
    }
    figure(out, "Id maps", &format!("Id maps: {}", words.join("; ")), (450, y), &body);
}

/// A line of a tree: depth, text, remark.
type Branch = (usize, String, String);

fn mounts(plan: &Plan) -> Vec<Branch> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut add = |path: String, what: String| {
        found.retain(|(there, _)| *there != path);
        found.push((path, what));
    };
    for row in &plan.rows {
        match &row.action {
            Action::Root(RootOp::Attach { .. }) | Action::Root(RootOp::CriuDir { .. }) => {
                add("/".into(), "the rootfs".into())
            }
            Action::Mount(MountOp::New { fs, target: Some(target), attrs, after, .. }) => {
                let ro = *attrs & libc::MOUNT_ATTR_RDONLY != 0 || after.iter().any(readonly);
                add(target.inside(), format!("{}{}", show(fs), if ro { ", read-only" } else { "" }));
            }
            Action::Mount(MountOp::Move { tree, before, target }) => {
                let ro = if before.iter().any(readonly) { ", read-only" } else { "" };
                add(target.inside(), format!("{}{ro}", tree.name));
            }
            Action::File(FileOp::Replace { path, .. }) => {
                add(format!("/{}", show(path)), "a file from the runtime".into())
            }
            Action::Fd(FdOp::ConsoleMount { target, .. }) => add(target.inside(), "the pty".into()),
            _ => {}
        }
    }
    found.sort();
    // The depth of a path is the number of mounts above it.
    let depth = |path: &str| {
        found
            .iter()
            .filter(|(above, _)| above != path && (above == "/" || path.starts_with(&format!("{above}/"))))
            .count()
    };
    found.iter().map(|(path, what)| (depth(path), path.clone(), what.clone())).collect()
}

fn readonly(change: &SetAttr) -> bool {
    change.attr.attr_set & libc::MOUNT_ATTR_RDONLY != 0
}

fn cgroups(plan: &Plan) -> Vec<Branch> {
    let mut lines: Vec<Branch> = Vec::new();
    for row in &plan.rows {
        match &row.action {
            Action::Cgroup(CgroupOp::Dir { path, .. })
            | Action::Cgroup(CgroupOp::Joinable { path, .. })
            | Action::Cgroup(CgroupOp::InScope { path, .. }) => {
                lines.push((0, show(path).into_owned(), String::new()));
            }
            Action::Cgroup(CgroupOp::Scope { start, .. }) => {
                lines.push((0, start.scope.unit.clone(), "made by systemd".into()))
            }
            Action::Cgroup(CgroupOp::Write { path, value }) => {
                let path = show(path);
                let (dir, file) = path.rsplit_once('/').unwrap_or(("", &path));
                let value = String::from_utf8_lossy(value);
                let meaning = row.action.note().map(|n| format!(" {n}")).unwrap_or_default();
                let line = (1, file.to_string(), format!("{}{meaning}", value.trim_end().replace('\n', " ")));
                // Below its own cgroup, if that is one of the container's.
                let group = lines.iter().rposition(|(depth, name, _)| *depth == 0 && name == dir);
                if let Some(group) = group {
                    let end = lines[group + 1..].iter().position(|(depth, ..)| *depth == 0);
                    lines.insert(end.map_or(lines.len(), |end| group + 1 + end), line);
                }
            }
            Action::Device(DeviceOp::Filter { .. }) => {
                lines.push((1, "device filter (BPF)".into(), "decides which devices may be opened".into()));
            }
            _ => {}
        }
    }
    if lines.is_empty() {
        lines.push((0, "none: this container is not limited".into(), String::new()));
    }
    lines
}

fn tree(out: &mut String, title: &str, branches: &[Branch], summary: &str) {
    let (mut body, mut words, mut width) = (String::new(), Vec::new(), 300);
    let column = branches
        .iter()
        .filter(|b| !b.2.is_empty())
        .map(|(depth, name, _)| depth * 20 + name.chars().count() * CHAR)
        .max()
        .unwrap_or(0)
        + 40;
    for (i, (depth, name, remark)) in branches.iter().enumerate() {
        let (x, y) = (10 + depth * 20, i * LINE + 20);
        if *depth > 0 {
            // Connects to the nearest line above with a smaller depth.
            let up = branches[..i].iter().rposition(|(above, ..)| above < depth).unwrap_or(0);
            write!(body, "<path d=\"M{0} {1}V{2}h10\"/>", x - 14, up * LINE + 26, y - 5).unwrap_or_default();
        }
        write!(
            body,
            "<text x={x} y={y}>{}</text><text class=soft x={column} y={y}>{}</text>",
            text(name),
            text(remark)
        )
        .unwrap_or_default();
        width = width.max(column + remark.chars().count() * CHAR + 10);
        words.push(format!("{name} {remark}").trim_end().to_string());
    }
    figure(
        out,
        title,
        &format!("{summary} {}", words.join("; ")),
        (width, branches.len() * LINE + 20),
        &body,
    );
}
