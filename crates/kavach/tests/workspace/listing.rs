//! What is listed as a change, and what is not.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use kavach::KavachError;
use kavach::workspace::{Baseline, EntryPath, Limits, changes};
use libtest_mimic::Trial;

use crate::applying::refused;
use crate::common::{each, is_root};
use crate::overlay::{Kind, Overlay};

pub(crate) fn trials() -> Vec<Trial> {
    [
        each("listing::each_kind_of_change", each_kind_of_change),
        each("listing::what_is_the_same_is_no_change", the_same),
        each(
            "listing::a_directory_in_the_place_of_another",
            replaced_directory,
        ),
        each("listing::odd_names", odd_names),
        each("listing::attributes_are_named", attributes),
        each("listing::names_of_one_file_are_counted", hard_links),
        each("listing::deeper_than_a_path_can_say", deep),
        each("listing::limits_are_errors", limits),
        each("listing::what_cannot_be_read_is_said", unreadable),
        each("listing::a_terabyte_of_nothing", sparse),
        each("listing::what_the_host_changed_is_a_conflict", conflict),
        each(
            "listing::what_the_host_changed_between_two_sandboxes_too",
            conflict_with_kept_upper,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A small project.
pub(crate) fn project(lower: &Path) {
    fs::write(lower.join("file"), "one\n").unwrap();
    fs::write(lower.join("other"), "two\n").unwrap();
    fs::write(lower.join("script"), "#!/bin/sh\n").unwrap();
    fs::create_dir_all(lower.join("dir/sub")).unwrap();
    fs::write(lower.join("dir/inner"), "three\n").unwrap();
    fs::write(lower.join("dir/sub/deep"), "four\n").unwrap();
    symlink("file", lower.join("link")).unwrap();
    // Whatever the umask of whoever runs the tests.
    let set = |name: &str, mode| {
        fs::set_permissions(lower.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    for name in ["file", "other", "script", "dir/inner", "dir/sub/deep"] {
        set(name, 0o644);
    }
    for name in ["dir", "dir/sub"] {
        set(name, 0o755);
    }
}

fn each_kind_of_change(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("
        echo more >> file
        chmod 755 script
        rm other
        mkdir -p new/empty && echo x > new/file
        ln -snf dir/inner link
        ln -s file new/link
        mkfifo pipe
        rm dir/inner && mkdir dir/inner && echo y > dir/inner/z
        rm -r dir/sub && echo now a file > dir/sub
    ");
    assert_eq!(
        overlay.listed(),
        [
            "type_changed dir/inner",
            "added dir/inner/z",
            "type_changed dir/sub",
            "deleted dir/sub/deep",
            "changed file",
            "symlink link",
            "added new",
            "added new/empty",
            "added new/file",
            "symlink new/link",
            "deleted other",
            "special pipe",
            "mode_changed script",
        ]
    );
    let changes = overlay.changes();
    let get = |path: &str| {
        changes
            .get(&EntryPath::new(path.as_bytes()).unwrap())
            .unwrap()
    };
    let file = get("file");
    let sizes = [&file.before, &file.after].map(|side| side.as_ref().unwrap().size);
    assert_eq!(sizes, [4, 9]);
    let script = get("script");
    let modes = [&script.before, &script.after].map(|side| side.as_ref().unwrap().mode);
    assert_eq!(modes, [0o644, 0o755]);
    assert_eq!(get("other").after, None);
    let link = get("link").after.clone().unwrap();
    assert_eq!(link.target.as_deref(), Some(&b"dir/inner"[..]));
}

fn the_same(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("
        touch file
        cp other o && cat o > other && rm o
        chmod 600 script && chmod 644 script
        echo x > dir/new && rm dir/new
        rm link && ln -s file link
        mkdir gone && echo x > gone/x && rm -r gone
        mv dir/inner x && mv x dir/inner
    ");
    assert_eq!(overlay.listed(), [""; 0]);
}

fn replaced_directory(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    // The new one hides all of the old, also in directories below that have an old name.
    overlay.sh("rm -r dir; mkdir -p dir/sub; echo x > dir/sub/new");
    assert_eq!(
        overlay.listed(),
        [
            "deleted dir/inner",
            "deleted dir/sub/deep",
            "added dir/sub/new"
        ]
    );
}

fn odd_names(kind: Kind) {
    let mut overlay = Overlay::new(kind, |lower| {
        fs::write(lower.join("a\nb"), "x").unwrap();
    });
    overlay.sh(r#"
        rm "$(printf 'a\nb')"
        : > "$(printf '\377\376')"
        : > "$(printf 'e\033[2Jf')"
        : > 'back\slash'
        : > 'größe'
        : > '-rf'
        : > ' '
    "#);
    let mut listed = overlay.listed();
    listed.sort();
    assert_eq!(
        listed,
        [
            "added  ",
            "added -rf",
            "added \\xff\\xfe",
            "added back\\\\slash",
            "added e\\x1b[2Jf",
            "added größe",
            "deleted a\\x0ab",
        ]
    );
}

fn attributes(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("echo x > new; echo y >> file");
    let upper = format!("/proc/self/fd/{}/new", {
        use std::os::fd::AsRawFd as _;
        overlay.layers.upper.as_raw_fd()
    });
    rustix::fs::setxattr(&upper, "user.note", b"x", rustix::fs::XattrFlags::empty()).unwrap();
    let mut expected = vec!["user.note".to_owned()];
    if is_root() {
        // What makes a program root for whoever starts it.
        let capability = [
            1, 0, 0, 2, 255, 255, 255, 255, 0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0,
        ];
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&upper, "security.capability", &capability, flags).unwrap();
        expected.insert(0, "security.capability".into());
    }
    let changes = overlay.changes();
    let of = |path: &[u8]| {
        let mut names = changes
            .get(&EntryPath::new(path).unwrap())
            .unwrap()
            .xattrs
            .clone();
        names.sort();
        names
    };
    assert_eq!(of(b"new"), expected);
    // The marks of the overlay itself are none of the guest's.
    assert_eq!(of(b"file"), [""; 0]);
    let applied = overlay.apply(kavach::ApplyOptions::new());
    assert_eq!(applied.refused, []);
    let mut list = vec![0; 4096];
    let len = rustix::fs::listxattr(overlay.lower.join("new"), &mut *list).unwrap();
    let names = String::from_utf8_lossy(&list[..len]).into_owned();
    assert!(
        !names.contains("user.") && !names.contains("capability"),
        "{names}"
    );
}

fn hard_links(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("echo x > a; ln a b; ln file c");
    let changes = overlay.changes();
    let links = |path: &[u8]| {
        let change = changes.get(&EntryPath::new(path).unwrap()).unwrap();
        change.after.as_ref().unwrap().links
    };
    assert_eq!((links(b"a"), links(b"b"), links(b"c")), (2, 2, 2));
    let applied = overlay.apply(kavach::ApplyOptions::new());
    assert_eq!(applied.refused, []);
    assert_eq!(overlay.host(), overlay.tree());
}

fn deep(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    // 600 × 51 bytes is seven times PATH_MAX.
    overlay.deep(600, 50);
    assert_eq!(overlay.changes().len(), 601);
    let applied = overlay.apply(kavach::ApplyOptions::new());
    assert_eq!((applied.applied.len(), applied.refused.len()), (601, 0));
    assert_eq!(overlay.listed(), [""; 0]);
    // And gone again, from the bottom.
    let mut overlay = overlay.again(kind);
    overlay.sh("rm -r dddd*");
    let applied = overlay.apply(kavach::ApplyOptions::new());
    assert_eq!((applied.applied.len(), applied.refused.len()), (601, 0));
    assert_eq!(overlay.host(), overlay.tree());
}

fn limits(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.deep(1, 10);
    overlay.sh("mkdir many; for i in $(seq 300); do : > many/$i; done");
    let mut with = Limits::default();
    let mut fails = |set: fn(&mut Limits)| {
        set(&mut with);
        match changes(&overlay.layers, &overlay.baseline, with) {
            Err(KavachError::WorkspaceLimit { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fails(|l| l.listing_bytes = 1000), "bytes of names");
    assert_eq!(fails(|l| l.entries = 100), "changed entries");
    assert_eq!(
        fails(|l| {
            *l = Limits::default();
            l.depth = 1;
        }),
        "levels of directories"
    );
    overlay.deep(1100, 3);
    let done = changes(&overlay.layers, &overlay.baseline, Limits::default());
    assert_eq!(done.unwrap_err().code(), "KV-WORKSPACE-LIMIT");
}

fn unreadable(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("
        echo x > secret && chmod 000 secret
        mkdir -p closed && echo x > closed/x && chmod 000 closed
        chmod 000 dir
    ");
    let changes = overlay.changes();
    let unreadable: Vec<String> = changes
        .iter()
        .filter(|c| c.unreadable)
        .map(|c| format!("{} {}", c.kind, c.path))
        .collect();
    let applied = overlay.apply(kavach::ApplyOptions::new());
    let refused = refused(&applied);
    if is_root() {
        assert_eq!(unreadable, [""; 0]);
        assert_eq!(refused, [""; 0]);
        let mode = |name: &str| {
            let meta = fs::metadata(overlay.lower.join(name)).unwrap();
            meta.permissions().mode() & 0o7777
        };
        assert_eq!((mode("secret"), mode("closed"), mode("dir")), (0, 0, 0));
        assert_eq!(
            fs::read_to_string(overlay.lower.join("closed/x")).unwrap(),
            "x\n"
        );
    } else {
        assert_eq!(
            unreadable,
            ["added closed", "mode_changed dir", "added secret"]
        );
        assert_eq!(
            refused,
            ["closed unreadable", "dir unreadable", "secret unreadable"]
        );
    }
}

fn sparse(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("truncate -s 1T big; truncate -s 1G small; echo end >> small");
    let applied = overlay.apply(kavach::ApplyOptions::new());
    let refused: Vec<String> = applied.refused.iter().map(ToString::to_string).collect();
    assert_eq!(refused, ["big: longer than 8589934592 bytes"]);
    use std::os::unix::fs::MetadataExt as _;
    let small = fs::metadata(overlay.lower.join("small")).unwrap();
    assert_eq!(small.len(), (1 << 30) + 4);
    assert!(small.blocks() * 512 < 1 << 20, "{} blocks", small.blocks());
    let options = kavach::ApplyOptions::new().max_file_bytes(1 << 41);
    assert_eq!(overlay.apply(options).refused, []);
    assert_eq!(overlay.listed(), [""; 0]);
}

fn conflict(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("echo guest > file; echo guest > new; rm other; rm -r dir; chmod 600 script");
    tick(&overlay.lower);
    for name in ["file", "new", "other", "dir/late"] {
        fs::write(overlay.lower.join(name), "host").unwrap();
    }
    let changes = overlay.changes();
    let conflicts = changes.iter().filter(|c| c.conflict);
    let conflicts: Vec<String> = conflicts
        .map(|c| format!("{} {}", c.kind, c.path))
        .collect();
    assert_eq!(
        conflicts,
        [
            "deleted dir/late",
            "changed file",
            "changed new",
            "deleted other"
        ]
    );
    let applied = overlay.apply(kavach::ApplyOptions::new());
    let refused = refused(&applied);
    assert_eq!(
        refused,
        [
            "dir not_empty",
            "dir/late conflict",
            "file conflict",
            "new conflict",
            "other conflict",
        ]
    );
    assert_eq!(applied.conflicts().count(), 4);
    for name in ["file", "new", "other", "dir/late"] {
        assert_eq!(
            fs::read_to_string(overlay.lower.join(name)).unwrap(),
            "host"
        );
    }
    let done = overlay.apply(kavach::ApplyOptions::new().overwrite(["file", "other"]));
    assert_eq!(done.conflicts().count(), 2);
    assert_eq!(
        fs::read_to_string(overlay.lower.join("file")).unwrap(),
        "guest\n"
    );
    assert!(!overlay.lower.join("other").exists());
    // The rest was applied: what only the guest changed.
    assert!(!overlay.lower.join("dir/inner").exists());
    let script = fs::metadata(overlay.lower.join("script")).unwrap();
    assert_eq!(script.permissions().mode() & 0o777, 0o600);
}

/// Waits until the kernel's clock for files has moved on.
fn tick(lower: &Path) {
    let clock = lower.parent().unwrap().join("clock");
    let now = || {
        fs::write(&clock, "x").unwrap();
        fs::metadata(&clock).unwrap().modified().unwrap()
    };
    let since = now();
    while now().duration_since(since).unwrap() < Duration::from_millis(50) {}
}

/// The upper directory of an earlier sandbox, in one that begins later.
fn conflict_with_kept_upper(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("echo guest >> file; rm other; chmod 600 script");
    tick(&overlay.lower);
    for name in ["file", "other"] {
        fs::write(overlay.lower.join(name), "host").unwrap();
    }
    overlay.baseline = Baseline::at(SystemTime::now() + Duration::from_secs(10));
    let applied = overlay.apply(kavach::ApplyOptions::new());
    assert_eq!(refused(&applied), ["file conflict", "other conflict"]);
    assert_eq!(applied.applied.len(), 1);
}
