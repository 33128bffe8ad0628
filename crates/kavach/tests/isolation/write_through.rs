//! A directory that the guest writes to on the host: what it makes there belongs to the
//! directory's owner.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use kavach::Control;

use crate::harness::{Setting, Suite, Who, program};
use crate::project::Project;
use crate::world::{ISOLATING, World, act, config, refusal};

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("write_through");
    suite.each("writes_are_on_the_host", &ISOLATING, writes);
    suite.each_needing(
        "git_and_gcc_work_in_it",
        &ISOLATING,
        |_| program("/usr/bin/git"),
        programs,
    );
    suite.each(
        "several_at_once_and_one_below_a_read_path",
        &ISOLATING,
        several,
    );
    suite.each("the_report_names_it", &ISOLATING, report);
    suite.each("a_host_view_has_none", &["minimal"], |s| {
        let project = Project::new();
        let error = refusal(config(s.policy).write_through(&project.0));
        assert_eq!(error.code(), "KV-INVALID-CONFIG");
    });
    suite.subject_for("write_through", &[Who::Root]);
    suite.each("what_is_made_belongs_to_the_owner", &ISOLATING, owner);
    suite.each(
        "mounts_below_come_along_without_their_powers",
        &ISOLATING,
        mounts,
    );
}

pub(crate) fn world(s: Setting, project: &Project) -> World {
    match s.policy {
        "noop" => World::of(s.policy),
        policy => World::new(config(policy).write_through(&project.0)),
    }
}

fn writes(s: Setting) {
    let project = Project::new();
    let world = world(s, &project);
    let script = format!(
        "cd {}; cat file; echo changed > file; mkdir dir; echo new > dir/new; ln -s new dir/link; \
         mv sub/deep moved; rm -r sub; chmod 640 file",
        project.0.display()
    );
    assert_eq!(world.sh(&script), "below");
    assert_eq!(project.read("file"), "changed\n");
    assert_eq!(project.read("dir/link"), "new\n");
    assert_eq!(project.read("moved/file"), "deep below");
    assert!(!project.path("sub").exists());
    let file = fs::metadata(project.path("file")).unwrap();
    assert_eq!(file.permissions().mode() & 0o7777, 0o640);
    let me = rustix::process::geteuid().as_raw();
    for made in ["file", "dir", "dir/new", "moved/file"] {
        assert_eq!(
            fs::metadata(project.path(made)).unwrap().uid(),
            me,
            "{made}"
        );
    }
}

fn programs(s: Setting) {
    let project = Project::new();
    let script = format!(
        "set -e; export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a \
         GIT_COMMITTER_EMAIL=a@b; cd {}; git init -q .; git add .; git commit -q -m first; \
         git gc -q; printf 'int main(void) {{ return 0; }}' > a.c; gcc -o a a.c; ./a; \
         git log --format=%s",
        project.0.display()
    );
    assert_eq!(world(s, &project).sh(&script), "first");
    project.on_the_host("git -c safe.directory='*' fsck --strict && ./a");
}

fn several(s: Setting) {
    let project = Project::new();
    project.write("other/file", "other");
    let config = config(s.policy)
        .read(&project.0)
        .write_through(project.path("sub"))
        .write_through(project.path("other"));
    let script = format!(
        "cd {}; echo x > sub/new; echo y > other/new; (echo z > file) 2>/dev/null || cat file",
        project.0.display()
    );
    assert_eq!(World::new(config).sh(&script), "below");
    assert_eq!(
        project.read("sub/new") + &project.read("other/new"),
        "x\ny\n"
    );
}

fn report(s: Setting) {
    let project = Project::new();
    let world = world(s, &project);
    let report = world.sandbox.report();
    let view = report.get(Control::FilesystemView).unwrap();
    let path = project.0.display();
    assert_eq!(view.requested, format!("private; write-through {path}"));
    let seen = format!("write-through {path} is ");
    assert!(view.evidence.contains(&seen), "{}", view.evidence);
    let disk = report.get(Control::Disk).unwrap();
    let none = format!("no quota for write-through {path}");
    assert!(disk.requested.contains(&none), "{}", disk.requested);
}

fn owner(s: Setting) {
    for owner in [0, 1000, 4242] {
        let project = Project::new();
        project.on_the_host(&format!("chown -R {owner}:{owner} ."));
        let script = format!(
            "cd {}; stat -c %u:%g . file; echo x >> file; mkdir dir; echo x > dir/new; ln -s x link",
            project.0.display()
        );
        assert_eq!(world(s, &project).sh(&script), "1000:1000\n1000:1000");
        for made in ["file", "dir", "dir/new", "link"] {
            let meta = fs::symlink_metadata(project.path(made)).unwrap();
            assert_eq!(
                (meta.uid(), meta.gid()),
                (owner, owner),
                "{made} of {owner}"
            );
        }
    }
}

fn mounts(s: Setting) {
    let project = Project::new();
    project.on_the_host(
        "mkdir other; mount --bind other sub/deep; mknod sub/deep/null c 1 3; \
         chmod 666 sub/deep/null; mkdir -m 777 sub/deep/dir",
    );
    let world = world(s, &project);
    let at = project.name("sub/deep");
    let said = world.said(act("shared", &["use_device", &format!("{at}/null")]));
    let options = world.sh(&format!(
        "grep ' {at} ' /proc/self/mountinfo | cut -d' ' -f6"
    ));
    let written = world.run(format!("touch {at}/dir/made")).success();
    drop(world);
    let made = project.path("sub/deep/dir/made").exists();
    project.on_the_host("umount sub/deep");
    assert_eq!((said.as_str(), written, made), ("errno EACCES", true, true));
    assert!(options.starts_with("rw,nosuid,nodev"), "{options}");
}
