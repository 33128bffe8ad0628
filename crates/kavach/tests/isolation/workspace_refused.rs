//! What can be no workspace is refused before anything runs, with the field and the way round.

use std::fs;

use kavach::config::Upper;
use kavach::{SandboxPolicy, Workspace};

use crate::harness::{Setting, Suite, Who};
use crate::project::{Kept, Project};
use crate::world::{ISOLATING, builder, config, refusal};

pub(crate) fn add(suite: &mut Suite) {
    let disk = |_: Who| Kept::Disk.lacks();
    suite.subject("workspace_refused");
    suite.each("what_is_no_plain_directory", &ISOLATING, wrong);
    suite.each("what_lies_in_one_another", &ISOLATING, nested);
    suite.each(
        "an_upper_directory_without_a_filter",
        &["basic"],
        unfiltered,
    );
    suite.each("under_noop", &["noop"], |s| {
        let project = Project::new();
        let error = refusal(project.config(s.policy, Kept::Memory));
        assert_eq!(error.code(), "KV-UNSUPPORTED");
    });
    let old = |_: Who| {
        let new = Kept::Memory.lacks().is_none();
        new.then(|| "only before Linux 6.6: this tmpfs keeps user attributes".to_owned())
    };
    suite.each_needing("memory_where_tmpfs_keeps_no_marks", &["basic"], old, |s| {
        let project = Project::new();
        let error = refusal(project.config(s.policy, Kept::Memory));
        assert_eq!(error.code(), "KV-CONTROL-UNAVAILABLE");
        assert!(error.to_string().contains("Linux 6.6"), "{error}");
    });
    suite.subject_for("workspace_refused", &[Who::Root]);
    suite.each_needing("what_has_mounts_below", &ISOLATING, disk, mounts);
}

fn wrong(s: Setting) {
    let project = Project::new();
    project.on_the_host("ln -s sub link; mkfifo pipe");
    let cases = [
        ("link", "KV-INVALID-CONFIG"),
        ("link/deep", "KV-INVALID-CONFIG"),
        ("file", "KV-INVALID-CONFIG"),
        ("pipe", "KV-INVALID-CONFIG"),
        ("missing", "KV-PATH-MISSING"),
        ("sub/../sub", "KV-INVALID-CONFIG"),
    ];
    for (below, code) in cases {
        let path = project.path(below);
        let directory = || config(s.policy).workspace(Workspace::new(&path));
        for config in [directory(), config(s.policy).write_through(&path)] {
            let error = refusal(config);
            assert_eq!(error.code(), code, "{below}: {error}");
        }
    }
    let error = refusal(config(s.policy).workspace(Workspace::new(project.path("link"))));
    assert_eq!(
        error.hint().unwrap(),
        format!("name {:?}", project.path("sub"))
    );
    for path in [
        "/",
        "/proc",
        "/proc/self",
        "/dev/shm",
        "/sys/fs",
        "/etc",
        "/tmp",
        "/usr",
        "/home",
    ] {
        let error = refusal(config(s.policy).workspace(Workspace::new(path)));
        assert_eq!(error.code(), "KV-INVALID-CONFIG", "{path}: {error}");
    }
}

fn nested(s: Setting) {
    let project = Project::new();
    let (all, part) = (&project.0, project.path("sub"));
    let cases = [
        config(s.policy)
            .workspace(Workspace::new(all))
            .write_through(&part),
        config(s.policy)
            .workspace(Workspace::new(&part))
            .write_through(all),
        config(s.policy).workspace(Workspace::new(all)).read(&part),
        config(s.policy).write_through(all).write_through(&part),
        config(s.policy).write_through(all).read(&part),
        config(s.policy).workspace(Workspace::new(all).upper(Upper::Directory(part.clone()))),
        config(s.policy).workspace(Workspace::new(&part).upper(Upper::Directory(all.clone()))),
    ];
    for case in cases {
        let error = refusal(case);
        assert_eq!(error.code(), "KV-INVALID-CONFIG", "{error}");
        assert!(error.to_string().contains("in one another"), "{error}");
    }
    let error = refusal(config(s.policy).write_through(all).write_through(all));
    assert!(error.to_string().contains("is named twice"), "{error}");
}

/// What is below a mount point would come to light, and what is mounted on it would be missing.
fn mounts(s: Setting) {
    let project = Project::new();
    project.on_the_host("mount -t tmpfs tmpfs sub/deep");
    let error = refusal(project.config(s.policy, Kept::Disk));
    project.on_the_host("umount sub/deep");
    assert_eq!(error.code(), "KV-INVALID-CONFIG");
    assert!(error.to_string().contains("is mounted below"), "{error}");
    project.workspace(s.policy, Kept::Disk);
}

fn unfiltered(_: Setting) {
    let project = Project::new();
    project.on_the_host("mkdir work changes");
    let mut policy = SandboxPolicy::basic();
    policy.syscall_filter.profile = None;
    let upper = Upper::Directory(project.path("changes"));
    let workspace = Workspace::new(project.path("work")).upper(upper);
    let config = builder().policy(policy.clone());
    let error = refusal(config.workspace(workspace));
    assert!(error.to_string().contains("system call filter"), "{error}");
    assert_eq!(fs::read_dir(project.path("changes")).unwrap().count(), 0);
    let config = builder().policy(policy).write_through(project.path("work"));
    let error = refusal(config);
    assert!(error.to_string().contains("system call filter"), "{error}");
}
