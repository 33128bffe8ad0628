//! Files that programs of the host act on by themselves.
//!
//! What a guest writes into the sources of a project runs when somebody builds the project, and
//! no list can tell that from work well done. The files here run earlier: at the next `git
//! status`, when an editor opens the directory, when a shell starts, on the next push. Inside the
//! sandbox all of them can be written (git fails where it cannot write its hooks); they stay out
//! when changes are applied, unless the caller names them.
//!
//! Names are compared without regard to ASCII case: a filesystem may do so too.

use super::change::Change;
use super::entry::{Entry, EntryKind};

/// Names that are protected wherever they are, with all that is below them.
const ANYWHERE: &[(&str, &[&str])] = &[
    (
        "a file that a shell runs when it starts",
        &[
            ".bashrc",
            ".bash_profile",
            ".bash_login",
            ".bash_logout",
            ".bash_aliases",
            ".profile",
            ".zshrc",
            ".zshenv",
            ".zprofile",
            ".zlogin",
            ".zlogout",
            ".kshrc",
            ".cshrc",
            ".tcshrc",
            ".login",
            ".envrc",
            ".inputrc",
            ".mkshrc",
            ".logout",
            ".autoenv",
            ".autoenv.zsh",
            ".bashrc.d",
        ],
    ),
    (
        "a file that a session or a service of the user starts from",
        &[
            ".xprofile",
            ".xsession",
            ".xinitrc",
            ".forward",
            ".procmailrc",
            ".tmux.conf",
            ".ssh",
        ],
    ),
    (
        "settings of a tool that runs programs by itself",
        &[
            ".gdbinit",
            ".lldbinit",
            ".yarnrc.yml",
            ".mise.toml",
            "mise.toml",
            "rust-toolchain.toml",
        ],
    ),
    (GIT_CONFIG, &[".gitconfig"]),
    (
        "a configuration of git hooks",
        &[
            ".husky",
            ".pre-commit-config.yaml",
            ".pre-commit-config.yml",
            "lefthook.yml",
            "lefthook.yaml",
            ".lefthook.yml",
            ".overcommit.yml",
        ],
    ),
    (
        "settings of an editor",
        &[
            ".vscode",
            ".idea",
            ".zed",
            ".fleet",
            ".devcontainer",
            ".devcontainer.json",
            ".exrc",
            ".vimrc",
            ".gvimrc",
            ".nvimrc",
            ".nvim.lua",
            ".lvimrc",
            ".dir-locals.el",
            ".dir-locals-2.el",
            ".helix",
            ".theia",
            ".vs",
            ".vim",
            ".emacs",
            ".emacs.d",
        ],
    ),
    (
        "settings of an assistant",
        &[
            ".claude",
            "CLAUDE.md",
            "AGENTS.md",
            ".cursor",
            ".cursorrules",
            ".codex",
            ".mcp.json",
            ".windsurf",
            ".windsurfrules",
            ".clinerules",
            ".gemini",
            "GEMINI.md",
            "opencode.json",
            ".opencode",
            ".roo",
            ".kiro",
            ".amazonq",
            ".continue",
        ],
    ),
    (
        CI,
        &[
            ".gitlab-ci.yml",
            ".gitlab-ci.yaml",
            ".circleci",
            ".buildkite",
            ".travis.yml",
            ".drone.yml",
            ".woodpecker",
            ".woodpecker.yml",
            ".woodpecker.yaml",
            ".cirrus.yml",
            ".appveyor.yml",
            "appveyor.yml",
            "azure-pipelines.yml",
            "bitbucket-pipelines.yml",
            "Jenkinsfile",
            ".build.yml",
            ".builds",
            ".semaphore",
            ".tekton",
            ".teamcity",
            "wercker.yml",
            ".gitpod.yml",
            ".replit",
        ],
    ),
];

/// A directory and a name in it that are protected together, wherever they are.
const PAIRS: &[(&[u8], &[u8], &str)] = &[
    (b".github", b"workflows", CI),
    (b".github", b"actions", CI),
    (b".gitea", b"workflows", CI),
    (b".gitea", b"actions", CI),
    (b".forgejo", b"workflows", CI),
    (b".forgejo", b"actions", CI),
    (b".hg", b"hgrc", OTHER_VCS),
    (b".hg", b"hgrc-not-shared", OTHER_VCS),
    (b".hg", b"sharedpath", OTHER_VCS),
    (b".jj", b"repo", OTHER_VCS),
    (b".config", b"fish", SESSION),
    (b".config", b"autostart", SESSION),
    (b".config", b"systemd", SESSION),
    (b".config", b"nvim", SESSION),
    (b".config", b"git", GIT_CONFIG),
    (b".local", b"bin", SESSION),
    (
        b".cargo",
        b"config.toml",
        "settings of a tool that runs programs by itself",
    ),
    (
        b".cargo",
        b"config",
        "settings of a tool that runs programs by itself",
    ),
    (
        b".mvn",
        b"jvm.config",
        "settings of a tool that runs programs by itself",
    ),
];
/// Ends of names that are protected wherever they are.
const ENDS: &[&str] = &[".code-workspace", ".sublime-project"];
const SESSION: &str = "a file that a session of the user starts from";
const CI: &str = "a configuration of continuous integration";
const OTHER_VCS: &str = "a configuration of version control, which can run programs";

/// What in a git directory runs programs or leads git to another directory that may.
const IN_GIT: &[(&str, &[u8])] = &[
    ("a git hook", b"hooks"),
    (GIT_CONFIG, b"config"),
    (GIT_CONFIG, b"config.worktree"),
    (GIT_ELSEWHERE, b"commondir"),
    (GIT_ELSEWHERE, b"gitdir"),
    ("a plan of commands that git runs", b"rebase-merge"),
];
const GIT_CONFIG: &str = "a git configuration, which can run programs";
const GIT_ELSEWHERE: &str = "a file that leads git to another directory";
/// Without one of these git takes a `.git` for none, and looks for a repository further up: the
/// directory around it may be made to look like one.
const GIT_NEEDS: &[(&[u8], EntryKind)] = &[
    (b"HEAD", EntryKind::File),
    (b"refs", EntryKind::Directory),
    (b"objects", EntryKind::Directory),
];
const GIT_BROKEN: &str = "what makes a directory a git repository";

/// Why a change is held to be dangerous by its name alone, if it is.
pub(super) fn protected(change: &Change) -> Option<&'static str> {
    let names: Vec<&[u8]> = change.path.names().collect();
    for name in &names {
        for (what, list) in ANYWHERE {
            if list.iter().any(|known| is(name, known.as_bytes())) {
                return Some(what);
            }
        }
    }
    let ends = |name: &[u8]| {
        ENDS.iter().any(|end| {
            let at = name.len().saturating_sub(end.len());
            is(&name[at..], end.as_bytes())
        })
    };
    if names.iter().any(|name| ends(name)) {
        return Some("settings of an editor");
    }
    for pair in names.windows(2) {
        let known = PAIRS
            .iter()
            .find(|(above, name, _)| is(pair[0], above) && is(pair[1], name));
        if let Some((_, _, what)) = known {
            return Some(what);
        }
    }
    git(&names, change)
}

fn git(names: &[&[u8]], change: &Change) -> Option<&'static str> {
    let Some(at) = names.iter().position(|name| is(name, b".git")) else {
        // With `objects` and `refs` beside it, git takes the directory for a repository
        // (git-config(1), safe.bareRepository), and runs what its `config` says.
        let last = names.last()?;
        return is(last, b"HEAD").then_some(GIT_BROKEN);
    };
    let inside = &names[at + 1..];
    if inside.is_empty() {
        // A file or link of this name sends git to another directory.
        let sides = [&change.before, &change.after].into_iter().flatten();
        let mut kinds = sides.map(|entry| entry.kind);
        if kinds.any(|kind| kind != EntryKind::Directory) {
            return Some(GIT_ELSEWHERE);
        }
        // Whoever may write it may put hooks and a configuration in place.
        const OTHERS_WRITE: u32 = 0o022;
        let writers = |side: &Option<Entry>| side.as_ref().map_or(0, |e| e.mode & OTHERS_WRITE);
        let (before, after) = (writers(&change.before), writers(&change.after));
        return (after & !before != 0).then_some("a git directory that others could write to");
    }
    if let [name] = inside
        && let Some((_, kind)) = GIT_NEEDS.iter().find(|(known, _)| is(name, known))
    {
        let stays = change
            .after
            .as_ref()
            .is_some_and(|entry| entry.kind == *kind);
        return (!stays).then_some(GIT_BROKEN);
    }
    // Below modules/ and worktrees/ are git directories again, at any depth: a submodule's name
    // may hold slashes.
    let nested = is(inside[0], b"modules") || is(inside[0], b"worktrees");
    let searched = if nested { inside } else { &inside[..1] };
    IN_GIT
        .iter()
        .find(|(_, known)| searched.iter().any(|name| is(name, known)))
        .map(|(what, _)| *what)
}

fn is(name: &[u8], known: &[u8]) -> bool {
    name.eq_ignore_ascii_case(known)
}

#[cfg(test)]
mod tests {
    use super::super::change::ChangeKind;
    use super::super::entry::Stamp;
    use super::super::path::EntryPath;
    use super::*;

    fn why(path: &str, kind: EntryKind) -> Option<&'static str> {
        protected(&Change {
            path: EntryPath::new(path.as_bytes()).unwrap(),
            kind: ChangeKind::Added,
            before: None,
            after: Some(Entry {
                kind,
                mode: 0o644,
                size: 0,
                links: 1,
                target: None,
                stamp: Stamp::default(),
            }),
            conflict: false,
            unreadable: false,
            xattrs: Vec::new(),
        })
    }

    #[test]
    fn what_the_host_acts_on_by_itself_is_protected() {
        for path in [
            ".git/hooks",
            ".git/hooks/post-commit",
            ".GIT/Hooks/post-commit",
            ".git/config",
            ".git/config.worktree",
            ".git/commondir",
            ".git/rebase-merge/git-rebase-todo",
            "vendor/lib/.git/config",
            ".git/modules/a/b/hooks/pre-push",
            ".git/modules/a/config",
            ".git",
            "sub/.git",
            ".hg/hgrc",
            ".github/workflows/ci.yml",
            ".gitlab-ci.yml",
            "deep/.vscode/tasks.json",
            ".bashrc",
            ".mcp.json",
            "HEAD",
            "deep/repository.git/head",
            ".git/refs",
            ".config/systemd/user/x.service",
            "project.code-workspace",
        ] {
            assert!(why(path, EntryKind::File).is_some(), "{path}");
        }
    }

    #[test]
    fn a_repository_cannot_be_broken_or_opened_to_others() {
        let side = |kind, mode| {
            Some(Entry {
                kind,
                mode,
                size: 0,
                links: 1,
                target: None,
                stamp: Stamp::default(),
            })
        };
        let of = |path: &str, before, after| {
            protected(&Change {
                path: EntryPath::new(path.as_bytes()).unwrap(),
                kind: ChangeKind::Changed,
                before,
                after,
                conflict: false,
                unreadable: false,
                xattrs: Vec::new(),
            })
        };
        let (file, dir) = (EntryKind::File, EntryKind::Directory);
        for (name, kind) in [("HEAD", file), ("refs", dir), ("objects", dir)] {
            let path = format!(".git/{name}");
            assert_eq!(of(&path, side(kind, 0o755), side(kind, 0o755)), None);
            assert!(of(&path, side(kind, 0o755), None).is_some(), "{path}");
            let link = side(EntryKind::Symlink, 0o777);
            assert!(of(&path, side(kind, 0o755), link).is_some(), "{path}");
        }
        assert_eq!(of(".git", side(dir, 0o775), side(dir, 0o755)), None);
        assert!(of(".git", side(dir, 0o755), side(dir, 0o777)).is_some());
    }

    #[test]
    fn what_a_commit_writes_is_not() {
        for path in [
            ".git/HEAD",
            ".git/index",
            ".git/objects/ab/cdef",
            ".git/refs/heads/config",
            ".git/refs/heads/hooks",
            ".git/logs/HEAD",
            ".git/COMMIT_EDITMSG",
            ".gitignore",
            ".gitattributes",
            ".gitmodules",
            ".github/README.md",
            "src/config",
            "hooks/use.js",
            "Makefile",
        ] {
            assert_eq!(why(path, EntryKind::File), None, "{path}");
        }
        assert_eq!(why(".git", EntryKind::Directory), None);
        assert!(why(".git", EntryKind::Symlink).is_some());
    }
}
