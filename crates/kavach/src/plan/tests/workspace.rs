//! Workspaces, write-through directories and other roots.

use std::path::PathBuf;

use super::*;
use crate::config::{SandboxConfigBuilder, Upper};
use crate::host::{Directory, DirectoryKind, FileId, RootEntry, RootFacts};

fn directory(inode: u64, uid: u32) -> DirectoryKind {
    let id = FileId { device: 1, inode };
    DirectoryKind::Directory(Directory::new(id, uid, uid))
}

/// A host with these directories of an ordinary user.
fn host(facts: HostFacts) -> HostFacts {
    facts
        .with_directory("/srv/work", directory(2, 4242))
        .with_directory("/srv/out", directory(3, 4242))
        .with_directory("/srv/changes", directory(4, 4242))
        .with_directory("/srv/root", directory(5, 0))
}

fn asking(policy: &str) -> SandboxConfigBuilder {
    SandboxConfig::builder().policy(preset(policy))
}

fn working(policy: &str) -> SandboxConfigBuilder {
    asking(policy).workspace(Workspace::new("/srv/work"))
}

fn on_disk(policy: &str) -> SandboxConfigBuilder {
    let upper = Upper::Directory("/srv/changes".into());
    asking(policy).workspace(Workspace::new("/srv/work").upper(upper))
}

fn planned_of(builder: SandboxConfigBuilder, host: &HostFacts) -> Result<Plan> {
    plan(&builder.build().validate().unwrap(), host)
}

#[test]
fn the_steps_and_rows_of_a_workspace_and_a_write_through_directory() {
    let mut out = String::new();
    let users = [HostFacts::modern_root(), HostFacts::modern_user()];
    for facts in users {
        let facts = host(facts);
        let builders = [
            working("strict").write_through("/srv/out"),
            on_disk("strict"),
        ];
        for builder in builders {
            let plan = planned_of(builder, &facts).unwrap();
            assert_eq!(plan.identity.cwd, PathBuf::from("/srv/work"));
            let steps = plan.view.mounts.iter().filter(|step| {
                matches!(
                    step,
                    MountStep::Workspace { .. } | MountStep::WriteThrough { .. }
                )
            });
            out.push_str(&serde_json::to_string_pretty(&steps.collect::<Vec<_>>()).unwrap());
            out.push('\n');
            for control in [Control::FilesystemView, Control::Disk] {
                let row = plan.control(control).unwrap();
                out.push_str(&format!(
                    "{control}: {} | {}\n",
                    row.requested, row.mechanism
                ));
            }
        }
    }
    insta::assert_snapshot!(out);
}

#[test]
fn a_host_view_has_a_workspace_too_and_says_what_holds_its_size() {
    let plan = planned_of(working("minimal"), &host(HostFacts::modern_root())).unwrap();
    let disk = plan.control(Control::Disk).unwrap();
    assert_eq!(disk.expected, ControlState::Enforced);
    assert_eq!(disk.requested, "workspace 1024 MiB and 131072 inodes");
    let Some((lower, _)) = plan.workspace() else {
        panic!("no workspace");
    };
    assert_eq!(lower.owner, None, "the guest is the caller");
}

#[test]
fn a_workspace_changes_no_score() {
    let facts = host(HostFacts::modern_root());
    for policy in ["minimal", "basic", "strict"] {
        let plain = planned(policy, &facts);
        let with = planned_of(working(policy), &facts).unwrap();
        let points = |plan: &Plan| {
            let rows = plan
                .controls
                .iter()
                .filter(|row| row.control != Control::Disk);
            rows.map(|row| (row.control, row.expected, row.points_if_lost))
                .collect::<Vec<_>>()
        };
        assert_eq!(points(&plain), points(&with), "{policy}");
    }
}

#[test]
fn landlock_lets_files_be_made_and_in_host_paths_nothing_else() {
    use access::{MAKE_BLOCK, MAKE_CHAR, MAKE_FIFO, MAKE_REG, MAKE_SOCK, WRITE_FILE};
    let facts = host(HostFacts::modern_root());
    let plan = planned_of(working("strict").write_through("/srv/out"), &facts).unwrap();
    let rules = plan.landlock.unwrap().rules;
    let access = |path: &str| {
        let rule = rules.iter().find(|r| r.path == *path);
        rule.unwrap().access
    };
    for path in ["/srv/work", "/srv/out"] {
        assert_eq!(
            access(path) & (MAKE_REG | WRITE_FILE),
            MAKE_REG | WRITE_FILE
        );
        assert_eq!(access(path) & (MAKE_CHAR | MAKE_BLOCK), 0);
    }
    assert_eq!(access("/srv/out") & (MAKE_SOCK | MAKE_FIFO), 0);
}

#[test]
fn sockets_are_denied_where_the_host_is_written_to() {
    let facts = host(HostFacts::modern_root());
    let denied = |builder| {
        let plan = planned_of(builder, &facts).unwrap();
        plan.syscall_filter.unwrap().options.deny_unix_sockets
    };
    assert!(!denied(working("basic")));
    assert!(denied(on_disk("basic")));
    assert!(denied(asking("basic").write_through("/srv/out")));
}

/// The control or field, and the words of the error.
fn refused(builder: SandboxConfigBuilder, host: &HostFacts) -> String {
    let error = planned_of(builder, host).unwrap_err();
    format!("{error} | {}", error.hint().unwrap())
}

#[test]
fn what_a_host_lacks_for_a_workspace_is_named_with_the_way_round_it() {
    let kernel = |facts: HostFacts, release: &str| HostFacts {
        kernel_release: release.into(),
        ..host(facts)
    };
    let root = HostFacts::modern_root;
    let powerless = HostFacts {
        capabilities_effective: 0xa804_25fb,
        ..host(root())
    };
    let cases = [
        refused(working("basic"), &host(root().without_tmpfs_xattr())),
        refused(working("basic"), &kernel(root(), "5.15.0-1-amd64")),
        refused(
            working("basic"),
            &kernel(HostFacts::modern_user(), "5.10.0"),
        ),
        refused(working("basic"), &powerless),
        refused(asking("basic").write_through("/srv/out"), &powerless),
    ];
    insta::assert_snapshot!(cases.join("\n"));
    // What is not needed is not missed.
    let old = host(HostFacts::modern_user().without_tmpfs_xattr());
    planned_of(on_disk("basic"), &old).unwrap();
    planned_of(asking("basic").write_through("/srv/out"), &old).unwrap();
}

#[test]
fn what_is_at_a_path_decides() {
    let look = |kind| host(HostFacts::modern_root()).with_directory("/srv/work", kind);
    let mut busy = Directory::new(
        FileId {
            device: 1,
            inode: 2,
        },
        0,
        0,
    );
    busy.mounts_below = vec!["/srv/work/cache".into()];
    let cases = [
        look(DirectoryKind::Other),
        look(DirectoryKind::Link(Some("/data/work".into()))),
        look(DirectoryKind::Link(None)),
        look(DirectoryKind::Unreadable(13)),
        look(DirectoryKind::Directory(busy)),
        // By two names.
        look(directory(3, 0)),
        HostFacts::modern_root(),
    ];
    let words = cases.map(|facts| {
        let facts = facts.with_directory("/srv/out", directory(3, 0));
        refused(working("basic").write_through("/srv/out"), &facts)
    });
    insta::assert_snapshot!(words.join("\n"));
}

#[test]
fn noop_shows_nothing_of_the_kind() {
    for builder in [working("minimal"), asking("basic").rootfs("/srv/root")] {
        let builder = builder.backend(Backend::Noop);
        let error = planned_of(builder, &host(HostFacts::modern_root())).unwrap_err();
        assert_eq!(error.code(), "KV-UNSUPPORTED");
    }
}

fn image() -> RootFacts {
    let entry = |(inode, (name, kind)): (usize, (&str, PathKind))| {
        let entry = RootEntry {
            kind,
            id: FileId {
                device: 1,
                inode: inode as u64 + 10,
            },
            is_empty: name == "srv",
        };
        (name.into(), entry)
    };
    let entries = [
        ("bin", PathKind::Symlink("usr/bin".into())),
        ("dev", PathKind::Directory),
        ("etc", PathKind::Directory),
        ("init", PathKind::File),
        ("proc", PathKind::Directory),
        ("queue", PathKind::Special),
        ("srv", PathKind::Directory),
        ("tmp", PathKind::Directory),
        ("usr", PathKind::Directory),
        ("var", PathKind::Directory),
    ];
    RootFacts {
        entries: entries.into_iter().enumerate().map(entry).collect(),
        truncated: false,
        places: vec!["/etc/hosts".into(), "/var/tmp".into()],
    }
}

#[test]
fn the_steps_of_another_root() {
    let facts = HostFacts {
        root: Some(image()),
        ..host(HostFacts::modern_root())
    };
    let plan = planned_of(working("strict").rootfs("/srv/root"), &facts).unwrap();
    let of_proc = |step: &&MountStep| {
        let text = serde_json::to_string(step).unwrap();
        !text.contains("\"/proc") && !text.contains("\"/dev")
    };
    let steps: Vec<_> = plan.view.mounts.iter().filter(of_proc).collect();
    insta::assert_snapshot!(serde_json::to_string_pretty(&steps).unwrap());
    // Nothing of the host's own system.
    assert!(!plan.view.mounts.iter().any(|step| matches!(
        step,
        MountStep::Bind { source, .. } if source.starts_with("/usr") || source.starts_with("/etc")
    )));
}

#[test]
fn what_is_no_root_is_refused() {
    let truncated = RootFacts {
        truncated: true,
        ..image()
    };
    let empty = RootFacts {
        entries: Default::default(),
        ..image()
    };
    let words = [None, Some(truncated), Some(empty)].map(|root| {
        let facts = HostFacts {
            root,
            ..host(HostFacts::modern_root())
        };
        refused(asking("basic").rootfs("/srv/root"), &facts)
    });
    insta::assert_snapshot!(words.join("\n"));
}
