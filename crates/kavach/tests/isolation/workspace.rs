//! A workspace: programs work in it as they do anywhere, and the host's directory stays as it is.

use std::fs;
use std::os::unix::fs::MetadataExt;

use kavach::config::{SandboxConfigBuilder, Upper};
use kavach::workspace::ApplyOptions;
use kavach::{Command, Control, ControlState, SandboxPolicy, Termination, Workspace};

use crate::harness::{Setting, Suite, Who, program};
use crate::project::{Kept, Project};
use crate::world::{ISOLATING, World, builder, config, refusal};

pub(crate) fn add(suite: &mut Suite) {
    for kept in Kept::BOTH {
        let mut each = |name: &str, policies: &[&'static str], body: fn(Setting, Kept)| {
            in_both(suite, kept, name, policies, None, body);
        };
        each(
            "files_are_changed_inside_and_stay_outside",
            &ISOLATING,
            changes,
        );
        each("commands_start_in_it_and_share_it", &ISOLATING, shared);
        each("its_files_are_the_guests_own", &ISOLATING, owner);
        each("a_directory_is_renamed", &ISOLATING, renamed);
        each("a_tree_of_many_small_files", &ISOLATING, many);
        each("sqlite_works_in_it_through_a_map", &ISOLATING, sqlite);
        each("locks_links_and_watches", &ISOLATING, locks);
        each("the_report_says_what_is_seen_of_it", &ISOLATING, report);
        each("what_must_not_come_back_is_refused", &ISOLATING, planted);
        let mut with = |name: &str, needs: &'static str, body: fn(Setting, Kept)| {
            in_both(suite, kept, name, &ISOLATING, Some(needs), body);
        };
        with("git_works_in_it", "/usr/bin/git", git);
        with("make_builds_in_it", "/usr/bin/make", make);
        with("a_session_comes_back_by_an_apply", "/usr/bin/git", session);
    }
    suite.subject("workspace");
    let memory = |_: Who| Kept::Memory.lacks();
    let mut each = |name: &str, policies: &[&'static str], body: fn(Setting)| {
        suite.each_needing(name, policies, memory, body);
    };
    // `minimal` too gives a workspace, over the caller's own files.
    each("over_the_callers_own_files", &["minimal"], |s| {
        changes(s, Kept::Memory);
        shared(s, Kept::Memory);
    });
    each("the_quota_of_bytes_holds", &ISOLATING, full);
    each("the_quota_of_files_holds", &ISOLATING, no_inodes);
    each(
        "what_is_written_counts_to_the_memory",
        &ISOLATING,
        memory_limit,
    );
    each("below_a_read_path", &ISOLATING, below_read);
    let disk = |_: Who| Kept::Disk.lacks();
    suite.each_needing("an_upper_directory_stays", &ISOLATING, disk, on_disk);
}

/// A trial of a workspace whose changes are kept here.
fn in_both(
    suite: &mut Suite,
    kept: Kept,
    name: &str,
    policies: &[&'static str],
    needs: Option<&'static str>,
    body: fn(Setting, Kept),
) {
    suite.subject(match kept {
        Kept::Memory => "workspace_memory",
        Kept::Disk => "workspace_disk",
    });
    let missing = move |_: Who| kept.lacks().or_else(|| needs.and_then(program));
    suite.each_needing(name, policies, missing, move |s| body(s, kept));
}

/// Runs a script inside, and checks that the host's directory is as it was.
pub(crate) fn untouched(s: Setting, kept: Kept, project: &Project, script: &str) -> String {
    let before = project.state();
    let world = project.workspace(s.policy, kept);
    let said = world.sh(&format!("set -e; {script}"));
    drop(world);
    assert_eq!(project.state(), before);
    said
}

fn changes(s: Setting, kept: Kept) {
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
        untouched(s, kept, &project, script),
        "belowdeep belowchanged\ndeep belowmore\nnew\nchanged\ndir link new sub symbolic link"
    );
}

fn shared(s: Setting, kept: Kept) {
    let project = Project::new();
    let world = project.workspace(s.policy, kept);
    assert_eq!(world.said("pwd"), project.0.to_str().unwrap());
    world.sh("echo kept > note");
    assert_eq!(
        world.said(Command::new("cat").arg(project.name("note"))),
        "kept"
    );
    assert!(!project.path("note").exists());
}

fn owner(s: Setting, kept: Kept) {
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
        let said = untouched(s, kept, &project, script);
        assert_eq!(said, "1000\n1000\n1000 1000\n1000 1000", "owner {owner}");
    }
}

/// The kernel answers EXDEV for a directory from below; programs then copy it.
fn renamed(s: Setting, kept: Kept) {
    let project = Project::new();
    let script = "mv sub moved; cat moved/deep/file; ls; mkdir made; mv made again; ls -d again; \
                  python3 -c 'import shutil; shutil.move(\"moved\", \"twice\")'; cat twice/deep/file";
    assert_eq!(
        untouched(s, kept, &project, script),
        "deep belowfile\nmoved\nagain\ndeep below"
    );
}

const GIT: &str = "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a \
                   GIT_COMMITTER_EMAIL=a@b; ";

fn git(s: Setting, kept: Kept) {
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
        untouched(s, kept, &project, &script),
        ".M file\nsecond\nfirst\ndeep below3"
    );
}

fn make(s: Setting, kept: Kept) {
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
    assert_eq!(untouched(s, kept, &project, script), "works\nagain\n2");
}

/// As a package manager does: unpack, remove, unpack again, in directories that are below too.
fn many(s: Setting, kept: Kept) {
    let project = Project::new();
    project.on_the_host(
        "for i in $(seq 40); do mkdir -p modules/m$i/lib; for j in $(seq 25); do \
         echo $i.$j > modules/m$i/lib/f$j.js; done; done",
    );
    let script = "find modules -type f | wc -l; tar -cf /tmp/m.tar modules; rm -rf modules; \
                  tar -xf /tmp/m.tar; cat modules/m7/lib/f7.js; rm -r modules/m1*; mkdir modules/m1; \
                  ls modules | wc -l; ls -A modules/m1 | wc -l; find modules -type f | wc -l; \
                  cp -r modules copy; find copy -type f -exec cat {} + | wc -l";
    assert_eq!(
        untouched(s, kept, &project, script),
        "1000\n7.7\n30\n0\n725\n725"
    );
}

fn sqlite(s: Setting, kept: Kept) {
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
    let world = project.workspace(s.policy, kept);
    let said = world.said(Command::new("/usr/bin/python3").args(["-c", script]));
    assert_eq!(said, "wal\n268435456\n12502500\nok\nBELOW");
    assert_eq!(project.state(), before);
}

fn locks(s: Setting, kept: Kept) {
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
    let world = project.workspace(s.policy, kept);
    let said = world.said(Command::new("/usr/bin/python3").args(["-c", script]));
    assert_eq!(said, "other 1\nlinks 2 True\nevent True\nsame True");
    assert_eq!(project.state(), before);
}

fn full(s: Setting) {
    let project = Project::new();
    let world = World::new(project.config(s.policy, Kept::Memory).workspace_mb(2));
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
    let config = builder().policy(policy);
    let world = World::new(config.workspace(Workspace::new(&project.0)));
    let script = "for i in $(seq 200); do (: > f$i) 2>/dev/null || break; done; echo $i";
    let made: u32 = world.sh(script).parse().unwrap();
    assert!((32..=72).contains(&made), "{made}");
}

fn memory_limit(s: Setting) {
    let project = Project::new();
    let mut policy = SandboxPolicy::from_preset(s.policy).unwrap();
    policy.limits.memory_mb = Some(64);
    policy.accept_approximate.insert(Control::Memory);
    let config = builder().policy(policy);
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
    let made = project.path("changes/layers/upper/sub/n");
    assert_eq!(fs::read_to_string(&made).unwrap(), "one\n");
    let owner = fs::metadata(project.path("changes")).unwrap().uid();
    let layers = fs::metadata(project.path("changes/layers")).unwrap();
    assert_eq!((layers.mode() & 0o7777, layers.uid()), (0o700, owner));
    assert_eq!(fs::metadata(&made).unwrap().uid(), owner);
    let world = World::new(config());
    let error = refusal(config());
    assert!(error.to_string().contains("in use by another"), "{error}");
    assert_eq!(
        world.sh("cat file sub/n; ls sub; stat -c %a ."),
        "two\none\nn\n700"
    );
}

fn on(project: &Project, policy: &str) -> SandboxConfigBuilder {
    let upper = Upper::Directory(project.path("changes"));
    config(policy).workspace(Workspace::new(project.path("work")).upper(upper))
}

/// As root, the project is an ordinary user's.
fn owned(s: Setting) -> (Project, u32) {
    let project = Project::new();
    if !s.who.is_root() {
        return (project, rustix::process::geteuid().as_raw());
    }
    project.on_the_host("chown -R 4242:4242 .");
    (project, 4242)
}

fn session(s: Setting, kept: Kept) {
    let (project, owner) = owned(s);
    project.on_the_host(&format!(
        "{GIT} git init -q .; git -c safe.directory='*' add .; git -c safe.directory='*' commit -q \
         -m first"
    ));
    if s.who.is_root() {
        project.on_the_host("chown -R 4242:4242 .git");
    }
    let mut world = project.workspace(s.policy, kept);
    let script = format!(
        "set -e; {GIT} printf 'int main(void) {{ return 7; }}' > main.c; gcc -o main main.c; \
         python3 -c 'open(\"report.txt\", \"w\").write(\"six times seven\")'; git rm -q sub/deep/file; \
         echo main > .gitignore; git add -A; git commit -qm second; ./main || echo $?"
    );
    assert_eq!(world.sh(&script), "7");
    let changes = world.changes();
    let listed = |path: &str| changes.iter().any(|c| c.path.to_string() == path);
    for path in [
        "main.c",
        "main",
        "report.txt",
        ".gitignore",
        "sub/deep/file",
        ".git/index",
    ] {
        assert!(listed(path), "{path} in {changes:?}");
    }
    assert!(!listed("file"), "{changes:?}");
    let applied = world.apply(ApplyOptions::new());
    assert!(applied.is_complete(), "{:?}", applied.refused);
    world.destroy();
    drop(world);
    project.on_the_host(&format!(
        "test -z \"$(find . ! -uid {owner} -o ! -gid {owner})\""
    ));
    project.on_the_host(
        "git -c safe.directory='*' fsck --strict 2>&1; test \"$(git -c safe.directory='*' log \
         --format=%s | tr '\\n' ' ')\" = 'second first '; test -z \"$(git -c safe.directory='*' \
         status --porcelain)\"; ./main || test $? = 7; test \"$(cat report.txt)\" = 'six times seven'",
    );
}

/// Inside the overlay a guest may make what it likes; the way back is closed to some of it.
fn planted(s: Setting, kept: Kept) {
    let (project, owner) = owned(s);
    let before = project.state();
    let world = project.workspace(s.policy, kept);
    let made = world.sh(
        "mkfifo pipe; ln -s /etc/shadow absolute; ln -s ../../outside out; echo fine > fine; \
         chmod 6755 fine 2>/dev/null || echo no bits",
    );
    assert_eq!(made, "no bits");
    let applied = world.apply(ApplyOptions::new());
    let refused: Vec<_> = applied.refused.iter().map(|r| r.path.to_string()).collect();
    assert_eq!(refused, ["absolute", "out", "pipe"]);
    drop(world);
    let meta = fs::metadata(project.path("fine")).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (owner, 0o644));
    fs::remove_file(project.path("fine")).unwrap();
    // All else is as it was, but for the time of the directory itself.
    let after = project.state();
    assert_eq!(before[..before.len() - 1], after[..after.len() - 1]);
}

fn report(s: Setting, kept: Kept) {
    let project = Project::new();
    let world = project.workspace(s.policy, kept);
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
    assert_eq!(disk.state, ControlState::Enforced);
    let size = if s.policy == "strict" { 256 } else { 1024 };
    let (asked, seen) = match kept {
        Kept::Memory => (
            format!("workspace {size} MiB"),
            format!("{} size={}k,", project.0.display(), size * 1024),
        ),
        Kept::Disk => (
            format!("no quota for what goes to {}", project.changes().display()),
            "/tmp size=".to_owned(),
        ),
    };
    assert!(disk.requested.contains(&asked), "{}", disk.requested);
    assert!(disk.evidence.contains(&seen), "{}", disk.evidence);
    let plain = World::of(s.policy);
    assert_eq!(world.sandbox.strength(), plain.sandbox.strength());
}
