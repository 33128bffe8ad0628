//! A root from another directory than the host's: its programs, its files, and nothing of the
//! host's.

use std::path::Path;

use kavach::{Command, SandboxPolicy, Workspace};

use crate::harness::{Setting, Suite, Who, program};
use crate::project::{Kept, Project};
use crate::world::{ISOLATING, World, builder, refusal};

const BUSYBOX: &str = "/usr/bin/busybox";

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("rootfs");
    let needs = |_: Who| program(BUSYBOX);
    suite.each_needing("its_programs_run", &ISOLATING, needs, runs);
    suite.each_needing("the_hosts_are_not_there", &ISOLATING, needs, absent);
    suite.each_needing("it_cannot_be_written", &ISOLATING, needs, read_only);
    suite.each_needing("its_links_lead_into_the_sandbox", &ISOLATING, needs, links);
    suite.each_needing(
        "a_workspace_in_it",
        &ISOLATING,
        |_| Kept::Memory.lacks().or_else(|| program(BUSYBOX)),
        workspace,
    );
    suite.each_needing("one_without_etc_and_var", &ISOLATING, needs, bare);
    suite.each("what_is_no_root", &ISOLATING, refused);
    suite.each("control_a_link_in_an_image_is_followed", &["noop"], |s| {
        let project = hostile();
        let world = World::of(s.policy);
        for name in LINKED {
            let file = project.path("root").join(name).join("file");
            assert_eq!(world.said(Command::new("cat").arg(file)), SECRET);
        }
    });
    suite.each_needing(
        "a_link_in_an_image_is_not_followed",
        &ISOLATING,
        needs,
        linked,
    );
}

/// A small system as a build would leave it, with what a hostile one might hold.
fn image() -> Project {
    let project = Project::new();
    project.on_the_host(
        "mkdir -p root/usr/bin root/etc root/var/tmp root/tmp root/proc root/dev root/srv root/home/u \
         root/opt/tool; cp /usr/bin/busybox root/usr/bin; for p in sh ls cat id echo mkdir touch \
         readlink env grep wc hostname; do ln -s busybox root/usr/bin/$p; done; ln -s usr/bin root/bin; \
         echo image > root/etc/issue; echo '1.2.3.4 image' > root/etc/hosts; echo image > \
         root/etc/hostname; echo kept > root/opt/tool/file; echo top > root/top; ln -s /etc/shadow \
         root/leak; ln -s ../../../../../etc root/up; mkfifo root/pipe; echo hidden > root/home/u/file",
    );
    project
}

fn config(s: Setting) -> kavach::SandboxConfigBuilder {
    builder().policy(SandboxPolicy::from_preset(s.policy).unwrap())
}

fn world(s: Setting, project: &Project) -> World {
    World::new(config(s).rootfs(project.path("root")))
}

fn sh(world: &World, script: &str) -> String {
    world.said(Command::new("sh").args(["-c", script]))
}

fn runs(s: Setting) {
    let project = image();
    let world = world(s, &project);
    assert_eq!(
        sh(&world, "id -u; cat /etc/issue /top /opt/tool/file"),
        "1000\nimage\ntop\nkept"
    );
    assert_eq!(sh(&world, "cat /etc/hosts; cat /etc/hostname; hostname"), {
        "127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 kavach\nkavach\nkavach"
    });
    let scratch = "for d in /tmp /var/tmp $HOME /dev/shm; do touch $d/made && echo $d; done";
    assert_eq!(sh(&world, scratch), "/tmp\n/var/tmp\n/home/guest\n/dev/shm");
    assert_eq!(sh(&world, "ls /proc/self/exe /dev/null | wc -l"), "2");
}

fn absent(s: Setting) {
    let project = image();
    let world = world(s, &project);
    let error = world.try_run(Command::new("python3")).unwrap_err();
    assert_eq!(error.code(), "KV-COMMAND-NOT-FOUND");
    assert!(Path::new("/usr/bin/python3").exists());
    assert_eq!(
        sh(&world, "ls -A / | grep -v -e kavach; ls -A /home /srv /run"),
        "bin\ndev\netc\nhome\nleak\nopt\nproc\nrun\nsrv\ntmp\ntop\nup\nusr\nvar\n\
         /home:\nguest\n\n/run:\n\n/srv:"
    );
    assert_eq!(sh(&world, "ls /lib /lib64 /sys 2>/dev/null | wc -l"), "0");
}

fn read_only(s: Setting) {
    let project = image();
    let before = project.state();
    let world = world(s, &project);
    let script = "for f in /usr/bin/new /etc/new /etc/hosts /etc/issue /opt/tool/file /top /srv/new; do \
                  (echo x > $f) 2>/dev/null && echo wrote $f; done; echo done";
    assert_eq!(sh(&world, script), "done");
    drop(world);
    assert_eq!(project.state(), before);
}

fn links(s: Setting) {
    let project = image();
    let world = world(s, &project);
    assert_eq!(sh(&world, "readlink /leak; readlink /up; cat /up/issue"), {
        "/etc/shadow\n../../../../../etc\nimage"
    });
    let result = world.run(Command::new("cat").arg("/leak"));
    assert!(result.stderr.contains("No such file"), "{}", result.stderr);
    // A pipe of the image is not shown at all.
    assert!(!world.run(Command::new("ls").arg("/pipe")).success());
}

fn workspace(s: Setting) {
    let project = image();
    project.write("work/file", "below");
    let before = project.state();
    let work = Workspace::new(project.path("work"));
    let world = World::new(config(s).rootfs(project.path("root")).workspace(work));
    assert_eq!(
        sh(&world, "echo x >> file; cat file; cat /etc/issue"),
        "belowx\nimage"
    );
    drop(world);
    assert_eq!(project.state(), before);
}

/// What kavach mounts over in a root.
const LINKED: [&str; 6] = ["dev", "proc", "tmp", "home", "run", "sys"];
const SECRET: &str = "kavach-canary-outside";

/// An image in which these are links to a directory of the host (CVE-2025-52565 and others).
fn hostile() -> Project {
    let project = image();
    project.write("outside/file", SECRET);
    let names = LINKED.join(" ");
    project.on_the_host(&format!(
        "cd root; for l in {names}; do rm -rf $l; ln -s {} $l; done",
        project.path("outside").display()
    ));
    project
}

fn linked(s: Setting) {
    let project = hostile();
    let before = project.state();
    let world = world(s, &project);
    let script = "for d in /dev /proc /tmp /home /run /sys; do cat $d/file 2>/dev/null; \
                  (echo x > $d/made) 2>/dev/null; done; for d in /dev/null /proc/self /tmp; do \
                  ls -d $d; done; readlink /dev /proc /tmp";
    let result = world.run(Command::new("sh").args(["-c", script]));
    assert_eq!(result.stdout, "/dev/null\n/proc/self\n/tmp\n");
    drop(world);
    assert_eq!(project.state(), before);
}

fn bare(s: Setting) {
    let project = Project::new();
    project.on_the_host(
        "mkdir -p root/bin; cp /usr/bin/busybox root/bin; ln -s busybox root/bin/sh; \
         ln -s busybox root/bin/cat; ln -s busybox root/bin/touch",
    );
    let world = world(s, &project);
    assert_eq!(
        sh(
            &world,
            "cat /etc/hostname; touch /var/tmp/x /tmp/x; echo $HOME"
        ),
        { "kavach\n/home/guest" }
    );
}

fn refused(s: Setting) {
    let project = Project::new();
    project.on_the_host("mkdir empty; ln -s sub link");
    for (below, code) in [
        ("empty", "KV-INVALID-CONFIG"),
        ("link", "KV-INVALID-CONFIG"),
        ("file", "KV-INVALID-CONFIG"),
        ("missing", "KV-PATH-MISSING"),
    ] {
        let error = refusal(config(s).rootfs(project.path(below)));
        assert_eq!(error.code(), code, "{below}: {error}");
    }
    let host = builder().policy(SandboxPolicy::minimal());
    let error = refusal(host.rootfs(project.path("sub")));
    assert!(error.to_string().contains("rootfs"), "{error}");
}
