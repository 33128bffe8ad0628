//! What a user keeps for themselves alone: keys of agents and clouds, sockets that are as good as
//! root, keyrings, and everything that was not there when the sandbox was made.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use kavach::Command;

use crate::doors::lacks;
use crate::harness::{Setting, Suite, Who};
use crate::project::Project;
use crate::world::{ISOLATING, TempDir, World, act, config, mark};

/// Where programs keep secrets, below a home.
const FILES: [&str; 10] = [
    ".ssh/id_ed25519",
    ".ssh/config",
    ".aws/credentials",
    ".config/gcloud/application_default_credentials.json",
    ".azure/accessTokens.json",
    ".kube/config",
    ".docker/config.json",
    ".git-credentials",
    ".netrc",
    ".gnupg/private-keys-v1.d/key",
];

/// Sockets that give whoever connects what their owner has.
const SOCKETS: [&str; 5] = [
    "docker.sock",
    "containerd/containerd.sock",
    "podman/podman.sock",
    "dbus/system_bus_socket",
    "ssh-agent.sock",
];

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("secrets");
    suite.each("control_files_in_the_callers_home", &["noop"], |s| {
        files(s, FILES.len())
    });
    suite.each("files_in_the_callers_home", &ISOLATING, |s| files(s, 0));
    suite.each("control_sockets_of_services", &["noop"], |s| {
        let host = TempDir::new();
        sockets(s, &host.0, true);
    });
    suite.each("sockets_of_services", &ISOLATING, |s| {
        let host = TempDir::new();
        sockets(s, &host.0, false);
    });
    let missing = |_: Who| no_keyring();
    suite.each_needing("control_a_key_of_the_user", &["noop"], missing, |s| {
        key(s, "EFFECT")
    });
    suite.each_needing("a_key_of_the_user", &ISOLATING, missing, |s| {
        key(s, "errno EPERM")
    });
    suite.each("control_what_is_absent_can_be_made", &["noop"], |s| {
        absent(s, true)
    });
    suite.each("what_is_absent_cannot_be_made", &ISOLATING, |s| {
        absent(s, false)
    });
    // Where such sockets really are; only root makes a directory there.
    suite.subject_for("secrets", &[Who::Root]);
    suite.each("control_sockets_below_run", &["noop"], |s| {
        below_run(s, true)
    });
    suite.each("sockets_below_run", &ISOLATING, |s| below_run(s, false));
}

fn files(s: Setting, readable: usize) {
    let home = Project::new();
    for file in FILES {
        home.write(file, "kavach-canary");
    }
    let world = World::of(s.policy);
    let paths = FILES.map(|file| home.name(file));
    let found = world.run(Command::new("cat").args(paths)).stdout;
    assert_eq!(found.matches("kavach-canary").count(), readable);
}

fn sockets(s: Setting, below: &std::path::Path, reached: bool) {
    for name in SOCKETS {
        let path = below.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let name = path.to_str().unwrap();
        let world = World::of(s.policy);
        let said = world.said(act("net", &["path", name]));
        assert_eq!(said == "EFFECT", reached, "{name}: {said}");
        assert_eq!(world.run(Command::new("ls").arg(name)).success(), reached);
        listener.set_nonblocking(true).unwrap();
        assert_eq!(
            listener.accept().is_ok(),
            reached,
            "what the host has heard"
        );
    }
}

fn below_run(s: Setting, reached: bool) {
    let path = std::path::PathBuf::from(format!("/run/kavach-trial-{}", std::process::id()));
    fs::create_dir(&path).unwrap();
    let done = std::panic::catch_unwind(|| sockets(s, &path, reached));
    fs::remove_dir_all(&path).unwrap();
    done.unwrap_or_else(|e| std::panic::resume_unwind(e));
}

/// What keeps a user from leaving a key for its other processes.
fn no_keyring() -> Option<String> {
    lacks("kernel", &["key_find", "none"]).or_else(|| {
        (leave_key(&mark()) != b"EFFECT\n").then(|| {
            "a session keyring with the user's in it: systemd's services have a private one".into()
        })
    })
}

fn leave_key(name: &str) -> Vec<u8> {
    std::process::Command::new(crate::world::guest("kernel"))
        .args(["key_leave", name])
        .output()
        .unwrap()
        .stdout
}

/// A key that the user left where every process of the user finds it.
fn key(s: Setting, expected: &str) {
    let name = mark();
    assert_eq!(leave_key(&name), b"EFFECT\n");
    assert_eq!(
        World::of(s.policy).said(act("kernel", &["key_find", &name])),
        expected
    );
}

/// CVE-2026-25725: what did not exist when the sandbox was made was not protected either. Nothing
/// is protected by its name here: what is not writable is a mount as a whole.
fn absent(s: Setting, made: bool) {
    let host = TempDir::new();
    fs::set_permissions(&host.0, fs::Permissions::from_mode(0o777)).unwrap();
    let file = host.0.join(".profile");
    let world = match s.policy {
        "noop" => World::of("noop"),
        policy => World::new(config(policy).read(&host.0)),
    };
    let file = file.to_str().unwrap();
    // As a file, as a directory, and as another file under its name.
    for how in [
        "echo x > $0",
        "mkdir $0",
        "echo x > /tmp/kavach-moved-$$ && mv /tmp/kavach-moved-$$ $0",
    ] {
        let result = world.run(Command::new("/bin/sh").args(["-c", how, file]));
        assert_eq!(result.success(), made, "{how}: {}", result.stderr);
        assert_eq!(fs::symlink_metadata(file).is_ok(), made);
        world.run(Command::new("rm").args(["-rf", file]));
    }
    if made {
        return;
    }
    // `strict` alone makes the sandbox's own root read-only.
    let own = match s.policy {
        "strict" => "/etc/ld.so.preload /etc/profile.d/x.sh /root/.bashrc",
        _ => "",
    };
    let system = format!(
        "for f in /usr/local/bin/ls /usr/lib/x.so /bin/x {own}; do (echo x > $f) 2>/dev/null && echo made $f; \
         mkdir -p $f 2>/dev/null && echo made $f; done; true"
    );
    assert_eq!(world.sh(&system), "");
}
