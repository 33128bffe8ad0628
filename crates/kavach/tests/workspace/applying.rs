//! How changes are applied: what is selected, who owns it, what stays.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use kavach::audit::Decision;
use kavach::workspace::{Applied, ApplyOptions, Change, Review};
use libtest_mimic::Trial;

use crate::common::{each, is_root, test_with};
use crate::listing::project;
use crate::overlay::{Kind, Overlay};
use crate::tree::Node;

pub(crate) fn trials() -> Vec<Trial> {
    [
        each("applying::types_change_both_ways", types),
        each("applying::only_what_is_selected", selection),
        each("applying::all_or_nothing_leaves_nothing", all_or_nothing),
        each("applying::what_was_listed_is_what_is_applied", stale),
        each("applying::a_review_sees_what_will_be_there", review),
        each(
            "applying::protected_files_are_applied_by_name_alone",
            protected,
        ),
        each("applying::owner_mode_and_time", owner),
        each("applying::setgid_directories_hand_their_group_on", setgid),
        each("applying::what_the_host_gave_a_file_stays", attributes),
        each(
            "applying::other_names_of_a_file_keep_their_content",
            hard_links,
        ),
        each("applying::one_at_a_time", busy),
        each(
            "applying::a_directory_that_nobody_may_write",
            closed_directory,
        ),
        // It takes root to mount something where this process sees it.
        vec![test_with(
            "applying::what_a_mount_hides_is_left",
            (!is_root()).then_some("root, to mount something on the workspace"),
            || mounts(Kind::Trusted),
        )],
        each("applying::after_the_guest_has_ended", after_the_end),
        vec![test_with(
            "applying::a_full_disk",
            (!is_root()).then_some("root, to mount a small disk"),
            full_disk,
        )],
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Each refusal, as `path code`.
pub(crate) fn refused(applied: &Applied) -> Vec<String> {
    let refused = applied.refused.iter();
    refused
        .map(|r| format!("{} {}", r.path, r.reason.code()))
        .collect()
}

fn applied(applied: &Applied) -> Vec<String> {
    applied.applied.iter().map(|a| a.path.to_string()).collect()
}

/// Nothing of kavach's own is left in the workspace.
pub(crate) fn assert_clean(overlay: &Overlay) {
    let left = overlay
        .host()
        .into_keys()
        .filter(|p| p.contains(".kavach-apply-"));
    assert_eq!(left.collect::<Vec<_>>(), [""; 0]);
}

fn types(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("
        rm file && mkdir -p file/a/b && echo x > file/a/b/c
        rm -r dir && ln -s other dir
        rm link && mkdir link && echo y > link/z
        rm other && mkdir other
    ");
    let applied = overlay.apply(ApplyOptions::new());
    assert_eq!(applied.refused, []);
    assert_eq!(overlay.host(), overlay.tree());
    let mut overlay = overlay.again(kind);
    overlay.sh("
        rm -r file && echo again > file
        rm dir && mkdir dir && echo x > dir/x
        rm -r link && ln -s file link
    ");
    let applied = overlay.apply(ApplyOptions::new().all_or_nothing(true));
    assert_eq!(applied.refused, []);
    assert_eq!(overlay.host(), overlay.tree());
    assert_clean(&overlay);
}

fn selection(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("
        mkdir -p new/a new/b && echo x > new/a/x && echo y > new/b/y
        echo more >> file && echo more >> other && rm dir/inner
    ");
    let options = ApplyOptions::new().only(["new/a/x", "./file/", "dir", "nothing/here"]);
    let done = overlay.apply(options.except(["dir/inner"]));
    assert_eq!(applied(&done), ["file", "new", "new/a", "new/a/x"]);
    assert_eq!((done.refused.len(), done.unselected), (0, 4));
    let unmatched: Vec<String> = done.unmatched.iter().map(ToString::to_string).collect();
    assert_eq!(unmatched, ["nothing/here"]);
    assert_eq!(
        overlay.listed(),
        [
            "deleted dir/inner",
            "added new/b",
            "added new/b/y",
            "changed other"
        ]
    );
    for wrong in ["/etc/passwd", "../x", ""] {
        let options = ApplyOptions::new().only([wrong]);
        let e = kavach::workspace::apply(&overlay.layers, &mut overlay.baseline, options);
        assert_eq!(e.unwrap_err().code(), "KV-INVALID-CONFIG", "{wrong:?}");
    }
    // A directory goes with what is in it or not at all.
    overlay.sh("rm -r dir");
    let done = overlay.apply(ApplyOptions::new().except(["dir/sub/deep"]));
    assert_eq!(refused(&done), ["dir not_empty", "dir/sub not_empty"]);
    assert!(overlay.lower.join("dir/sub/deep").exists());
}

fn all_or_nothing(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("
        echo more >> file && rm other && mkdir -p new/sub && echo x > new/sub/x
        rm -r dir && echo file > dir && ln -s new newlink
    ");
    overlay.sh("mkfifo pipe");
    let before = overlay.host();
    let all = || ApplyOptions::new().all_or_nothing(true);
    let done = overlay.apply(all());
    assert_eq!(refused(&done), ["pipe special"]);
    assert_eq!((done.applied.len(), done.held_back), (0, 10));
    assert_eq!(overlay.host(), before);
    // A review that says no after most was copied.
    overlay.sh("rm pipe");
    let review = Arc::new(Record::default());
    *review.refuse.lock().unwrap() = Some("other".into());
    let done = overlay.apply(all().review(review));
    assert_eq!(refused(&done), ["other declined"]);
    assert_eq!((done.applied.len(), done.held_back), (0, 9));
    assert_eq!(overlay.host(), before);
    let done = overlay.apply(all());
    assert!(done.is_complete() && done.refused.is_empty(), "{done:?}");
    assert_eq!(overlay.host(), overlay.tree());
}

fn stale(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay
        .sh("echo one >> file; echo one > new; rm other; mkdir d; ln -s file l; chmod 600 script");
    let listed = overlay.changes();
    overlay
        .sh("echo two >> new; echo back > other; rmdir d; ln -snf script l; rm script; : > late");
    let done = overlay.apply(ApplyOptions::new().changes(listed.clone()));
    assert_eq!(
        refused(&done),
        [
            "d stale",
            "l stale",
            "new stale",
            "other stale",
            "script stale"
        ]
    );
    assert_eq!(applied(&done), ["file"]);
    // Applied already: the host has another file now than the one that was listed.
    let done = overlay.apply(ApplyOptions::new().changes(listed).only(["file"]));
    assert_eq!(refused(&done), ["file conflict"]);
    let done = overlay.apply(ApplyOptions::new());
    assert_eq!(done.refused, []);
    assert_eq!(overlay.host(), overlay.tree());
}

/// Notes what it sees, and refuses one path.
#[derive(Default)]
struct Record {
    seen: Mutex<Vec<(String, Option<String>)>>,
    refuse: Mutex<Option<String>>,
}

impl Review for Record {
    fn review(&self, change: &Change, content: Option<&File>) -> Decision {
        let path = change.path.to_string();
        let text = content.map(|mut file| {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            text
        });
        self.seen.lock().unwrap().push((path.clone(), text));
        match &*self.refuse.lock().unwrap() {
            Some(refuse) if *refuse == path => Decision::Veto("not this".into()),
            _ => Decision::Allow,
        }
    }
}

/// A review with a bug.
struct Panics;

impl Review for Panics {
    fn review(&self, change: &Change, _: Option<&File>) -> Decision {
        assert!(change.path.to_string() != "file", "as it is meant to");
        Decision::Allow
    }
}

fn review(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("echo more >> file; ln -s file l; mkdir d; echo secret > d/x; rm other");
    let review = Arc::new(Record::default());
    *review.refuse.lock().unwrap() = Some("d/x".into());
    let done = overlay.apply(ApplyOptions::new().review(review.clone()));
    let mut seen = review.seen.lock().unwrap().clone();
    seen.sort();
    let of = |path: &str, text: Option<&str>| (path.to_owned(), text.map(str::to_owned));
    assert_eq!(
        seen,
        [
            of("d", None),
            of("d/x", Some("secret\n")),
            of("file", Some("one\nmore\n")),
            of("l", None),
            of("other", None),
        ]
    );
    assert_eq!(done.refused[0].to_string(), "d/x: declined: not this");
    assert_eq!(done.refused.len(), 1);
    overlay.sh("echo again >> file");
    let done = overlay.apply(ApplyOptions::new().review(Arc::new(Panics)));
    assert_eq!(refused(&done), ["file declined"]);
    assert_clean(&overlay);
}

fn protected(kind: Kind) {
    let mut overlay = Overlay::new(kind, |lower| {
        fs::create_dir_all(lower.join(".git/hooks")).unwrap();
        fs::write(lower.join(".git/config"), "[core]\n").unwrap();
        fs::write(lower.join(".git/hooks/pre-push"), "#!/bin/sh\n").unwrap();
    });
    overlay.sh("
        echo x > .git/HEAD && echo '[alias]' >> .git/config
        echo x > .git/hooks/post-commit && rm .git/hooks/pre-push
        mkdir -p sub .github/workflows && echo 'gitdir: ../evil' > sub/.git
        echo x > .github/workflows/ci.yml && echo x > .envrc
    ");
    let before = overlay.lower.clone();
    let done = overlay.apply(ApplyOptions::new());
    assert_eq!(
        refused(&done),
        [
            ".envrc protected",
            ".git/config protected",
            ".git/hooks/post-commit protected",
            ".git/hooks/pre-push protected",
            ".github/workflows protected",
            ".github/workflows/ci.yml protected",
            "sub/.git protected",
        ]
    );
    assert_eq!(applied(&done), [".git/HEAD", ".github", "sub"]);
    assert!(before.join(".git/hooks/pre-push").exists());
    let options = ApplyOptions::new().allow([".git/config", ".github"]);
    let done = overlay.apply(options);
    assert_eq!(
        applied(&done),
        [
            ".git/config",
            ".github/workflows",
            ".github/workflows/ci.yml"
        ]
    );
    // Not with the whole directory either.
    overlay.sh("rm -r .git");
    let done = overlay.apply(ApplyOptions::new());
    assert!(
        refused(&done).contains(&".git not_empty".to_owned()),
        "{done:?}"
    );
    assert!(before.join(".git/hooks/pre-push").exists());
}

fn owner(kind: Kind) {
    let mut overlay = Overlay::new(kind, |lower| {
        project(lower);
        if is_root() {
            // A workspace of somebody else's, with a file of a third.
            for name in ["", "file", "dir"] {
                std::os::unix::fs::chown(lower.join(name), Some(1234), Some(2345)).unwrap();
            }
            std::os::unix::fs::chown(lower.join("other"), Some(77), Some(88)).unwrap();
        }
    });
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    overlay.sh("
        rm -f file other; echo x > file; echo x > other; chmod 640 other
        mkdir -p new/sub; echo x > new/sub/x; chmod 777 new
        ln -s sub new/l; touch -d @1000000000 new/sub/x
    ");
    // Whatever the caller's umask is.
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let done = overlay.apply(ApplyOptions::new());
    rustix::process::umask(umask);
    assert_eq!(done.refused, []);
    let meta = |name: &str| overlay.lower.join(name).symlink_metadata().unwrap();
    let of = |name: &str| (meta(name).uid(), meta(name).gid());
    let me = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let (workspace, other) = if is_root() {
        ((1234, 2345), (77, 88))
    } else {
        (me, me)
    };
    for name in ["file", "new", "new/sub", "new/sub/x", "new/l"] {
        assert_eq!(of(name), workspace, "{name}");
    }
    assert_eq!(of("other"), other);
    let mode = |name: &str| meta(name).permissions().mode() & 0o7777;
    assert_eq!(
        (mode("new"), mode("new/sub"), mode("new/sub/x")),
        (0o777, 0o755, 0o644)
    );
    assert_eq!(mode("other"), 0o640);
    assert_eq!(meta("new/sub/x").modified().unwrap(), past);
}

fn setgid(kind: Kind) {
    // An overlay in a user namespace cannot copy what belongs to a group that is not mapped.
    let group = if kind == Kind::Trusted {
        2345
    } else {
        rustix::process::getegid().as_raw()
    };
    let mut overlay = Overlay::new(kind, |lower| {
        project(lower);
        std::os::unix::fs::chown(lower.join("dir"), None, Some(group)).unwrap();
        fs::set_permissions(lower.join("dir"), fs::Permissions::from_mode(0o2775)).unwrap();
    });
    overlay.sh("mkdir -p dir/new/sub; echo x > dir/new/x; mkdir plain");
    let done = overlay.apply(ApplyOptions::new().only(["dir/new", "plain"]));
    assert_eq!(done.refused, []);
    for (name, bits) in [
        ("dir/new", 0o2755),
        ("dir/new/sub", 0o2755),
        ("plain", 0o755),
    ] {
        let meta = fs::metadata(overlay.lower.join(name)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, bits, "{name}");
    }
    assert_eq!(
        fs::metadata(overlay.lower.join("dir/new/x")).unwrap().gid(),
        group
    );
}

fn attributes(kind: Kind) {
    let none = rustix::fs::XattrFlags::empty();
    let mut overlay = Overlay::new(kind, |lower| {
        project(lower);
        rustix::fs::setxattr(lower.join("file"), "user.host", b"kept", none).unwrap();
    });
    overlay.sh("echo more >> file");
    assert_eq!(overlay.apply(ApplyOptions::new()).refused, []);
    let mut value = vec![0; 16];
    let path = overlay.lower.join("file");
    let len = rustix::fs::getxattr(&path, "user.host", &mut *value).unwrap();
    assert_eq!(&value[..len], b"kept");
    assert_eq!(fs::read_to_string(path).unwrap(), "one\nmore\n");
}

fn hard_links(kind: Kind) {
    let mut overlay = Overlay::new(kind, |lower| {
        project(lower);
        let outside = lower.parent().unwrap().join("outside");
        fs::write(&outside, "shared\n").unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o600)).unwrap();
        for name in ["first", "second", "third"] {
            fs::hard_link(&outside, lower.join(name)).unwrap();
        }
    });
    let outside = overlay.lower.parent().unwrap().join("outside");
    overlay.sh("chmod 666 first; echo more >> second");
    assert_eq!(overlay.apply(ApplyOptions::new()).refused, []);
    assert_eq!(overlay.host(), overlay.tree());
    let unchanged = |links: u64| {
        let meta = fs::metadata(&outside).unwrap();
        assert_eq!(
            (meta.permissions().mode() & 0o777, meta.nlink()),
            (0o600, links)
        );
        assert_eq!(fs::read_to_string(&outside).unwrap(), "shared\n");
    };
    unchanged(2);
    // The names that are left are no conflict, although their file lost names since.
    overlay.sh("echo more >> third");
    assert_eq!(overlay.apply(ApplyOptions::new()).refused, []);
    unchanged(1);
}

fn busy(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("echo more >> file");
    let held = File::open(&overlay.lower).unwrap();
    held.lock().unwrap();
    let options = ApplyOptions::new();
    let e = kavach::workspace::apply(&overlay.layers, &mut overlay.baseline, options);
    assert_eq!(e.unwrap_err().code(), "KV-WORKSPACE-BUSY");
    drop(held);
    assert_eq!(overlay.apply(ApplyOptions::new()).refused, []);
}

fn closed_directory(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("mkdir -p new/sub; echo x > new/sub/x; chmod 555 new/sub; chmod 500 new dir");
    assert_eq!(overlay.apply(ApplyOptions::new()).refused, []);
    assert_eq!(overlay.host(), overlay.tree());
    // What may not be written stays so, and is named.
    let mut overlay = overlay.again(kind);
    overlay.sh("chmod 700 dir; rm dir/inner; chmod 500 dir");
    let done = overlay.apply(ApplyOptions::new());
    if is_root() {
        assert_eq!(done.refused, []);
    } else {
        assert_eq!(
            done.refused[0].to_string(),
            "dir/inner: cannot remove it: Permission denied (os error 13)"
        );
    }
}

fn mounts(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    let run = |program: &str, args: &[&str]| {
        let mut command = std::process::Command::new(program);
        assert!(command.args(args).status().unwrap().success(), "{program}");
    };
    let at = overlay.lower.join("dir");
    run("mount", &["-t", "tmpfs", "tmpfs", at.to_str().unwrap()]);
    fs::write(at.join("inner"), "of the mount").unwrap();
    overlay.sh("echo more >> dir/inner; rm dir/sub/deep; echo more >> file");
    let done = overlay.apply(ApplyOptions::new());
    let there = fs::read_to_string(at.join("inner"));
    run("umount", &[at.to_str().unwrap()]);
    assert_eq!(there.unwrap(), "of the mount");
    assert_eq!(applied(&done), ["file"]);
    assert!(
        refused(&done)
            .iter()
            .all(|r| r.ends_with("other_filesystem")),
        "{done:?}"
    );
    assert_eq!(done.refused.len(), 3);
}

fn after_the_end(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("echo more >> file");
    overlay.end();
    assert_eq!(overlay.listed(), ["changed file"]);
    assert_eq!(overlay.apply(ApplyOptions::new()).refused, []);
    let file = overlay.host().remove("file").unwrap();
    let content = "one\nmore\n".into();
    assert_eq!(
        file,
        Node::File {
            mode: 0o644,
            content
        }
    );
}

/// Unmounts it however the test ends.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(&self.0)
            .status();
    }
}

fn full_disk() {
    let mut mounted = None;
    let mut overlay = Overlay::new(Kind::User, |lower| {
        let mut command = std::process::Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
        assert!(command.arg(lower).status().unwrap().success());
        mounted = Some(Mounted(lower.to_path_buf()));
        project(lower);
    });
    overlay.sh("echo more >> other; seq 300000 > file; ln -s file z; rm script");
    let before = overlay.host();
    let done = overlay.apply(ApplyOptions::new().all_or_nothing(true));
    let full = "file: cannot copy its content: No space left on device (os error 28)";
    assert_eq!(done.refused.len(), 1, "{done:?}");
    assert_eq!(done.refused[0].to_string(), full);
    assert_eq!((done.applied.len(), done.held_back), (0, 3));
    assert_eq!(overlay.host(), before);
    let done = overlay.apply(ApplyOptions::new());
    assert_eq!(done.refused.len(), 1, "{done:?}");
    assert_eq!(done.refused[0].to_string(), full);
    assert_eq!(applied(&done), ["other", "script", "z"]);
    assert_eq!(overlay.host()["file"], before["file"]);
    assert_clean(&overlay);
    drop(mounted);
}
