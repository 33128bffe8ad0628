//! The host's files, environment and identity are out of view.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use kavach::Command;
use rustix::io::{FdFlags, fcntl_setfd};

use crate::attacks::HOST_REFUSES;
use crate::delegate;
use crate::harness::{Setting, Suite, Who, fixture};
use crate::world::{ISOLATING, TempDir, World, act, config, contents, guest};

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("view");
    for (who, how) in [(&[Who::Root][..], "control_"), (&[Who::User], HOST_REFUSES)] {
        suite.subject_for("view", who);
        let name = format!("{how}shadow_and_roots_home_are_readable");
        suite.each(&name, &["noop"], secrets_control);
    }
    suite.subject("view");
    suite.each("shadow_and_roots_home_are_unreadable", &ISOLATING, secrets);
    suite.each("control_the_hosts_tmp_is_readable", &["noop"], tmp_control);
    suite.each("the_hosts_tmp_is_unreadable", &ISOLATING, tmp);
    suite.each_needing(
        "control_other_homes_are_readable",
        &["noop"],
        other_home,
        homes_control,
    );
    suite.each_needing("other_homes_are_unreadable", &ISOLATING, other_home, homes);
    suite.each(
        "control_the_hosts_environment_is_readable",
        &["noop"],
        environment_control,
    );
    suite.each("the_hosts_environment_is_absent", &ISOLATING, environment);
    suite.each(
        "control_the_hosts_identity_is_readable",
        &["noop"],
        identity_control,
    );
    suite.each("the_hosts_identity_is_absent", &ISOLATING, identity);
    suite.each(
        "control_an_open_file_is_inherited_without_kavach",
        &["noop"],
        inherited_control,
    );
    suite.each(
        "only_the_standard_streams_are_open",
        &ISOLATING,
        descriptors,
    );
    suite.each("no_capability_and_no_new_privileges", &ISOLATING, powers);
    suite.each("control_powers_of_the_caller", &["noop"], powers_control);
    suite.each("control_a_working_directory_anywhere", &["noop"], |s| {
        let world = World::of(s.policy);
        let pwd = world.said(Command::new("/bin/pwd").cwd("/proc/self/fd"));
        assert!(pwd.ends_with("/fd"), "{pwd}");
    });
    suite.each("a_working_directory_outside_is_refused", &ISOLATING, cwd);
    suite.each("the_system_cannot_be_written", &ISOLATING, read_only);
    suite.each("no_mount_is_shared_with_the_host", &ISOLATING, unshared);
    suite.with_shared_mounts(2 * ISOLATING.len());
    suite.subject_for("view", &[Who::Root]);
    suite.each(
        "groups_mounted_since_the_last_sandbox_are_known",
        &["minimal"],
        mounted_since,
    );
    // In a mount namespace of its own.
    suite.with_shared_mounts(1);
}

/// What is known of the host is kept for some seconds; not where control groups are mounted, which
/// a guest with the host's view could leave its own by.
fn mounted_since(s: Setting) {
    drop(World::of(s.policy));
    let late = fixture().join("late");
    fs::create_dir(&late).unwrap();
    let place = delegate::places().unwrap().remove(0);
    let run = |program: &str, args: &[&Path]| {
        let status = std::process::Command::new(program).args(args).status();
        assert!(status.unwrap().success(), "{program}");
    };
    run("mount", &[Path::new("--bind"), &place, &late]);
    let file = late.join("cgroup.procs");
    let writable = format!("test -w {} && echo yes || echo no", file.display());
    let said = |policy| World::of(policy).said(Command::shell(&writable));
    let (control, said) = (said("noop"), said(s.policy));
    run("umount", &[&late]);
    assert_eq!((control.as_str(), said.as_str()), ("yes", "no"));
}

/// What `cat` says of a path, or nothing.
fn cat(world: &World, path: &str) -> Option<String> {
    let result = world.run(Command::new("cat").arg(path));
    result
        .success()
        .then(|| result.stdout.trim_end().to_owned())
}

/// As an ordinary user the host itself protects these; the control shows that the guest is the
/// user.
fn secrets_control(s: Setting) {
    let world = World::of(s.policy);
    assert_eq!(cat(&world, "/etc/shadow").is_some(), s.who.is_root());
    assert_eq!(world.run("ls /root").success(), s.who.is_root());
}

fn secrets(s: Setting) {
    let world = World::of(s.policy);
    assert_eq!(
        world.sh("ls -a /etc/shadow /root 2>&1 | grep -c 'No such file'"),
        "2"
    );
    assert_eq!(world.sh("ls /home"), "guest");
    assert_eq!(
        world.sh("ls -d /run/*sock /run/docker* /var/run/dbus 2>/dev/null | wc -l"),
        "0"
    );
}

fn tmp_control(s: Setting) {
    let canary = fixture().join("canary");
    assert_eq!(
        cat(&World::of(s.policy), canary.to_str().unwrap()).as_deref(),
        Some("canary-tmp")
    );
}

fn tmp(s: Setting) {
    let world = World::of(s.policy);
    assert_eq!(
        cat(&world, fixture().join("canary").to_str().unwrap()),
        None
    );
    let shown = fixture().file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(
        world.sh("ls -A /tmp"),
        shown,
        "nothing but the path to the shown guests"
    );
    assert_eq!(world.sh("ls -A /var/tmp /dev/shm | grep -v :"), "");
}

fn canary_home() -> PathBuf {
    let run = fixture().file_name().unwrap().to_str().unwrap().to_owned();
    PathBuf::from("/home")
        .join(run.replace("kavach-isolation", "kavach-canary"))
        .join("canary")
}

/// Only root can make somebody else's home.
fn other_home(who: Who) -> Option<String> {
    let root = rustix::process::geteuid().is_root();
    (!root && who == Who::User).then(|| "only root can make another home: run as root".to_owned())
}

fn homes_control(s: Setting) {
    let canary = canary_home();
    assert_eq!(
        cat(&World::of(s.policy), canary.to_str().unwrap()).as_deref(),
        Some("canary-home")
    );
}

fn homes(s: Setting) {
    let canary = canary_home();
    assert!(canary.exists());
    assert_eq!(cat(&World::of(s.policy), canary.to_str().unwrap()), None);
}

/// The trial's own environment and arguments hold a canary.
const SEARCH: &str =
    "env; cat /proc/*/environ /proc/*/cmdline /proc/*/task/*/environ 2>/dev/null | tr '\\0' '\\n'";

fn environment_control(s: Setting) {
    let world = World::of(s.policy);
    // `noop` too gives a clean environment; the host's processes are in view.
    let seen = world.run(Command::shell(SEARCH)).stdout;
    assert!(
        seen.contains("canary-environment") && seen.contains("canary-argument"),
        "{seen}"
    );
}

fn environment(s: Setting) {
    assert_eq!(
        std::env::var("KAVACH_CANARY").as_deref(),
        Ok("canary-environment")
    );
    let seen = World::of(s.policy).run(Command::shell(SEARCH));
    assert!(!seen.stdout_truncated);
    assert!(!seen.stdout.contains("canary-"), "{}", seen.stdout);
    let env = World::of(s.policy).said("env");
    let mut names: Vec<_> = env
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "LANG", "PATH", "TERM"]);
}

/// What tells one host from another.
fn identities() -> Vec<String> {
    let mut out = vec![
        rustix::system::uname()
            .nodename()
            .to_str()
            .unwrap()
            .to_owned(),
    ];
    for file in [
        "/etc/machine-id",
        "/proc/cmdline",
        "/proc/sys/kernel/random/boot_id",
    ] {
        out.extend(fs::read_to_string(file).ok());
    }
    for device in fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let address = fs::read_to_string(device.path().join("address")).unwrap_or_default();
        if device.file_name() != "lo" {
            out.push(address);
        }
    }
    out.iter()
        .map(|text| text.trim().to_owned())
        .filter(|text| text.len() > 3)
        .collect()
}

const LOOK: &str = "hostname; uname -n; cat /etc/hostname /etc/machine-id /proc/cmdline \
                    /proc/sys/kernel/hostname /proc/sys/kernel/random/boot_id \
                    /sys/class/net/*/address /proc/net/arp 2>/dev/null; true";

fn identity_control(s: Setting) {
    let seen = World::of(s.policy).said(Command::shell(LOOK));
    let known = identities();
    assert!(known.len() >= 2, "{known:?}");
    for identity in known {
        assert!(seen.contains(&identity), "{identity} not in {seen}");
    }
}

/// The boot id is the kernel's and names no user; a sandbox shares its kernel.
fn identity(s: Setting) {
    let seen = World::of(s.policy).said(Command::shell(LOOK));
    let boot = contents("/proc/sys/kernel/random/boot_id".as_ref()).unwrap();
    for identity in identities().into_iter().filter(|text| *text != boot.trim()) {
        assert!(!seen.contains(&identity), "{identity} in {seen}");
    }
    assert!(seen.starts_with("kavach\nkavach\n"), "{seen}");
}

/// A file that every child of this process would inherit.
fn leak() -> fs::File {
    let file = fs::File::open(fixture().join("canary")).unwrap();
    fcntl_setfd(&file, FdFlags::empty()).unwrap();
    file
}

fn inherited_control(_: Setting) {
    let leaked = leak();
    let plain = std::process::Command::new(guest("kernel"))
        .arg("fds")
        .output()
        .unwrap();
    let fds = String::from_utf8(plain.stdout).unwrap();
    let fds: Vec<_> = fds.split_whitespace().collect();
    assert!(
        fds.contains(&leaked.as_raw_fd().to_string().as_str()),
        "{fds:?}"
    );
}

fn descriptors(s: Setting) {
    let _leaked = leak();
    let world = World::of(s.policy);
    assert_eq!(world.said(act("kernel", &["fds"])), "0 1 2");
    let mut child = world.spawn(act("kernel", &["fds"]).stdin_piped());
    assert_eq!(world.read(&mut child).trim_end(), "0 1 2");
}

const STATUS: &str =
    "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp|Groups):' /proc/self/status";

fn powers(s: Setting) {
    let none = "0000000000000000";
    let mut expected = vec!["Groups:".to_owned()];
    expected.extend(["Inh", "Prm", "Eff", "Bnd", "Amb"].map(|set| format!("Cap{set}: {none}")));
    expected.extend(["NoNewPrivs: 1".to_owned(), "Seccomp: 2".to_owned()]);
    let world = World::of(s.policy);
    // The first command, a second one, and what a command starts.
    let nested = Command::shell(format!("sh -c \"{STATUS}\""));
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    for status in [world.said(STATUS), world.said(STATUS), world.said(nested)] {
        assert_eq!(status.lines().map(words).collect::<Vec<_>>(), expected);
    }
}

fn powers_control(s: Setting) {
    let status = World::of(s.policy).said(STATUS);
    let mine = fs::read_to_string("/proc/self/status").unwrap();
    let effective = |text: &str| {
        text.lines()
            .find_map(|l| Some(l.strip_prefix("CapEff:")?.trim().to_owned()))
            .unwrap()
    };
    assert_eq!(effective(&status), effective(&mine), "as the caller");
    assert_eq!(effective(&status) != "0000000000000000", s.who.is_root());
}

fn cwd(s: Setting) {
    let world = World::of(s.policy);
    for (path, code) in [
        ("/proc/self/fd/3", "KV-PATH-MISSING"),
        ("/root", "KV-PATH-MISSING"),
        ("/tmp/../..", "KV-INVALID-CONFIG"),
    ] {
        let error = world.try_run(Command::new("pwd").cwd(path)).unwrap_err();
        assert_eq!(error.code(), code, "{path}: {error}");
    }
    // A link that leads upwards ends at the sandbox's own root.
    assert_eq!(
        world.sh("ln -s ../../../../.. up; cd up; ls -A /. | tr '\\n' ' '"),
        world.sh("ls -A / | tr '\\n' ' '")
    );
}

fn read_only(s: Setting) {
    let host = TempDir::new();
    let file = host.0.join("file");
    fs::write(&file, "as it was").unwrap();
    let world = World::new(config(s.policy).read(&host.0));
    let writes = format!(
        "for f in /usr/x /bin/x /lib/x {file} {dir}/new; do (echo taken > $f) 2>/dev/null && \
         echo wrote $f; done; rm -f {file} 2>/dev/null; chmod 777 {file} 2>/dev/null; cat {file}",
        file = file.display(),
        dir = host.0.display()
    );
    assert_eq!(world.sh(&writes), "as it was");
    assert_eq!(fs::read_to_string(&file).unwrap(), "as it was");
    assert_eq!(fs::read_dir(&host.0).unwrap().count(), 1);
}

/// Where the host's mounts are shared (by default on every host that systemd runs), a mount made
/// inside would appear outside, and the other way round.
fn unshared(s: Setting) {
    let tags = |mounts: String| {
        let shared = |line: &&str| line.contains(" shared:") || line.contains(" master:");
        mounts.lines().filter(shared).count()
    };
    let own = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(tags(own.clone()), own.lines().count(), "the host's are");
    let world = World::of(s.policy);
    assert_eq!(tags(world.said("cat /proc/self/mountinfo")), 0);
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), own);
}
