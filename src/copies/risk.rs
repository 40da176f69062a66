//! Changes that could run a program later, outside of the sandbox: `safebox diff` points them out.

use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

use super::{ChangeKind, PathChange};

/// Directories whose files other programs execute, as the last components of the way to the file.
const DIRECTORIES: &[(&[&str], &str)] = &[
    (&[".git", "hooks"], "a hook of git"),
    (&[".github", "workflows"], "a CI job"),
    (&[".circleci"], "a CI job"),
    (&[".vscode"], "settings of an editor"),
    (&[".idea"], "settings of an editor"),
    (&[".devcontainer"], "settings of an editor"),
    (&[".husky"], "a hook of git"),
    (&[".gitea", "workflows"], "a CI job"),
    (&[".forgejo", "workflows"], "a CI job"),
    (&[".claude"], "settings of an agent"),
    (&[".cursor"], "settings of an agent"),
    (&[".cargo"], "settings of a build tool"),
    (&[".mvn"], "settings of a build tool"),
    (&[".config", "autostart"], "a program of the session's start"),
    (&[".config", "systemd", "user"], "a unit of systemd"),
    (&[".ssh"], "settings of ssh"),
];

/// Files that other programs execute or obey.
const FILES: &[(&str, &str)] = &[
    (".bashrc", "a shell start file"),
    (".bash_profile", "a shell start file"),
    (".bash_login", "a shell start file"),
    (".bash_logout", "a shell start file"),
    (".profile", "a shell start file"),
    (".zshrc", "a shell start file"),
    (".zshenv", "a shell start file"),
    (".zprofile", "a shell start file"),
    (".zlogin", "a shell start file"),
    (".kshrc", "a shell start file"),
    (".cshrc", "a shell start file"),
    (".tcshrc", "a shell start file"),
    (".login", "a shell start file"),
    ("config.fish", "a shell start file"),
    (".envrc", "a start file of direnv"),
    (".git", "a pointer of git to settings that run programs"),
    ("config.worktree", "a setting of git that runs programs"),
    (".mcp.json", "settings of an agent"),
    (".npmrc", "settings of a build tool"),
    (".yarnrc.yml", "settings of a build tool"),
    (".vimrc", "a start file of an editor"),
    (".exrc", "a start file of an editor"),
    (".nvimrc", "a start file of an editor"),
    (".dir-locals.el", "a start file of an editor"),
    (".gitmodules", "a setting of git that runs programs"),
    (".gitattributes", "a setting of git that runs programs"),
    (".gitlab-ci.yml", "a CI job"),
    (".travis.yml", "a CI job"),
    ("Jenkinsfile", "a CI job"),
    ("azure-pipelines.yml", "a CI job"),
    (".pre-commit-config.yaml", "a hook of git"),
];

/// Why a change may run later outside; `None` for one that does not by itself.
pub fn of(change: &PathChange) -> Option<&'static str> {
    let link = change.link.as_deref();
    if change.kind == ChangeKind::Deleted {
        return None;
    }
    let parts: Vec<_> = change
        .path
        .components()
        .filter_map(|c| match c {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    let name = *parts.last()?;
    let in_directory = |dirs: &[&str]| parts[..parts.len() - 1].windows(dirs.len()).any(|w| w == dirs);
    if let Some((_, why)) = DIRECTORIES.iter().find(|(dirs, _)| in_directory(dirs)) {
        return Some(why);
    }
    // Also of a submodule, a worktree, or a directory that is a repository without .git.
    let of_git = parts.iter().rev().skip(1).any(|part| part.ends_with(".git"));
    if name == "config" && of_git {
        return Some("a setting of git that runs programs");
    }
    if let Some((_, why)) = FILES.iter().find(|(file, _)| *file == name).filter(|_| !change.meta.is_dir()) {
        return Some(why);
    }
    // In the place of such a directory, or of one on the way to it, a symlink puts other files there.
    let leads_to = |dirs: &[&str]| (1..=dirs.len()).any(|n| parts.ends_with(&dirs[..n]));
    if let (Some(_), Some((_, why))) = (link, DIRECTORIES.iter().find(|(dirs, _)| leads_to(dirs))) {
        return Some(why);
    }
    if let Some(link) = link {
        let leaves = link.is_absolute() || leads_out(&change.path, link);
        return leaves.then_some("a symlink that leads out of the directory");
    }
    let executable = change.meta.is_file() && change.meta.permissions().mode() & 0o111 != 0;
    executable.then_some("executable")
}

/// Whether a relative symlink at `path` leads above the base.
fn leads_out(path: &Path, to: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    for component in to.components() {
        match component {
            Component::ParentDir if depth == 0 => return true,
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_run_later_is_pointed_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("f");
        std::fs::write(&file, "x").expect("a file");
        let meta = file.symlink_metadata().expect("a file");
        let risk = |path: &str, link: Option<&str>| {
            let (path, meta, link) = (path.into(), meta.clone(), link.map(Into::into));
            of(&PathChange { kind: ChangeKind::Added, path, meta, mode_only: false, link })
        };
        for path in [
            "x/.git/hooks/pre-commit",
            "a/.git/config",
            ".envrc",
            ".vscode/tasks.json",
            ".github/workflows/x.yml",
            "home/.bashrc",
            ".git",
            "x/.git/modules/y/config",
            "x/bare.git/config",
            ".cargo/config.toml",
            ".claude/settings.json",
        ] {
            assert!(risk(path, None).is_some(), "{path}");
        }
        for path in ["src/main.rs", "config", "git/hooks", "hooks/x", "config/x.git"] {
            assert_eq!(risk(path, None), None, "{path}");
        }
        assert!(risk("a/l", Some("../../etc")).is_some() && risk("l", Some("/etc")).is_some());
        assert!(risk("a/l", Some("../b")).is_none());
        for path in [".git/hooks", "x/.git", ".github", ".github/workflows", ".config"] {
            assert!(risk(path, Some("elsewhere")).is_some(), "{path}");
        }
        assert!(risk("hooks", Some("elsewhere")).is_none());
    }
}
