//! What changes between the look and the use: arguments in memory, paths, and the program that a
//! process runs.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use kavach::{Command, Sandbox, SandboxState};

use crate::doors::{closed, lacks};
use crate::harness::{Setting, Suite};
use crate::project::Project;
use crate::world::{ISOLATING, TempDir, World, act, builder, config, policy};

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("races");
    let missing = |_| lacks("setuid", &["openat2", "4755", "/tmp"]);
    suite.each_needing("control_mode_of_openat2", &["noop"], missing, |s| {
        mode(s, "EFFECT");
    });
    suite.each("mode_of_openat2", &ISOLATING, |s| mode(s, "errno ENOSYS"));
    let missing = |_| closed("newuser");
    suite.each_needing("control_flags_of_clone3", &["noop"], missing, |s| {
        flags(s, "EFFECT");
    });
    suite.each("flags_of_clone3", &ISOLATING, |s| flags(s, "errno ENOSYS"));
    suite.each(
        "control_the_program_of_a_process",
        &["noop"],
        program_control,
    );
    suite.each("the_program_of_pid_1", &ISOLATING, |s| {
        let said = World::of(s.policy).said(act("race", &["exe_of", "1"]));
        assert_eq!(said, "errno ENOENT");
    });
    suite.each(
        "the_program_that_starts_others",
        &["minimal", "basic", "strict"],
        interpreter,
    );
    suite.each("control_a_swapped_directory", &["noop"], swapped_control);
    suite.each(
        "a_swapped_directory_shows_nothing_else",
        &ISOLATING,
        swapped,
    );
    suite.each("control_an_ancestor_is_renamed", &["noop"], |s| {
        renamed(s, "new");
    });
    suite.each("an_ancestor_is_renamed", &ISOLATING, |s| renamed(s, "old"));
}

fn mode(s: Setting, expected: &str) {
    let path = format!("/tmp/kavach-race-{}", std::process::id());
    assert_eq!(
        World::of(s.policy).said(act("race", &["mode_of_openat2", &path])),
        expected
    );
}

fn flags(s: Setting, expected: &str) {
    assert_eq!(
        World::of(s.policy).said(act("race", &["flags_of_clone3"])),
        expected
    );
}

/// A program of the guest's own, overwritten through `/proc/PID/exe` once it has ended.
fn program_control(s: Setting) {
    let dir = TempDir::new();
    let own = dir.0.join("own");
    fs::copy("/bin/sleep", &own).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
    let said = World::of(s.policy).said(act("race", &["exe_of_a_child", own.to_str().unwrap()]));
    assert_eq!(said, "EFFECT");
    assert!(fs::read(&own).unwrap().starts_with(b"taken"));
}

/// CVE-2019-5736: a program that names `/proc/self/exe` as its interpreter would be run by the
/// very program that starts it, the agent, which the guest could then take hold of. The agent is a
/// sealed file of no directory: whatever becomes of it, the next command runs as ever.
fn interpreter(s: Setting) {
    let world = World::of(s.policy);
    let dir = match s.policy {
        // The view is the host's, of which an ordinary guest may write but little.
        "minimal" => "/dev/shm",
        _ => "/tmp",
    };
    let path = format!("{dir}/kavach-exe-{}", std::process::id());
    let script = "printf '#!/proc/self/exe\\n' > $0 && chmod 755 $0";
    world.said(Command::new("/bin/sh").args(["-c", script, &path]));
    // It must end by itself, as the agent with nobody to serve.
    let result = world.try_run(Command::new(&path).timeout_ms(20_000));
    if let Ok(result) = result {
        assert!(!result.success() && !result.timed_out, "{result:?}");
    }
    let all =
        "for p in /proc/[0-9]*; do (echo taken > $p/exe) 2>/dev/null && echo wrote $p; done; true";
    assert_eq!(world.sh(all), "");
    world.sh(&format!("rm -f {path}"));
    assert_eq!(world.said("echo as ever"), "as ever");
    assert_eq!(World::of("strict").said("echo as ever"), "as ever");
}

/// Two directories that change places all the time, one of them a link to what nobody may see.
struct Swapping {
    project: Project,
}

const SECRET: &str = "kavach-canary-behind-a-link";

impl Swapping {
    fn new() -> Self {
        let project = Project::new();
        project.write("secret/file", SECRET);
        project.write("shown/file", "harmless");
        fs::create_dir(project.path("other")).unwrap();
        fs::remove_dir(project.path("other")).unwrap();
        symlink(project.path("secret"), project.path("other")).unwrap();
        Self { project }
    }

    /// Exchanges them without pause while `body` runs.
    fn during(&self, body: impl FnOnce()) {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let over = AtomicBool::new(false);
        let (shown, other) = (self.project.path("shown"), self.project.path("other"));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    renameat_with(CWD, &shown, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                }
            });
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            over.store(true, Ordering::Relaxed);
            done.unwrap_or_else(|e| std::panic::resume_unwind(e));
        });
    }
}

/// Who follows the name sees now the one and now the other.
fn swapped_control(_: Setting) {
    let swapping = Swapping::new();
    let file = swapping.project.path("shown/file");
    swapping.during(
        || {
            while fs::read_to_string(&file).ok().as_deref() != Some(SECRET) {}
        },
    );
}

/// A rootfs and a directory to write through are opened without following links: at whatever
/// moment the link is there, the secret is not shown. (A read path may be a link, and is followed
/// once: see `refused::a_read_path_through_a_link`.)
fn swapped(s: Setting) {
    let swapping = Swapping::new();
    let shown = swapping.project.path("shown");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let (mut made, mut refused) = (0, 0);
    swapping.during(|| {
        for _ in 0..40 {
            let config = config(s.policy).write_through(&shown).build();
            runtime.block_on(async {
                let Ok(mut sandbox) = Sandbox::create(config).await else {
                    refused += 1;
                    return;
                };
                made += 1;
                sandbox.transition(SandboxState::Running).unwrap();
                let said = sandbox
                    .exec(Command::new("cat").arg(shown.join("file")))
                    .await
                    .unwrap();
                assert!(!said.stdout.contains(SECRET), "{}", said.stdout);
                sandbox.destroy().await.unwrap();
            });
        }
    });
    assert_eq!(made + refused, 40);
    assert!(refused > 0, "the link was met");
}

/// Below a writable directory of the sandbox lies a directory that may only be read. The guest
/// renames what is above it and puts its own in its place: what it then finds under the old name
/// is its own, and the shown one is as read-only as before under its new name.
fn renamed(s: Setting, expected: &str) {
    let host = TempDir::new();
    let shown = host.0.join("above/shown");
    fs::create_dir_all(&shown).unwrap();
    fs::write(shown.join("file"), "old").unwrap();
    let open = fs::Permissions::from_mode(0o777);
    for path in [&host.0, &host.0.join("above"), &shown] {
        fs::set_permissions(path, open.clone()).unwrap();
    }
    fs::set_permissions(shown.join("file"), fs::Permissions::from_mode(0o666)).unwrap();
    let world = match s.policy {
        "noop" => World::of("noop"),
        name => World::new(builder().policy(policy(name)).read(&shown)),
    };
    let script = "cd $1; mv above aside 2>/dev/null; mkdir -p above/shown; \
                  for f in above/shown/file aside/shown/file; do (echo new > $f) 2>/dev/null; done; true";
    let dir = host.0.to_str().unwrap().to_owned();
    world.said(Command::new("/bin/sh").args(["-c", script, "sh", &dir]));
    let places = [host.0.join("aside/shown/file"), shown.join("file")];
    let file = places
        .iter()
        .find(|path| fs::metadata(path).is_ok_and(|m| m.size() > 0));
    let text = fs::read_to_string(file.unwrap()).unwrap();
    assert_eq!(text.trim_end(), expected);
}
