//! A workspace: programs work in it as they do anywhere, the host's directory stays as it is, and
//! nothing inside reaches what it is made of.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;

use kavach::config::{SandboxConfigBuilder, Upper};
use kavach::{
    Command, Control, ControlState, SandboxConfig, SandboxPolicy, Termination, Workspace,
};

use crate::harness::{Setting, Suite, Who, program};
use crate::project::Project;
use crate::world::{ISOLATING, World, act, config, refusal};

/// `minimal` too gives a workspace, over the caller's own files.
const ALL: [&str; 3] = ["minimal", "basic", "strict"];

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("workspace");
    suite.each("files_are_changed_inside_and_stay_outside", &ALL, changes);
    suite.each("commands_start_in_it_and_share_it", &ALL, shared);
    suite.each("its_files_are_the_guests_own", &ISOLATING, owner);
    suite.each("a_directory_is_renamed", &ISOLATING, renamed);
    suite.each_needing(
        "git_works_in_it",
        &ISOLATING,
        |_| program("/usr/bin/git"),
        git,
    );
    suite.each_needing(
        "make_builds_in_it",
        &ISOLATING,
        |_| program("/usr/bin/make"),
        make,
    );
    suite.each("a_tree_of_many_small_files", &ISOLATING, many);
    suite.each("sqlite_works_in_it_through_a_map", &ISOLATING, sqlite);
    suite.each("locks_links_and_watches", &ISOLATING, locks);
    suite.each("the_quota_of_bytes_holds", &ISOLATING, full);
    suite.each("the_quota_of_files_holds", &ISOLATING, no_inodes);
    suite.each("what_is_written_counts_to_the_memory", &ISOLATING, memory);
    suite.each("below_a_read_path", &ISOLATING, below_read);
    suite.each("an_upper_directory_stays", &ISOLATING, on_disk);
    suite.each("the_report_says_what_is_seen_of_it", &ISOLATING, report);

    suite.subject("workspace_attacks");
    suite.each("what_it_is_made_of_is_in_no_path", &ISOLATING, layers);
    suite.each("control_a_handle_opens_a_file", &["noop"], |s| {
        handle(
            s,
            if s.who.is_root() {
                "EFFECT"
            } else {
                "errno EPERM"
            },
        );
    });
    suite.each("no_handle_opens_a_file", &ISOLATING, |s| {
        handle(s, "errno EPERM");
    });
    suite.each("control_a_socket_is_connected_to", &["noop"], |s| {
        socket(s, "taken");
    });
    suite.each("no_socket_below_is_connected_to", &["basic"], |s| {
        socket(s, "ConnectionRefusedError");
    });
    suite.each("no_socket_is_made_at_all", &["strict"], |s| {
        socket(s, "PermissionError");
    });
    suite.each("its_own_marks_cannot_be_forged", &ISOLATING, marks);
    suite.subject_for("workspace_attacks", &[Who::Root]);
    suite.each("control_a_device_below_is_used", &["noop"], |s| {
        device(s, "EFFECT");
    });
    suite.each("no_device_below_is_used", &ISOLATING, |s| {
        device(s, "errno EACCES");
    });
    suite.each("files_of_others_stay_closed", &ISOLATING, others);

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
        let error = refusal(project.config(s.policy));
        assert_eq!(error.code(), "KV-UNSUPPORTED");
    });
    suite.subject_for("workspace_refused", &[Who::Root]);
    suite.each("what_has_mounts_below", &ISOLATING, mounts);
}

/// Runs a script inside, and checks that the host's directory is as it was.
fn untouched(s: Setting, project: &Project, script: &str) -> String {
    let before = project.state();
    let world = project.workspace(s.policy);
    let said = world.sh(&format!("set -e; {script}"));
    drop(world);
    assert_eq!(project.state(), before);
    said
}

fn changes(s: Setting) {
    let project = Project::new();
    if s.policy == "minimal" && s.who.is_root() {
        // The guest is root without its capabilities: it owns what root owns.
        assert!(
            project.state()[0].contains(" 0:0 "),
            "{:?}",
            project.state()
        );
    }
    let script = "cat file sub/deep/file; echo changed > file; echo more >> sub/deep/file; \
                  echo new > new; mkdir dir; ln -s file link; chmod 600 file; \
                  cat file sub/deep/file new link; rm -r sub; mkdir sub; ls -A sub; \
                  rm file; ls | tr '\\n' ' '; stat -c %F link";
    assert_eq!(
        untouched(s, &project, script),
        "belowdeep belowchanged\ndeep belowmore\nnew\nchanged\ndir link new sub symbolic link"
    );
}

fn shared(s: Setting) {
    let project = Project::new();
    let world = project.workspace(s.policy);
    assert_eq!(world.said("pwd"), project.0.to_str().unwrap());
    world.sh("echo kept > note");
    assert_eq!(
        world.said(Command::new("cat").arg(project.name("note"))),
        "kept"
    );
    assert!(!project.path("note").exists());
}

fn owner(s: Setting) {
    let owners: &[u32] = match s.who.is_root() {
        // Root's own, an ordinary user's, and the one whose number the guest has inside.
        true => &[0, 1, 1000, 70_000],
        false => &[rustix::process::geteuid().as_raw()],
    };
    for owner in owners {
        let project = Project::new();
        if s.who.is_root() {
            project.on_the_host(&format!("chown -R {owner}:{owner} ."));
        }
        let script = "id -u; id -g; find . -printf '%U %G\\n' | sort -u; echo x > file; \
                      mkdir -p sub/made; rm sub/deep/file; find . -printf '%U %G\\n' | sort -u";
        let said = untouched(s, &project, script);
        assert_eq!(said, "1000\n1000\n1000 1000\n1000 1000", "owner {owner}");
    }
}

/// The kernel answers EXDEV for a directory from below; programs then copy it.
fn renamed(s: Setting) {
    let project = Project::new();
    let script = "mv sub moved; cat moved/deep/file; ls; mkdir made; mv made again; ls -d again; \
                  python3 -c 'import shutil; shutil.move(\"moved\", \"twice\")'; cat twice/deep/file";
    assert_eq!(
        untouched(s, &project, script),
        "deep belowfile\nmoved\nagain\ndeep below"
    );
}

const GIT: &str = "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a \
                   GIT_COMMITTER_EMAIL=a@b; ";

fn git(s: Setting) {
    let project = Project::new();
    project.on_the_host(&format!(
        "{GIT} git init -q .; git add .; git commit -q -m first; echo dirty > file"
    ));
    let script = format!(
        "{GIT} git status --porcelain=v2 | cut -d' ' -f2,9; git commit -qam second; git log --format=%s; git checkout -q -b \
         other; git mv sub/deep/file moved; git commit -q -m third; git checkout -q -; git merge -q \
         other; git stash list; git gc -q --aggressive --prune=now; git fsck --strict 2>&1; \
         git clone -q . /tmp/copy; cat /tmp/copy/moved; git log --format=%s | wc -l"
    );
    assert_eq!(
        untouched(s, &project, &script),
        ".M file\nsecond\nfirst\ndeep below3"
    );
}

fn make(s: Setting) {
    let project = Project::new();
    project.write(
        "Makefile",
        "all: program\nprogram: main.o part.o\n\tcc -o $@ $^\n%.o: %.c\n\tcc -O1 -c -o $@ $<\n\
         clean:\n\trm -f *.o program\n",
    );
    project.write(
        "main.c",
        "int part(void); int main(void) { return part() - 42; }\n",
    );
    project.write("part.c", "int part(void) { return 6 * 7; }\n");
    project.on_the_host("make -s 2>/dev/null");
    let script = "make -s; touch part.c; make -s; ./program && echo works; make -s clean; \
                  make -sj4; ./program && echo again; ls *.o | wc -l";
    assert_eq!(untouched(s, &project, script), "works\nagain\n2");
}

/// As a package manager does: unpack, remove, unpack again, in directories that are below too.
fn many(s: Setting) {
    let project = Project::new();
    project.on_the_host(
        "for i in $(seq 40); do mkdir -p modules/m$i/lib; for j in $(seq 25); do \
         echo $i.$j > modules/m$i/lib/f$j.js; done; done",
    );
    let script = "find modules -type f | wc -l; tar -cf /tmp/m.tar modules; rm -rf modules; \
                  tar -xf /tmp/m.tar; cat modules/m7/lib/f7.js; rm -r modules/m1*; mkdir modules/m1; \
                  ls modules | wc -l; ls -A modules/m1 | wc -l; find modules -type f | wc -l; \
                  cp -r modules copy; find copy -type f -exec cat {} + | wc -l";
    assert_eq!(untouched(s, &project, script), "1000\n7.7\n30\n0\n725\n725");
}

fn sqlite(s: Setting) {
    let project = Project::new();
    let make = "import sqlite3; d = sqlite3.connect('data.db'); \
                d.execute('create table t(n int)'); \
                d.executemany('insert into t values (?)', [(n,) for n in range(5000)]); d.commit()";
    project.on_the_host(&format!("python3 -c \"{make}\""));
    let script = "import sqlite3
d = sqlite3.connect('data.db')
print(d.execute('pragma journal_mode=wal').fetchone()[0])
print(d.execute('pragma mmap_size=268435456').fetchone()[0])
d.execute('update t set n = n + 1'); d.commit()
print(d.execute('select sum(n) from t').fetchone()[0])
d.close()
d = sqlite3.connect('data.db')
print(d.execute('pragma integrity_check').fetchone()[0])
import mmap
f = open('file', 'r+b'); m = mmap.mmap(f.fileno(), 0); m[0:5] = b'BELOW'; m.flush(); m.close()
print(open('file').read())";
    let before = project.state();
    let world = project.workspace(s.policy);
    let said = world.said(Command::new("/usr/bin/python3").args(["-c", script]));
    assert_eq!(said, "wal\n268435456\n12502500\nok\nBELOW");
    assert_eq!(project.state(), before);
}

fn locks(s: Setting) {
    let project = Project::new();
    project.on_the_host("ln file second");
    let script = "import ctypes, fcntl, os, subprocess, sys
f = open('file', 'r+')
fcntl.flock(f, fcntl.LOCK_EX)
again = 'import fcntl; fcntl.flock(open(\"file\"), fcntl.LOCK_EX | fcntl.LOCK_NB)'
print('other', subprocess.run([sys.executable, '-c', again], stderr=subprocess.DEVNULL).returncode)
fcntl.flock(f, fcntl.LOCK_UN)
fcntl.lockf(f, fcntl.LOCK_EX)
os.link('file', 'third')
print('links', os.stat('third').st_nlink, os.path.samefile('file', 'third'))
libc = ctypes.CDLL(None)
watch = libc.inotify_init()
libc.inotify_add_watch(watch, b'.', 0x100)
open('seen', 'w').close()
print('event', b'seen' in os.read(watch, 4096))
same = os.stat('file')
f.write('more'); f.flush()
print('same', (same.st_dev, same.st_ino) == (os.stat('file').st_dev, os.stat('file').st_ino))";
    let before = project.state();
    let world = project.workspace(s.policy);
    let said = world.said(Command::new("/usr/bin/python3").args(["-c", script]));
    assert_eq!(said, "other 1\nlinks 2 True\nevent True\nsame True");
    assert_eq!(project.state(), before);
}

fn full(s: Setting) {
    let project = Project::new();
    let world = World::new(project.config(s.policy).workspace_mb(2));
    let script = "dd if=/dev/zero of=big bs=64k count=64; echo $?; stat -c %s big";
    let result = world.run(Command::shell(script));
    assert!(
        result.stderr.contains("No space left on device"),
        "{}",
        result.stderr
    );
    assert_eq!(result.stdout, "1\n2097152\n");
    let limits: Vec<_> = result.limit_events.iter().map(|e| e.control).collect();
    assert!(limits.contains(&Control::Disk), "{limits:?}");
    let result = world.run(Command::shell("rm big; echo room > small; cat small"));
    assert_eq!(result.stdout, "room\n");
    assert!(
        !result
            .limit_events
            .iter()
            .any(|e| e.control == Control::Disk)
    );
}

fn no_inodes(s: Setting) {
    let project = Project::new();
    let mut policy = SandboxPolicy::from_preset(s.policy).unwrap();
    policy.filesystem.workspace_inodes = 64;
    let config = SandboxConfig::builder().policy(policy);
    let world = World::new(config.workspace(Workspace::new(&project.0)));
    let script = "for i in $(seq 200); do (: > f$i) 2>/dev/null || break; done; echo $i";
    let made: u32 = world.sh(script).parse().unwrap();
    assert!((32..=72).contains(&made), "{made}");
}

fn memory(s: Setting) {
    let project = Project::new();
    let mut policy = SandboxPolicy::from_preset(s.policy).unwrap();
    policy.limits.memory_mb = Some(64);
    policy.accept_approximate.insert(Control::Memory);
    let config = SandboxConfig::builder().policy(policy);
    let world = World::new(config.workspace(Workspace::new(&project.0)));
    let fits = world.run("dd if=/dev/zero of=some bs=1M count=16");
    assert_eq!(fits.termination, Termination::Exited(0));
    let over = world.run("dd if=/dev/zero of=big bs=1M count=200");
    assert_eq!(over.termination, Termination::OutOfMemory);
}

/// The part of a read-only tree that can be worked in.
fn below_read(s: Setting) {
    let project = Project::new();
    let before = project.state();
    let inner = Workspace::new(project.path("sub"));
    let world = World::new(config(s.policy).read(&project.0).workspace(inner));
    let script = format!(
        "echo x > deep/file; cat deep/file {top}; (echo y > {top}) 2>/dev/null || echo kept",
        top = project.name("file")
    );
    assert_eq!(world.sh(&script), "x\nbelowkept");
    drop(world);
    assert_eq!(project.state(), before);
}

fn on_disk(s: Setting) {
    let project = Project::new();
    project.on_the_host("mkdir work; mv file sub work; mkdir changes; chmod 700 work");
    let config = || on(&project, s.policy);
    let before = fs::read_to_string(project.path("work/file")).unwrap();
    let world = World::new(config());
    assert_eq!(
        world.sh("rm -r sub; mkdir sub; echo one > sub/n; echo two > file; cat file"),
        "two"
    );
    assert_eq!(
        world.sh(&format!(
            "ls -d {} 2>&1 | grep -c 'No such'",
            project.name("changes")
        )),
        "1"
    );
    drop(world);
    assert_eq!(
        fs::read_to_string(project.path("work/file")).unwrap(),
        before
    );
    let made = project.path("changes/upper/sub/n");
    assert_eq!(fs::read_to_string(&made).unwrap(), "one\n");
    let owner = fs::metadata(project.path("changes")).unwrap().uid();
    assert_eq!(fs::metadata(&made).unwrap().uid(), owner);
    let world = World::new(config());
    assert_eq!(
        world.sh("cat file sub/n; ls sub; stat -c %a ."),
        "two\none\nn\n700"
    );
}

fn on(project: &Project, policy: &str) -> SandboxConfigBuilder {
    let upper = Upper::Directory(project.path("changes"));
    config(policy).workspace(Workspace::new(project.path("work")).upper(upper))
}

fn report(s: Setting) {
    let project = Project::new();
    let world = project.workspace(s.policy);
    let report = world.sandbox.report();
    let view = report.get(Control::FilesystemView).unwrap();
    assert_eq!(
        view.requested,
        format!("private; workspace {}", project.0.display())
    );
    assert!(
        view.evidence.contains("is overlay, rw,nosuid,nodev"),
        "{}",
        view.evidence
    );
    assert!(
        view.evidence.contains("beside those asked for: none"),
        "{}",
        view.evidence
    );
    let disk = report.get(Control::Disk).unwrap();
    let size = if s.policy == "strict" { 256 } else { 1024 };
    assert_eq!(disk.state, ControlState::Enforced);
    assert!(
        disk.requested.contains(&format!("workspace {size} MiB")),
        "{}",
        disk.requested
    );
    let seen = format!("{} size={}k,", project.0.display(), size * 1024);
    assert!(disk.evidence.contains(&seen), "{}", disk.evidence);
    let plain = World::of(s.policy);
    assert_eq!(world.sandbox.strength(), plain.sandbox.strength());
}

/// A file that the guest makes is in the upper directory under the same name: on the host it can
/// be found there (`an_upper_directory_stays`), inside it has one place.
fn layers(s: Setting) {
    let project = Project::new();
    project.on_the_host("mkdir work changes");
    for world in [
        project.workspace(s.policy),
        World::new(on(&project, s.policy)),
    ] {
        let here = world.sh("echo x > findme-upper; pwd");
        let found = world.sh("find / -name findme-upper 2>/dev/null || true");
        assert_eq!(found, format!("{here}/findme-upper"));
        let doors = "for d in /proc/1/root /proc/1/cwd /proc/1/fd /proc/self/root/.. /lower /upper \
                     /work /disk; do ls $d/upper $d/lower $d/work; done 2>/dev/null | wc -l";
        assert_eq!(world.sh(doors), "0");
        let mounted = world.sh("grep -c ' overlay ' /proc/self/mountinfo");
        assert_eq!(mounted, "1");
        let options = world.sh("sed -n 's/.* - overlay [^ ]* //p' /proc/self/mountinfo");
        assert!(!options.contains(&here), "no path of the host: {options}");
    }
}

fn handle(s: Setting, expected: &str) {
    let project = Project::new();
    let path = project.name("file");
    let world = match s.policy {
        "noop" => World::of(s.policy),
        policy => project.workspace(policy),
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
            SandboxConfig::builder()
                .policy(SandboxPolicy::from_preset(policy).unwrap())
                .workspace(Workspace::new(&project.0)),
        ),
    };
    let said = world.said(Command::new("/usr/bin/python3").args(["-c", &script]));
    assert_eq!(said, expected);
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().is_ok(), expected == "taken");
}

fn device(s: Setting, expected: &str) {
    let project = Project::new();
    project.on_the_host("mknod null c 1 3; chmod 666 null");
    let world = match s.policy {
        "noop" => World::of(s.policy),
        policy => project.workspace(policy),
    };
    let said = world.said(act("shared", &["use_device", &project.name("null")]));
    assert_eq!(said, expected);
}

/// Root's kavach gives the guest the rights of the directory's owner, and of nobody else.
fn others(s: Setting) {
    let project = Project::new();
    project.on_the_host(
        "chown -R 4242:4242 .; echo secret > closed; echo secret > grouped; \
         chown 4243:4243 closed; chmod 600 closed; chown 4243:4242 grouped; chmod 640 grouped",
    );
    let script = "cat closed 2>&1 | grep -c 'Permission denied'; cat grouped; \
                  (echo x >> grouped) 2>/dev/null || echo kept; rm -f closed; ls";
    assert_eq!(
        untouched(s, &project, script),
        "1\nsecret\nkept\nfile\ngrouped\nsub"
    );
}

/// A directory that claims to hide what is below it, a file that claims to be a deletion: both
/// are plain entries of the guest's own, or refused.
fn marks(s: Setting) {
    let project = Project::new();
    let world = project.workspace(s.policy);
    let marked = world.run(act("shared", &["own_mark", &project.name("sub")]));
    assert!(marked.success());
    assert_eq!(world.sh("cat sub/deep/file"), "deep below");
    let made = world.said(act("shared", &["make_whiteout", &project.name("gone")]));
    assert_eq!(made, "errno EPERM");
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
    let error = refusal(project.config(s.policy));
    project.on_the_host("umount sub/deep");
    assert_eq!(error.code(), "KV-INVALID-CONFIG");
    assert!(error.to_string().contains("is mounted below"), "{error}");
    project.workspace(s.policy);
}

fn unfiltered(_: Setting) {
    let project = Project::new();
    project.on_the_host("mkdir work changes");
    let mut policy = SandboxPolicy::basic();
    policy.syscall_filter.profile = None;
    let upper = Upper::Directory(project.path("changes"));
    let workspace = Workspace::new(project.path("work")).upper(upper);
    let config = SandboxConfig::builder().policy(policy.clone());
    let error = refusal(config.workspace(workspace));
    assert!(error.to_string().contains("system call filter"), "{error}");
    assert_eq!(fs::read_dir(project.path("changes")).unwrap().count(), 0);
    let config = SandboxConfig::builder()
        .policy(policy)
        .write_through(project.path("work"));
    let error = refusal(config);
    assert!(error.to_string().contains("system call filter"), "{error}");
}
