//! Real sandboxes: a project as workspace, programs that work in it, changes, apply.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use kavach::audit::{AuditEvent, AuditHook, AuditKind, Decision};
use kavach::workspace::{Change, Refusal, Review};
use kavach::{
    ApplyOptions, Command, KavachError, Sandbox, SandboxConfig, SandboxPolicy, SandboxState,
    Workspace,
};
use libtest_mimic::Trial;

use crate::applying::refused;
use crate::common::{is_root, test_with};
use crate::overlay::{Dir, no_overlay};

pub(crate) fn trials() -> Vec<Trial> {
    let program = |path: &'static str| {
        let missing = (!Path::new(path).exists()).then_some(path);
        missing.map(|_| format!("{path}: `make setup` installs it"))
    };
    let tools = ["/usr/bin/git", "/usr/bin/python3", "/usr/bin/gcc"];
    let tools = tools.into_iter().find_map(program);
    vec![
        test_with(
            "session::a_repository_is_worked_in_and_applied",
            tools.as_deref().or(no_overlay()),
            repository,
        ),
        test_with(
            "session::what_is_planted_is_refused_by_name",
            no_overlay(),
            planted,
        ),
        test_with("session::states_and_errors", no_overlay(), states),
        test_with("session::hooks_are_asked_and_told", no_overlay(), hooks),
        test_with(
            "session::the_guest_stands_still_meanwhile",
            no_overlay(),
            stands_still,
        ),
        test_with(
            "session::the_end_of_the_sandbox_ends_the_apply",
            no_overlay(),
            ended_meanwhile,
        ),
        test_with(
            "session::a_sandbox_goes_on_after_an_apply",
            no_overlay(),
            goes_on,
        ),
    ]
}

fn run<T>(body: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(body)
}

/// A workspace of somebody's own; as root, of a user who is not root.
struct Project {
    dir: Dir,
    owner: (u32, u32),
}

impl Project {
    fn new() -> Self {
        let dir = Dir::new();
        let me = rustix::process::geteuid().as_raw();
        let group = rustix::process::getegid().as_raw();
        let owner = if is_root() { (1234, 1234) } else { (me, group) };
        let project = Self { dir, owner };
        project.host("mkdir project; cd project; printf 'one\\n' > file; mkdir dir; : > dir/x");
        project
    }

    fn path(&self) -> PathBuf {
        self.dir.0.join("project")
    }

    fn config(&self, policy: SandboxPolicy) -> SandboxConfig {
        SandboxConfig::builder()
            .policy(policy)
            .workspace(Workspace::new(self.path()))
            .build()
    }

    async fn running(&self, preset: &str) -> Sandbox {
        let policy = SandboxPolicy::from_preset(preset).unwrap();
        let mut sandbox = Sandbox::create(self.config(policy)).await.unwrap();
        sandbox.transition(SandboxState::Running).unwrap();
        sandbox
    }

    /// Runs a script on the host, as the owner.
    #[track_caller]
    fn host(&self, script: &str) -> String {
        chown(&self.dir.0, Some(self.owner.0), Some(self.owner.1)).unwrap();
        let mut command = std::process::Command::new("sh");
        if is_root() {
            use std::os::unix::process::CommandExt as _;
            command.uid(self.owner.0).gid(self.owner.1);
        }
        let done = command
            .args(["-ec", &format!("umask 022; {script}")])
            .current_dir(&self.dir.0)
            .env("HOME", &self.dir.0)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{script}: {said}");
        String::from_utf8(done.stdout).unwrap()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }
}

/// Runs a script in the sandbox.
async fn guest(sandbox: &Sandbox, script: &str) -> String {
    let done = sandbox.exec(Command::shell(script)).await.unwrap();
    assert_eq!(done.exit_code, 0, "{script}: {}", done.stderr);
    done.stdout
}

const GIT: &str = "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a \
                   GIT_COMMITTER_EMAIL=a@b;";

fn repository() {
    let project = Project::new();
    project.host(&format!(
        "{GIT} cd project; git init -q; printf 'int main(void) {{ return 7; }}\\n' > main.c
         git add .; git commit -qm first"
    ));
    run(async {
        let mut sandbox = project.running("strict").await;
        guest(
            &sandbox,
            &format!(
                "{GIT} /usr/bin/python3 -c 'import pathlib
pathlib.Path(\"generated.py\").write_text(\"print(1)\\n\")
text = pathlib.Path(\"main.c\").read_text()
pathlib.Path(\"main.c\").write_text(text.replace(\"7\", \"42\"))'
                 gcc -o program main.c
                 git rm -q dir/x; git mv file moved; git add main.c generated.py
                 git commit -qm second; git gc -q
                 printf '#!/bin/sh\\ntouch /tmp/owned\\n' > .git/hooks/post-checkout
                 chmod +x .git/hooks/post-checkout; git config core.fsmonitor ./evil"
            ),
        )
        .await;
        let changes = sandbox.changes().await.unwrap();
        let of = |path: &str| {
            let change = changes.iter().find(|c| c.path.to_string() == path);
            change.map(|c| c.kind.as_str())
        };
        assert_eq!(of("main.c"), Some("changed"));
        assert_eq!(of("program"), Some("added"));
        assert_eq!(of("file"), Some("deleted"));
        assert_eq!(of("moved"), Some("added"));
        assert_eq!(of("dir"), Some("deleted"));
        // Nothing has happened to the host so far.
        assert_eq!(project.read("file"), "one\n");
        let done = sandbox.apply(ApplyOptions::new()).await.unwrap();
        assert_eq!(
            refused(&done),
            [
                ".git/config protected",
                ".git/hooks/post-checkout protected"
            ]
        );
        sandbox.destroy().await.unwrap();
    });
    let host = |script: &str| project.host(&format!("cd project; {script}"));
    assert_eq!(host("git log --format=%s"), "second\nfirst\n");
    assert_eq!(host("git status --porcelain"), "?? program\n");
    assert_eq!(host("git fsck --strict 2>&1"), "");
    assert_eq!(host("./program || echo $?"), "42\n");
    assert_eq!(project.read("generated.py"), "print(1)\n");
    for entry in [
        "program",
        "generated.py",
        "main.c",
        ".git/HEAD",
        ".git/packed-refs",
    ] {
        let meta = fs::metadata(project.path().join(entry)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), project.owner, "{entry}");
    }
}

fn planted() {
    let project = Project::new();
    run(async {
        // Without the filter, which would keep most of this from being made at all.
        let mut policy = SandboxPolicy::basic();
        policy.syscall_filter.profile = None;
        let mut sandbox = Sandbox::create(project.config(policy)).await.unwrap();
        sandbox.transition(SandboxState::Running).unwrap();
        guest(
            &sandbox,
            "cp /bin/true suid; chmod 4755 suid; mkfifo pipe; ln -s /etc/shadow absolute
             ln -s ../../../etc/shadow dotdot; echo good > good
             /usr/bin/python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'",
        )
        .await;
        let done = sandbox.apply(ApplyOptions::new()).await.unwrap();
        assert_eq!(
            refused(&done),
            [
                "absolute absolute_link",
                "dotdot escaping_link",
                "pipe special",
                "socket special",
                "suid special_bits",
            ]
        );
        sandbox.destroy().await.unwrap();
    });
    let names = project.host("cd project; ls");
    assert_eq!(names, "dir\nfile\ngood\n");
}

fn states() {
    let project = Project::new();
    run(async {
        let policy = SandboxPolicy::basic();
        let mut sandbox = Sandbox::create(project.config(policy.clone()))
            .await
            .unwrap();
        let code = |e: KavachError| e.code();
        assert_eq!(sandbox.changes().await.map_err(code), Err("KV-NOT-RUNNING"));
        sandbox.transition(SandboxState::Running).unwrap();
        guest(&sandbox, "echo more >> file").await;
        assert_eq!(sandbox.handle().changes().await.unwrap().len(), 1);
        sandbox.transition(SandboxState::Stopped).unwrap();
        assert_eq!(sandbox.changes().await.unwrap().len(), 1);
        let done = sandbox.apply(ApplyOptions::new()).await.unwrap();
        assert_eq!((done.applied.len(), done.stood_still), (1, true));
        assert_eq!(project.read("file"), "one\nmore\n");
        sandbox.destroy().await.unwrap();
        let applied = sandbox.apply(ApplyOptions::new()).await;
        assert_eq!(applied.map_err(code), Err("KV-NOT-RUNNING"));

        let config = SandboxConfig::builder().policy(policy).build();
        let mut sandbox = Sandbox::create(config).await.unwrap();
        sandbox.transition(SandboxState::Running).unwrap();
        let e = sandbox.apply(ApplyOptions::new()).await.unwrap_err();
        assert_eq!(
            e.to_string(),
            "cannot apply changes: the sandbox has no workspace"
        );
        let e = sandbox.changes().await.unwrap_err();
        assert_eq!(e.code(), "KV-NO-WORKSPACE");
    });
}

/// Notes what it is told; forbids the first apply.
#[derive(Default)]
struct Hook(Mutex<Vec<String>>);

impl AuditHook for Hook {
    fn name(&self) -> &str {
        "test"
    }

    fn before(&self, event: &AuditEvent) -> Decision {
        match event.kind {
            AuditKind::Apply { listed } => {
                let mut seen = self.0.lock().unwrap();
                seen.push(format!("apply {listed:?}"));
                if seen.len() == 1 {
                    return Decision::Veto("not yet".into());
                }
                Decision::Allow
            }
            _ => Decision::Allow,
        }
    }

    fn after(&self, event: &AuditEvent) {
        let text = match &event.kind {
            AuditKind::Applied { outcome } => {
                format!("applied {:?} {:?}", outcome.applied.len(), refused(outcome))
            }
            AuditKind::ApplyFailed { code } => format!("failed {code}"),
            _ => return,
        };
        self.0.lock().unwrap().push(text);
    }
}

fn hooks() {
    let project = Project::new();
    let hook = Arc::new(Hook::default());
    run(async {
        let config = SandboxConfig::builder()
            .workspace(Workspace::new(project.path()))
            .hook(hook.clone())
            .build();
        let mut sandbox = Sandbox::create(config).await.unwrap();
        sandbox.transition(SandboxState::Running).unwrap();
        guest(&sandbox, "echo more >> file; ln -s /etc l").await;
        let e = sandbox.apply(ApplyOptions::new()).await.unwrap_err();
        assert_eq!(
            e.to_string(),
            "vetoed by the hook `test`: apply the changes of the workspace: not yet"
        );
        assert_eq!(project.read("file"), "one\n");
        let listed = sandbox.changes().await.unwrap();
        let busy = File::open(project.path()).unwrap();
        busy.lock().unwrap();
        let e = sandbox.apply(ApplyOptions::new()).await.unwrap_err();
        assert_eq!(e.code(), "KV-WORKSPACE-BUSY");
        drop(busy);
        sandbox
            .apply(ApplyOptions::new().changes(listed))
            .await
            .unwrap();
        sandbox.destroy().await.unwrap();
    });
    assert_eq!(
        *hook.0.lock().unwrap(),
        [
            "apply None",
            "apply None",
            "failed KV-WORKSPACE-BUSY",
            "apply Some(2)",
            "applied 1 [\"l absolute_link\"]",
        ]
    );
}

/// A review that waits at its first question, until it is told to go on.
struct Gate {
    reached: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

impl Gate {
    fn new() -> (Arc<Self>, Receiver<()>, Sender<()>) {
        let (reached, is_reached) = channel();
        let (go_on, goes_on) = channel();
        let gate = Self {
            reached,
            go_on: Mutex::new(goes_on),
        };
        (Arc::new(gate), is_reached, go_on)
    }
}

impl Review for Gate {
    fn review(&self, _: &Change, _: Option<&File>) -> Decision {
        // Nobody waits any more after the first.
        let _ = self.reached.send(());
        let _ = self.go_on.lock().unwrap().recv();
        Decision::Allow
    }
}

fn stands_still() {
    let project = Project::new();
    run(async {
        let mut sandbox = project.running("basic").await;
        let can_pause = match sandbox.transition(SandboxState::Paused) {
            Ok(()) => true,
            Err(KavachError::Unsupported { .. }) => false,
            Err(e) => panic!("{e}"),
        };
        if can_pause {
            sandbox.transition(SandboxState::Running).unwrap();
        }
        guest(
            &sandbox,
            "echo x > count; (while :; do echo x >> count; done) >/dev/null 2>&1 &",
        )
        .await;
        let done = sandbox.apply(ApplyOptions::new()).await.unwrap();
        assert_eq!(done.stood_still, can_pause);
        if can_pause {
            // What grows all the time was the same from its listing to its copy.
            assert_eq!(refused(&done), [""; 0]);
        }
        assert_eq!(sandbox.state(), SandboxState::Running);
        // It grows again.
        guest(
            &sandbox,
            "now=$(wc -c < count); while [ $(wc -c < count) -le $now ]; do :; done",
        )
        .await;
    });
}

fn ended_meanwhile() {
    let project = Project::new();
    run(async {
        let sandbox = project.running("basic").await;
        guest(&sandbox, "for i in $(seq 300); do echo $i > new$i; done").await;
        let (gate, reached, go_on) = Gate::new();
        let handle = sandbox.handle();
        let applying =
            std::thread::spawn(move || run(handle.apply(ApplyOptions::new().review(gate))));
        reached.recv().unwrap();
        let handle = sandbox.handle();
        let mut ending = std::pin::pin!(handle.destroy());
        // It waits for the file that is at its review, and for no other.
        tokio::select! {
            biased;
            done = &mut ending => panic!("{done:?}"),
            () = tokio::task::yield_now() => {}
        }
        go_on.send(()).unwrap();
        drop(go_on);
        ending.await.unwrap();
        let done = applying.join().unwrap().unwrap();
        let interrupted = |r: &&kavach::workspace::Refused| r.reason == Refusal::Interrupted;
        assert_eq!(
            done.refused.iter().filter(interrupted).count(),
            done.refused.len()
        );
        assert!(!done.refused.is_empty());
        assert_eq!(done.applied.len() + done.refused.len(), 300);
        let there = fs::read_dir(project.path()).unwrap().count();
        assert_eq!(there, done.applied.len() + 2);
        assert_eq!(sandbox.state(), SandboxState::Destroyed);
        drop(sandbox);
    });
}

fn goes_on() {
    let project = Project::new();
    run(async {
        let mut sandbox = project.running("strict").await;
        for round in ["one", "two", "three"] {
            guest(
                &sandbox,
                &format!(
                    "echo {round} >> file; echo {round} > new; rm -rf made; mkdir -p made/sub
                     echo {round} > made/sub/{round}"
                ),
            )
            .await;
            let done = sandbox.apply(ApplyOptions::new()).await.unwrap();
            assert_eq!(refused(&done), [""; 0], "{round}");
            assert_eq!(sandbox.changes().await.unwrap().len(), 0, "{round}");
            let made = project.host("cd project; ls made/sub; cat new; ls -A");
            assert_eq!(made, format!("{round}\n{round}\ndir\nfile\nmade\nnew\n"));
        }
        assert_eq!(project.read("file"), "one\none\ntwo\nthree\n");
        // The host's own change is kept, and named.
        project.host("cd project; echo host > new");
        guest(&sandbox, "echo guest > new; rm -r made").await;
        let done = sandbox.apply(ApplyOptions::new()).await.unwrap();
        assert_eq!(refused(&done), ["new conflict"]);
        assert_eq!(project.read("new"), "host\n");
        let mode = fs::metadata(project.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        sandbox.destroy().await.unwrap();
    });
}
