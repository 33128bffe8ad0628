//! Attacks on a workspace: on what it is made of, on what lies below it, on the files of others.

use std::os::unix::net::UnixListener;

use kavach::{Command, SandboxPolicy, Workspace};

use crate::attacks::HOST_REFUSES;
use crate::harness::{Setting, Suite, Who};
use crate::project::{Kept, Project};
use crate::workspace::untouched;
use crate::world::{ISOLATING, World, act, builder};

pub(crate) fn add(suite: &mut Suite) {
    let memory = |_: Who| Kept::Memory.lacks();
    for kept in Kept::BOTH {
        let subject = match kept {
            Kept::Memory => "workspace_memory_attacks",
            Kept::Disk => "workspace_disk_attacks",
        };
        let lacks = move |_: Who| kept.lacks();
        suite.subject(subject);
        suite.each_needing(
            "what_it_is_made_of_is_in_no_path",
            &ISOLATING,
            lacks,
            move |s| {
                layers(s, kept);
            },
        );
        suite.each_needing("no_handle_opens_a_file", &ISOLATING, lacks, move |s| {
            handle(s, kept, "errno EPERM");
        });
        suite.each_needing(
            "its_own_marks_cannot_be_forged",
            &ISOLATING,
            lacks,
            move |s| {
                marks(s, kept);
            },
        );
        suite.subject_for(subject, &[Who::Root]);
        suite.each_needing("no_device_below_is_used", &ISOLATING, lacks, move |s| {
            device(s, kept, "errno EACCES");
        });
        suite.each_needing("files_of_others_stay_closed", &ISOLATING, lacks, move |s| {
            others(s, kept);
        });
    }
    suite.subject("workspace_attacks");
    for (who, how, expected) in [
        (&[Who::Root][..], "control_", "EFFECT"),
        (&[Who::User], HOST_REFUSES, "errno EPERM"),
    ] {
        suite.subject_for("workspace_attacks", who);
        let name = format!("{how}a_handle_opens_a_file");
        suite.each(&name, &["noop"], move |s| handle(s, Kept::Memory, expected));
    }
    suite.subject("workspace_attacks");
    suite.each("control_a_socket_is_connected_to", &["noop"], |s| {
        socket(s, "taken");
    });
    suite.each_needing("no_socket_below_is_connected_to", &["basic"], memory, |s| {
        socket(s, "ConnectionRefusedError");
    });
    suite.each_needing("no_socket_is_made_at_all", &["strict"], memory, |s| {
        socket(s, "PermissionError");
    });
    suite.subject_for("workspace_attacks", &[Who::Root]);
    suite.each("control_a_device_below_is_used", &["noop"], |s| {
        device(s, Kept::Memory, "EFFECT");
    });
}

/// A file that the guest makes is in the upper directory under the same name: on the host it can
/// be found there (`an_upper_directory_stays`), inside it has one place.
fn layers(s: Setting, kept: Kept) {
    let project = Project::new();
    let world = project.workspace(s.policy, kept);
    let here = world.sh("echo x > findme-upper; pwd");
    let found = world.sh("find / -name findme-upper 2>/dev/null || true");
    assert_eq!(found, format!("{here}/findme-upper"));
    let doors = "for d in /proc/1/root /proc/1/cwd /proc/1/fd /proc/self/root/.. /lower /upper \
                 /work /disk; do ls $d/upper $d/lower $d/work; done 2>/dev/null | wc -l";
    assert_eq!(world.sh(doors), "0");
    assert_eq!(world.sh("grep -c ' overlay ' /proc/self/mountinfo"), "1");
    let options = world.sh("sed -n 's/.* - overlay [^ ]* //p' /proc/self/mountinfo");
    assert!(!options.contains(&here), "no path of the host: {options}");
}

fn handle(s: Setting, kept: Kept, expected: &str) {
    let project = Project::new();
    let path = project.name("file");
    let world = match s.policy {
        "noop" => World::of(s.policy),
        policy => project.workspace(policy, kept),
    };
    assert_eq!(world.said(act("shared", &["by_handle", &path])), expected);
}

/// The interpreter says which error it met.
fn socket(s: Setting, expected: &str) {
    let project = Project::new();
    let path = project.path("socket");
    let listener = UnixListener::bind(&path).unwrap();
    project.on_the_host("chmod 777 socket");
    let script = format!(
        "import socket
try:
    socket.socket(socket.AF_UNIX).connect({:?}); print('taken')
except OSError as e:
    print(type(e).__name__)",
        path.display()
    );
    // Without the suite's read path: with one, `basic` makes no such sockets either.
    let world = match s.policy {
        "noop" => World::of(s.policy),
        policy => World::new(
            builder()
                .policy(SandboxPolicy::from_preset(policy).unwrap())
                .workspace(Workspace::new(&project.0)),
        ),
    };
    let said = world.said(Command::new("/usr/bin/python3").args(["-c", &script]));
    assert_eq!(said, expected);
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().is_ok(), expected == "taken");
}

fn device(s: Setting, kept: Kept, expected: &str) {
    let project = Project::new();
    project.on_the_host("mknod null c 1 3; chmod 666 null");
    let world = match s.policy {
        "noop" => World::of(s.policy),
        policy => project.workspace(policy, kept),
    };
    let said = world.said(act("shared", &["use_device", &project.name("null")]));
    assert_eq!(said, expected);
}

/// Root's kavach gives the guest the rights of the directory's owner, and of nobody else.
fn others(s: Setting, kept: Kept) {
    let project = Project::new();
    project.on_the_host(
        "chown -R 4242:4242 .; echo secret > closed; echo secret > grouped; \
         chown 4243:4243 closed; chmod 600 closed; chown 4243:4242 grouped; chmod 640 grouped",
    );
    let script = "cat closed 2>&1 | grep -c 'Permission denied'; cat grouped; \
                  (echo x >> grouped) 2>/dev/null || echo kept; rm -f closed; ls";
    assert_eq!(
        untouched(s, kept, &project, script),
        "1\nsecret\nkept\nfile\ngrouped\nsub"
    );
}

/// A directory that claims to hide what is below it, a file that claims to be a deletion: both
/// are plain entries of the guest's own, or refused.
fn marks(s: Setting, kept: Kept) {
    let project = Project::new();
    let world = project.workspace(s.policy, kept);
    let marked = world.run(act("shared", &["own_mark", &project.name("sub")]));
    assert!(marked.success());
    assert_eq!(world.sh("cat sub/deep/file"), "deep below");
    let made = world.said(act("shared", &["make_whiteout", &project.name("gone")]));
    assert_eq!(made, "errno EPERM");
}
