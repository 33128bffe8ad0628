//! Where kavach stands when it makes its groups.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::{Failed, Trial};

use crate::bodies::BODIES;
use crate::delegate::{self, Delegated};

/// The ordinary user.
pub(crate) const USER: &str = "kavach-test";

/// A way to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Root, in a service that was given nothing.
    Root,
    /// An ordinary user, by the command that kavach's own hint names.
    Scope,
    /// An ordinary user, in a service of the system with `Delegate=yes`.
    Service,
    /// An ordinary user, in a leaf of a group that root chowned.
    Given,
    /// Root in a cgroup namespace, with the hierarchy as a container shows it.
    Container,
}

const SETTINGS: [(Setting, &str); 5] = [
    (Setting::Root, "root"),
    (Setting::Scope, "scope"),
    (Setting::Service, "service"),
    (Setting::Given, "given"),
    (Setting::Container, "container"),
];

/// Every body in every setting.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (setting, name) in SETTINGS {
        for (body, _) in BODIES {
            trials.push(Trial::test(format!("{name}::{body}"), move || {
                run(setting, body)
            }));
        }
    }
    trials
}

fn run(setting: Setting, body: &str) -> Result<(), Failed> {
    let given = match setting {
        Setting::Given => Some(Delegated::new(USER)?),
        _ => None,
    };
    let container = match setting {
        Setting::Container => Some(Group::new()?),
        _ => None,
    };
    let child = child(body);
    let mut command = match setting {
        Setting::Root => child,
        Setting::Scope => scope(&[], &child),
        Setting::Service => service(&child),
        Setting::Given => delegate::enter(given.as_ref(), &as_user(&child)),
        Setting::Container => inside(container.as_ref(), &child),
    };
    finish(&mut command)?;
    if let Some(given) = given {
        given.remove()?;
    }
    Ok(())
}

/// Runs a command to its end; what it says is the failure.
pub(crate) fn finish(command: &mut Command) -> Result<(), Failed> {
    let output = command.current_dir("/").output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{}\n{}", output.status, String::from_utf8_lossy(&said)).into())
}

/// This program again, as one of the bodies. A copy: it may lie where only root can look.
pub(crate) fn child(body: &str) -> Command {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    let copy = COPY.get_or_init(|| {
        let place = PathBuf::from(format!("/run/kavach-cgroup-v2-{}", std::process::id()));
        fs::copy(std::env::current_exe().unwrap(), &place).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        place
    });
    let mut command = Command::new(copy);
    command.args(["--child", body]);
    command
}

/// `before`, and then the command.
fn then<S: AsRef<OsStr>>(before: &[S], command: &Command) -> Command {
    let (program, args) = before.split_first().expect("a program");
    let mut whole = Command::new(program);
    whole.args(args);
    whole.arg(command.get_program()).args(command.get_args());
    whole
}

pub(crate) fn as_user(command: &Command) -> Command {
    let (user, group) = (format!("--reuid={USER}"), format!("--regid={USER}"));
    let drop = ["--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];
    let words = ["setpriv", &user, &group, drop[0], drop[1], drop[2], "--"];
    then(&words, command)
}

/// `systemd-run --user --scope -p Delegate=yes`, with more properties, from the user's own manager.
pub(crate) fn scope(properties: &[&str], command: &Command) -> Command {
    static MANAGER: OnceLock<u32> = OnceLock::new();
    let id = *MANAGER.get_or_init(|| {
        let id = Command::new("id").args(["-u", USER]).output().unwrap();
        let id = String::from_utf8(id.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let unit = format!("user@{id}.service");
        let started = Command::new("systemctl").args(["start", &unit]).status();
        assert!(started.unwrap().success(), "{unit}");
        id
    });
    let mut words = vec!["systemd-run", "--user", "--scope", "-p", "Delegate=yes"];
    words.extend(["--quiet", "--collect"]);
    words.extend(properties.iter().flat_map(|property| ["-p", property]));
    let mut command = as_user(&then(&words, command));
    let runtime = format!("/run/user/{id}");
    command.env(
        "DBUS_SESSION_BUS_ADDRESS",
        format!("unix:path={runtime}/bus"),
    );
    command.env("XDG_RUNTIME_DIR", runtime);
    command
}

/// A service of the system's manager that runs as the user and was given its group.
pub(crate) fn service(command: &Command) -> Command {
    let user = format!("User={USER}");
    let words = ["systemd-run", "--quiet", "--collect", "--pipe", "--wait"];
    let words = [&words[..], &["-p", "Delegate=yes", "-p", &user]].concat();
    then(&words, command)
}

/// A group of root's own.
pub(crate) struct Group(PathBuf);

impl Group {
    pub(crate) fn new() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kavach-container-{}-{number}", std::process::id());
        let dir = delegate::unified_base()?.join(name);
        fs::create_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        crate::support::until("the container's group to be removed", || {
            // The leaf of the process that stepped aside in it. Its reaper ends a moment later.
            let _ = fs::remove_dir(self.0.join("kavach-host"));
            fs::remove_dir(&self.0).is_ok()
        });
    }
}

/// In the group, which looks like the root of the hierarchy from there.
fn inside(group: Option<&Group>, command: &Command) -> Command {
    let dir = group.map(|group| group.0.display().to_string());
    let script = "echo $$ > \"$1/cgroup.procs\"; shift; exec unshare --cgroup --mount sh -ec \
                  'umount /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec \"$@\"' sh \"$@\"";
    let dir = dir.unwrap_or_default();
    then(&["sh", "-ec", script, "sh", &dir], command)
}
