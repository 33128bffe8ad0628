//! What a guest plants to reach the host: each kind is refused by name, the rest is applied, and
//! nothing outside the workspace changes.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use kavach::ApplyOptions;
use kavach::workspace::{Limits, changes};
use libtest_mimic::Trial;

use crate::applying::{assert_clean, refused};
use crate::common::{each, is_root, test_with};
use crate::listing::project;
use crate::overlay::{Kind, Overlay};
use crate::tree::Node;

pub(crate) fn trials() -> Vec<Trial> {
    [
        each("hostile::each_planted_thing_is_named", planted),
        vec![test_with(
            "hostile::devices",
            (!is_root()).then_some("root, to make a device"),
            devices,
        )],
        each("hostile::links_that_lead_out", links),
        each("hostile::a_directory_that_became_a_link", through_link),
        each("hostile::swapped_between_listing_and_applying", swapped),
        each("hostile::swapped_while_it_is_read", races),
        each("hostile::marks_of_other_mounts", marks),
        each(
            "hostile::deletions_marked_by_attributes",
            attribute_whiteouts,
        ),
        each("hostile::names_of_temporary_files", reserved),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A directory beside the workspace, which nobody may touch.
fn with_outside(lower: &Path) {
    project(lower);
    let outside = outside(lower);
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
}

fn outside(lower: &Path) -> PathBuf {
    lower.parent().unwrap().join("outside")
}

fn assert_untouched(lower: &Path) {
    let names = fs::read_dir(outside(lower)).unwrap();
    let names: Vec<_> = names.map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["secret"]);
    let secret = fs::read_to_string(outside(lower).join("secret")).unwrap();
    assert_eq!(secret, "secret");
}

fn planted(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("
        cp /bin/true suid && chmod 4755 suid
        cp /bin/true sgid && chmod 2755 sgid
        echo x > sticky && chmod 1644 sticky
        chmod 4755 script
        mkdir shared && chmod 2777 shared && echo x > shared/x
        mkfifo pipe && rm file && mkfifo file
        ln -s /etc/passwd absolute
        ln -s ../../etc/passwd dotdot
        mkdir -p a/b && ln -s ../../../etc a/b/up
        echo good > good
    ");
    overlay.socket("socket");
    let done = overlay.apply(ApplyOptions::new());
    assert_eq!(
        refused(&done),
        [
            "a/b/up escaping_link",
            "absolute absolute_link",
            "dotdot escaping_link",
            "file special",
            "pipe special",
            "script special_bits",
            "sgid special_bits",
            "shared special_bits",
            "shared/x no_directory",
            "socket special",
            "sticky special_bits",
            "suid special_bits",
        ]
    );
    let host = overlay.host();
    assert_eq!(
        host["good"],
        Node::File {
            mode: 0o644,
            content: "good\n".into()
        }
    );
    assert_eq!(
        host["file"],
        Node::File {
            mode: 0o644,
            content: "one\n".into()
        }
    );
    let bits = host.values().any(|node| match node {
        Node::File { mode, .. } | Node::Directory { mode } => mode & 0o7000 != 0,
        Node::Link(_) => false,
        Node::Other => true,
    });
    assert!(!bits, "{host:?}");
    assert_clean(&overlay);
}

fn devices() {
    let mut overlay = Overlay::new(Kind::Trusted, project);
    overlay.sh("mknod null c 1 3; mknod disk b 7 0");
    let done = overlay.apply(ApplyOptions::new());
    let refused: Vec<String> = done.refused.iter().map(ToString::to_string).collect();
    assert_eq!(
        refused,
        ["disk: a block device", "null: a character device"]
    );
}

fn links(kind: Kind) {
    let mut overlay = Overlay::new(kind, |lower| {
        with_outside(lower);
        // The host's own way out.
        symlink(outside(lower), lower.join("door")).unwrap();
        symlink("../../outside", lower.join("dir/door")).unwrap();
        symlink("sub", lower.join("dir/inside")).unwrap();
    });
    overlay.sh("
        ln -s door/secret one
        ln -s dir/door/secret two
        ln -s dir/../../outside three
        ln -s sub/../inner dir/four
        ln -s . here; ln -s here/../.. five
        mkdir -p x/y; ln -s ../../../outside x/y/six
        ln -s / seven; ln -s /proc/self/root/etc eight
        ln -s ../dir/inside/deep x/good; ln -s nowhere dangling; ln -s circle circle
        ln -s ../.. x/y/top; ln -s .. dir/sub/parent
    ");
    let done = overlay.apply(ApplyOptions::new());
    assert_eq!(
        refused(&done),
        [
            "dir/four escaping_link",
            "eight absolute_link",
            "five escaping_link",
            "one escaping_link",
            "seven absolute_link",
            "three escaping_link",
            "two escaping_link",
            "x/y/six escaping_link",
        ]
    );
    let host = overlay.host();
    for name in [
        "here",
        "x/good",
        "dangling",
        "circle",
        "x/y/top",
        "dir/sub/parent",
    ] {
        assert!(matches!(host[name], Node::Link(_)), "{name}");
    }
    assert_untouched(&overlay.lower);
}

/// The host has a link where the guest has a directory, at each moment that this can come.
fn through_link(kind: Kind) {
    // Before the sandbox, in the guest's own view: the link is replaced, and not followed.
    let mut overlay = Overlay::new(kind, |lower| {
        with_outside(lower);
        symlink("../outside", lower.join("out")).unwrap();
    });
    overlay.sh("rm out; mkdir out; echo x > out/new");
    assert_eq!(overlay.apply(ApplyOptions::new()).refused, []);
    assert_untouched(&overlay.lower);
    // While the guest worked, and after it was listed.
    let swap = |overlay: &Overlay| {
        fs::remove_dir_all(overlay.lower.join("dir")).unwrap();
        symlink("../outside", overlay.lower.join("dir")).unwrap();
    };
    let guest = "echo x > dir/new; echo more >> dir/inner; mkdir dir/d; rm -r dir/sub";
    let mut overlay = Overlay::new(kind, with_outside);
    overlay.sh(guest);
    let listed = overlay.changes();
    swap(&overlay);
    let done = overlay.apply(ApplyOptions::new().changes(listed));
    let codes: Vec<&str> = done.refused.iter().map(|r| r.reason.code()).collect();
    assert_eq!(codes, ["through_link"; 5], "{done:?}");
    assert_untouched(&overlay.lower);
    let mut overlay = Overlay::new(kind, with_outside);
    overlay.sh(guest);
    swap(&overlay);
    let done = overlay.apply(ApplyOptions::new());
    assert_eq!(done.applied, [], "{done:?}");
    assert_untouched(&overlay.lower);
}

fn swapped(kind: Kind) {
    let mut overlay = Overlay::new(kind, with_outside);
    overlay.sh("mkdir d; echo x > d/x; echo x > file; echo x > new; mkdir e; echo x > e/x");
    let listed = overlay.changes();
    overlay.sh("
        rm new; ln -s /etc/passwd new
        rm file; mkfifo file
        rm -r d; ln -s /etc d
        rm -r e; echo x > e
    ");
    let done = overlay.apply(ApplyOptions::new().changes(listed));
    assert_eq!(
        refused(&done),
        [
            "d stale",
            "d/x no_directory",
            "e stale",
            "e/x no_directory",
            "file stale",
            "new stale"
        ]
    );
    assert_eq!(done.applied, []);
}

/// The guest changes one thing into another as fast as it can, while it is listed and applied.
fn races(kind: Kind) {
    let mut overlay = Overlay::new(kind, with_outside);
    overlay.sh("
        (while [ ! -e stop ]; do
            rm -rf x; ln -s /etc/passwd x
            rm -rf x; mkdir x; echo y > x/y
            rm -rf x; echo content > x; chmod 4755 x
            rm -rf x; mkfifo x
            rm -rf x; ln -s ../outside x
        done) &
    ");
    for _ in 0..300 {
        let done = overlay.apply(ApplyOptions::new());
        for refused in &done.refused {
            let code = refused.reason.code();
            // Each is one that such a moment explains; none is a failure of the host's.
            let expected = [
                "absolute_link",
                "escaping_link",
                "special",
                "special_bits",
                "stale",
                "no_directory",
                "not_empty",
                "unreadable",
                "conflict",
            ];
            assert!(expected.contains(&code), "{refused}");
        }
        for (path, node) in overlay.host() {
            match node {
                Node::Link(target) => assert_eq!((&*path, &*target), ("link", "file")),
                Node::File { mode, .. } => assert_eq!(mode & 0o7000, 0, "{path}"),
                Node::Directory { .. } => {}
                Node::Other => panic!("{path}"),
            }
        }
    }
    overlay.sh(": > stop");
    assert_untouched(&overlay.lower);
    assert_clean(&overlay);
}

/// The path of an entry of the upper directory, as the host reaches it.
fn upper(overlay: &Overlay, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", overlay.layers.upper.as_raw_fd())
}

fn mark(overlay: &Overlay, name: &str, mark: &str, value: &[u8]) {
    let prefix = if overlay.layers.userxattr {
        "user"
    } else {
        "trusted"
    };
    let attribute = format!("{prefix}.overlay.{mark}");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(upper(overlay, name), attribute, value, flags).unwrap();
}

fn marks(kind: Kind) {
    for (mark_name, value, problem) in [
        ("redirect", &b"/dir"[..], "a redirect"),
        ("metacopy", b"", "a file without its content (metacopy)"),
    ] {
        let mut overlay = Overlay::new(kind, project);
        overlay.sh("mkdir d; echo x > f");
        let name = if mark_name == "redirect" { "d" } else { "f" };
        mark(&overlay, name, mark_name, value);
        let e = changes(&overlay.layers, &overlay.baseline, Limits::default()).unwrap_err();
        assert_eq!(
            e.to_string(),
            format!("cannot read the workspace's upper directory: {problem} at {name}")
        );
        let before = overlay.host();
        let options = ApplyOptions::new();
        let e = kavach::workspace::apply(&overlay.layers, &mut overlay.baseline, options);
        assert_eq!(e.unwrap_err().code(), "KV-WORKSPACE-LAYER");
        assert_eq!(overlay.host(), before);
    }
}

fn attribute_whiteouts(kind: Kind) {
    let mut overlay = Overlay::new(kind, project);
    overlay.sh("mkdir -p x");
    fs::create_dir(upper(&overlay, "dir")).unwrap();
    mark(&overlay, "dir", "opaque", b"x");
    fs::write(upper(&overlay, "dir/inner"), "").unwrap();
    mark(&overlay, "dir/inner", "whiteout", b"");
    fs::set_permissions(upper(&overlay, "dir"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(overlay.listed(), ["deleted dir/inner", "added x"]);
    assert_eq!(overlay.apply(ApplyOptions::new()).refused, []);
    assert!(!overlay.lower.join("dir/inner").exists());
    assert!(overlay.lower.join("dir/sub/deep").exists());
}

fn reserved(kind: Kind) {
    let name = ".kavach-apply-0123456789abcdef";
    let mut overlay = Overlay::new(kind, |lower| {
        project(lower);
        // Left by an apply that was killed.
        fs::write(lower.join(name), "").unwrap();
        fs::write(lower.join("dir").join(name), "half").unwrap();
        fs::create_dir(lower.join("dir/sub").join(name)).unwrap();
    });
    // The guest sees it, and can neither keep it nor make one of its own.
    overlay.sh("rm .kavach-apply-0123456789abcdef; echo x > dir/.kavach-apply-fedcba9876543210");
    let done = overlay.apply(ApplyOptions::new());
    assert_eq!(
        refused(&done),
        ["dir/.kavach-apply-fedcba9876543210 reserved"]
    );
    assert_clean(&overlay);
}
