//! Attacks through a directory that the host shares: powers that files can have, names that host
//! programs meet, ways out of the directory.

use std::os::unix::net::UnixListener;

use crate::doors::lacks;
use crate::harness::{Setting, Suite, Who};
use crate::project::Project;
use crate::world::{ISOLATING, World, act, config, refusal};
use crate::write_through::world;

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("write_through_attacks");
    for way in SETUID {
        let control = move |s: Setting| setuid(s, way, "EFFECT");
        let missing = move |_: Who| lacks("setuid", &[way, "4755", "/tmp"]);
        let name = format!("control_setuid_by_{way}");
        suite.each_needing(&name, &["noop"], missing, control);
        suite.each(&format!("setuid_by_{way}"), &ISOLATING, move |s| {
            let refused = if *way == "openat2" {
                "errno ENOSYS"
            } else {
                "errno EPERM"
            };
            setuid(s, way, refused);
        });
    }
    for (act, refused) in MADE {
        let control = move |s: Setting| made(s, act, "EFFECT");
        suite.each(&format!("control_{act}"), &["noop"], control);
        suite.each(act, &ISOLATING, move |s| made(s, act, refused));
    }
    suite.each("control_make_pipe", &["noop"], |s| {
        made(s, "make_pipe", "EFFECT")
    });
    // A pipe is no way to the host in itself; Landlock refuses it all the same.
    suite.each("make_pipe", &["strict"], |s| {
        made(s, "make_pipe", "errno EACCES")
    });
    suite.each("control_a_socket_is_reached", &["noop"], |s| {
        socket(s, true)
    });
    suite.each("no_socket_is_reached", &ISOLATING, |s| socket(s, false));
    suite.each("control_a_file_of_the_host_is_linked_in", &["noop"], |s| {
        linked(s, "EFFECT");
    });
    suite.each("no_file_of_the_host_is_linked_in", &ISOLATING, |s| {
        linked(s, "errno EXDEV");
    });
    suite.each("control_a_file_is_moved_out", &["noop"], |s| {
        moved(s, "EFFECT")
    });
    suite.each("no_file_is_moved_out", &ISOLATING, |s| {
        moved(s, "errno EXDEV")
    });
    suite.each("control_a_planted_link_leads_out", &["noop"], |s| {
        link(s, true)
    });
    suite.each("a_planted_link_leads_nowhere", &ISOLATING, |s| {
        link(s, false)
    });
    suite.each("a_link_in_place_of_the_directory_above", &ISOLATING, race);
    suite.each(
        "control_a_setuid_program_is_changed_and_keeps_its_bit",
        &["noop"],
        old_program_control,
    );
    suite.each("no_setuid_program_is_within_reach", &ISOLATING, old_program);
    suite.subject_for("write_through_attacks", &[Who::Root]);
    for act in ["make_char", "make_block"] {
        let control = move |s: Setting| made(s, act, "EFFECT");
        suite.each(&format!("control_{act}"), &["noop"], control);
        suite.each(act, &ISOLATING, move |s| made(s, act, "errno EPERM"));
    }
    suite.each("control_a_device_is_used", &["noop"], |s| {
        device(s, "EFFECT")
    });
    suite.each("no_device_is_used", &ISOLATING, |s| {
        device(s, "errno EACCES")
    });
    suite.each("files_of_others_stay_closed", &ISOLATING, others);
}

const SETUID: &[&str] = &[
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "open",
    "openat",
    "creat",
    "mknod",
    "mknodat",
    "openat2",
];

fn setuid(s: Setting, way: &str, expected: &str) {
    let project = Project::new();
    let world = world(s, &project);
    for mode in ["4755", "2755", "6777"] {
        let said = world.said(act("setuid", &[way, mode, &project.name("sub")]));
        assert_eq!(said, expected, "{mode}");
    }
    if s.policy != "noop" {
        project.on_the_host("test -z \"$(find . -perm /6000)\"");
    }
}

/// Acts that make something of a new name, and the answer inside.
const MADE: &[(&str, &str)] = &[
    ("bind_socket", "errno EPERM"),
    ("make_socket", "errno EPERM"),
    ("temporary_setuid", "errno EPERM"),
];

fn made(s: Setting, name: &str, expected: &str) {
    let project = Project::new();
    let before = project.state();
    let target = match name {
        "temporary_setuid" => project.name("sub"),
        _ => project.name("sub/made"),
    };
    let said = world(s, &project).said(act("shared", &[name, &target]));
    assert_eq!(said, expected);
    if expected != "EFFECT" {
        assert_eq!(project.state(), before);
    }
}

fn socket(s: Setting, reached: bool) {
    let project = Project::new();
    let path = project.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    project.on_the_host("chmod 777 socket");
    let said = world(s, &project).said(act("net", &["path", path.to_str().unwrap()]));
    assert_eq!(said, if reached { "EFFECT" } else { "errno EPERM" });
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().is_ok(), reached);
}

/// A second name in the shared directory for a file that the guest may only read. The file is on
/// the same file system: only the mount stands between.
fn linked(s: Setting, expected: &str) {
    let project = Project::new();
    project.write("shown/secret", "kept");
    let world = match s.policy {
        "noop" => World::of(s.policy),
        policy => World::new(
            config(policy)
                .read(project.path("shown"))
                .write_through(project.path("sub")),
        ),
    };
    let (from, to) = (project.name("shown/secret"), project.name("sub/mine"));
    assert_eq!(
        world.said(act("shared", &["hard_link", &from, &to])),
        expected
    );
    if expected != "EFFECT" {
        assert_eq!(
            world.said(act("shared", &["hard_link_fd", &from, &to])),
            expected
        );
        assert!(!project.path("sub/mine").exists());
    }
    assert_eq!(project.read("shown/secret"), "kept");
}

/// Out of the shared directory into the sandbox's own, or the host's beside it.
fn moved(s: Setting, expected: &str) {
    let project = Project::new();
    let world = match s.policy {
        "noop" => World::of(s.policy),
        policy => World::new(config(policy).write_through(project.path("sub"))),
    };
    let to = match s.policy {
        "noop" => project.name("out"),
        _ => "/home/guest/out".to_owned(),
    };
    let said = world.said(act(
        "shared",
        &["move", &project.name("sub/deep/file"), &to],
    ));
    assert_eq!(said, expected);
    assert_eq!(project.path("sub/deep/file").exists(), expected != "EFFECT");
}

/// Inside, a link is resolved in the sandbox's own root.
fn link(s: Setting, leads: bool) {
    let project = Project::new();
    project.write("outside", "host");
    let world = match s.policy {
        "noop" => World::of(s.policy),
        policy => World::new(config(policy).write_through(project.path("sub"))),
    };
    let (outside, sub) = (project.name("outside"), project.name("sub"));
    let script = format!(
        "cd {sub}; ln -s {outside} absolute; ln -s ../outside relative; \
         for l in absolute relative; do (echo guest >> $l) 2>/dev/null; done; true"
    );
    world.sh(&script);
    let text = project.read("outside");
    assert_eq!(text, if leads { "hostguest\nguest\n" } else { "host" });
    assert!(project.path("sub/absolute").is_symlink());
}

/// The guest can rename what is inside its directory, but not the directory itself: a second
/// sandbox of the same config finds it where it was, or not at all.
fn race(s: Setting) {
    let project = Project::new();
    let inner = project.path("sub/deep");
    let first = World::new(config(s.policy).write_through(project.path("sub")));
    let swap = format!(
        "cd {}; mv deep away; ln -s {} deep",
        project.name("sub"),
        project.name("")
    );
    first.sh(&swap);
    let error = refusal(config(s.policy).write_through(&inner));
    assert_eq!(error.code(), "KV-INVALID-CONFIG");
    assert!(error.to_string().contains("symbolic link"), "{error}");
    let error = refusal(config(s.policy).workspace(kavach::Workspace::new(inner)));
    assert!(error.to_string().contains("symbolic link"), "{error}");
}

/// A write takes the bit away, but a write through a shared map does not: the guest would choose
/// what a program of the directory's owner does.
fn old_program(s: Setting) {
    let project = Project::new();
    project.on_the_host("cp /bin/true sub/deep/old; chmod 4755 sub/deep/old");
    let old = project.name("sub/deep/old");
    let config = || config(s.policy).write_through(&project.0);
    let error = refusal(config());
    assert_eq!(error.code(), "KV-INVALID-CONFIG");
    assert!(error.to_string().contains(&old), "{error}");
    project.on_the_host("chmod a-s sub/deep/old");
    assert_eq!(
        World::new(config()).said(act("shared", &["change_mapped", &old])),
        "EFFECT"
    );
}

fn old_program_control(_: Setting) {
    let project = Project::new();
    project.on_the_host("cp /bin/true sub/deep/old; chmod 4755 sub/deep/old");
    let old = project.name("sub/deep/old");
    let world = World::of("noop");
    assert_eq!(
        world.said(act("shared", &["change_mapped", &old])),
        "EFFECT"
    );
    assert_eq!(world.sh(&format!("stat -c %a {old}")), "4755");
}

fn device(s: Setting, expected: &str) {
    let project = Project::new();
    project.on_the_host("mknod null c 1 3; chmod 666 null");
    let said = world(s, &project).said(act("shared", &["use_device", &project.name("null")]));
    assert_eq!(said, expected);
}

/// Only the directory's owner is somebody inside.
fn others(s: Setting) {
    let project = Project::new();
    project.on_the_host(
        "chown -R 4242:4242 .; echo secret > closed; echo open > open; \
         chown 4243:4243 closed open; chmod 600 closed",
    );
    let before = project.state();
    let script = format!(
        "cd {}; cat closed 2>&1 | grep -c 'Permission denied'; cat open; stat -c %u:%g closed; \
         for f in open closed; do (echo x >> $f) 2>/dev/null; chown 1000 $f 2>/dev/null; \
         chmod 666 $f 2>/dev/null; done; true",
        project.0.display()
    );
    assert_eq!(world(s, &project).sh(&script), "1\nopen\n65534:65534");
    assert_eq!(project.state(), before);
}
