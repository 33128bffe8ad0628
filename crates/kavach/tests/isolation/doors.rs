//! Calls that a guest must not get through: each with the kernel's answer inside, and what the
//! same call does on the host as the same user.

use std::process::Command as HostCommand;

use kavach::Termination;

use crate::attacks::HOST_REFUSES;
use crate::harness::{Setting, Suite, Who};
use crate::world::{ISOLATING, World, act};

/// Not one of the answers `EFFECT` and `errno NAME`: the kernel killed the guest.
const SIGSYS: i32 = 31;

struct Door {
    name: &'static str,
    /// Inside, under both policies.
    inside: &'static str,
    /// On the host, as root.
    root: &'static str,
    /// On the host, as an ordinary user: where the host refuses too, only root's half says
    /// whether the sandbox does.
    user: &'static str,
}

const fn door(
    name: &'static str,
    inside: &'static str,
    root: &'static str,
    user: &'static str,
) -> Door {
    Door {
        name,
        inside,
        root,
        user,
    }
}

impl Door {
    /// The name of what shows that the door is open outside, or that the host has closed it to an
    /// ordinary user as well.
    fn control(&self, who: Who) -> String {
        let refused = !who.is_root() && self.user != EFFECT && self.user != self.root;
        let how = if refused { HOST_REFUSES } else { "control_" };
        format!("{how}{}", self.name)
    }
}

const EFFECT: &str = "EFFECT";
const EPERM: &str = "errno EPERM";
const EACCES: &str = "errno EACCES";
const ENOSYS: &str = "errno ENOSYS";
const KILLED: &str = "killed";

const DOORS: &[Door] = &[
    door("int80", KILLED, EFFECT, EFFECT),
    door("tiocsti", EPERM, EFFECT, EFFECT),
    door("tiocsti_high", EPERM, EFFECT, EFFECT),
    door("tioclinux", EPERM, "errno ENOTTY", "errno ENOTTY"),
    door("tioclinux_high", EPERM, "errno ENOTTY", "errno ENOTTY"),
    door("clone3_newuser", ENOSYS, EFFECT, EFFECT),
    door("clone3_newns", ENOSYS, EFFECT, EPERM),
    door("clone3_newpid", ENOSYS, EFFECT, EPERM),
    door("clone3_newnet", ENOSYS, EFFECT, EPERM),
    door("clone3_newipc", ENOSYS, EFFECT, EPERM),
    door("clone3_newuts", ENOSYS, EFFECT, EPERM),
    door("clone3_newcgroup", ENOSYS, EFFECT, EPERM),
    door("clone_newuser", EPERM, EFFECT, EFFECT),
    door("unshare_newuser", EPERM, EFFECT, EFFECT),
    door("unshare_newnet", EPERM, EFFECT, EPERM),
    door("unshare_newns", EPERM, EFFECT, EPERM),
    door("setns_uts", EPERM, EFFECT, EPERM),
    door("io_uring", ENOSYS, EFFECT, EFFECT),
    door("keyctl_session", EPERM, EFFECT, EFFECT),
    door("add_key", EPERM, EFFECT, EFFECT),
    door("request_key", EPERM, "errno ENOKEY", "errno ENOKEY"),
    door("bpf_map", EPERM, EFFECT, EPERM),
    door("perf", EPERM, EFFECT, EACCES),
    door("uffd", EPERM, EFFECT, EPERM),
    door("mount_tmpfs", EPERM, EFFECT, EPERM),
    door("remount_rw", EPERM, EFFECT, EPERM),
    door("fsopen_tmpfs", EPERM, EFFECT, EPERM),
    door("clone_tree", EPERM, EFFECT, EPERM),
    door("umount_proc", EPERM, EFFECT, EPERM),
    door("pivot", EPERM, "errno EBUSY", EPERM),
    door("chroot_root", EPERM, EFFECT, EPERM),
    door("mount_attr", EPERM, EFFECT, EPERM),
    door("move_tree", EPERM, EFFECT, EPERM),
    door("by_handle", EPERM, EFFECT, EPERM),
    // Past the right to do so, the file is missing.
    door("swap_on", EPERM, "errno ENOENT", EPERM),
    door("swap_off", EPERM, "errno ENOENT", EPERM),
    door("adjust_time", EPERM, EFFECT, EPERM),
    door("domain_name", EPERM, EFFECT, EPERM),
    door("set_time", EPERM, EFFECT, EPERM),
    door("host_name", EPERM, EFFECT, EPERM),
    // Past the right to do so, the arguments are nonsense.
    door("reboot_bad", EPERM, "errno EINVAL", EPERM),
    door("kernel_log", EPERM, EFFECT, EPERM),
    door("nice_up", EACCES, EFFECT, EACCES),
    door("mknod_block", EPERM, EFFECT, EPERM),
    door("mknod_char", EPERM, EFFECT, EPERM),
    door("packet", EPERM, EFFECT, EPERM),
    door("raw_ip", EPERM, EFFECT, EPERM),
];

/// Calls that not every kernel is built with. The control runs where the kernel has them.
const BUILT: &[Door] = &[
    door("x32", EPERM, EFFECT, EFFECT),
    door("quota_sync", EPERM, EFFECT, EFFECT),
    door("accounting", EPERM, "errno ENOENT", EPERM),
    // Where the host itself has groups of version 1.
    door("release_agent", EPERM, EFFECT, "errno ENOENT"),
    door("kexec", EPERM, "errno EINVAL", EPERM),
    door("module_load", EPERM, "errno ENOEXEC", EPERM),
    door("kexec_file", EPERM, "errno EBADF", EPERM),
    door("module_file", EPERM, "errno EBADF", EPERM),
    door("module_unload", EPERM, "errno ENOENT", EPERM),
    door("ports", EPERM, EFFECT, EPERM),
    door("vsock", EPERM, EFFECT, EFFECT),
];

/// Files whose writing changes the kernel, with what they answer inside.
const FILES: &[(&str, &str)] = &[
    ("/proc/sys/kernel/core_pattern", EACCES),
    ("/proc/sys/kernel/hostname", EACCES),
    ("/proc/sys/vm/overcommit_memory", EACCES),
    ("/proc/sys/kernel/modprobe", EACCES),
    ("/proc/sys/kernel/sysrq", EACCES),
    ("/proc/sysrq-trigger", EACCES),
    ("/proc/sys/fs/binfmt_misc/register", "errno ENOENT"),
    ("/proc/1/oom_score_adj", "errno ENOENT"),
    ("/sys/kernel/uevent_helper", "errno ENOENT"),
    (
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "errno ENOENT",
    ),
    ("/sys/fs/cgroup/memory/cgroup.procs", "errno ENOENT"),
    ("/sys/fs/cgroup/memory/release_agent", "errno ENOENT"),
    ("/dev/kmsg", "errno ENOENT"),
    ("/dev/mem", "errno ENOENT"),
    ("/dev/kmem", "errno ENOENT"),
    ("/dev/port", "errno ENOENT"),
    ("/dev/kvm", "errno ENOENT"),
    ("/dev/fuse", "errno ENOENT"),
    ("/dev/net/tun", "errno ENOENT"),
    ("/dev/loop-control", "errno ENOENT"),
    ("/dev/userfaultfd", "errno ENOENT"),
];

pub(crate) fn add(suite: &mut Suite) {
    for who in [Who::Root, Who::User] {
        let only: &'static [Who] = if who.is_root() {
            &[Who::Root]
        } else {
            &[Who::User]
        };
        suite.subject_for("doors", only);
        for door in DOORS.iter().chain(BUILT) {
            let missing = move |_| closed(door.name).or_else(|| lacks("kernel", &[door.name]));
            suite.each_needing(&door.control(who), &["noop"], missing, move |s| {
                control(s, door);
            });
        }
    }
    suite.subject("doors");
    for door in DOORS.iter().chain(BUILT) {
        suite.each(door.name, &ISOLATING, move |s| {
            assert_eq!(answer(s, &[door.name]), door.inside);
        });
    }
    for (way, refused) in RING {
        let missing = move |_| closed("io_uring").or_else(|| lacks("ring", &["make_socket"]));
        let name = format!("control_io_uring_{way}");
        suite.each_needing(&name, &["noop"], missing, move |s| ring(s, way, EFFECT));
        let name = format!("io_uring_{way}");
        suite.each(&name, &ISOLATING, move |s| ring(s, way, refused));
    }
    // clone3 is refused, and libc falls back: programs have their threads.
    suite.each("threads_start_without_clone3", &ISOLATING, |s| {
        assert_eq!(answer(s, &["thread"]), EFFECT);
    });
    // Root's sandbox has a map of many ids, an ordinary user's of one: in it there is no id 0.
    suite.each("control_set_uid", &["noop"], |s| {
        let expected = if s.who.is_root() { EFFECT } else { EPERM };
        assert_eq!(answer(s, &["set_uid"]), expected);
    });
    suite.each("set_uid", &ISOLATING, |s| {
        let expected = if s.who.is_root() {
            EPERM
        } else {
            "errno EINVAL"
        };
        assert_eq!(answer(s, &["set_uid"]), expected);
    });
    // `basic` lets programs ask for their addresses; it is the sandbox's own network that answers.
    suite.each("control_netlink", &["noop"], |s| {
        assert_eq!(answer(s, &["netlink"]), EFFECT);
    });
    suite.each("netlink", &["strict"], |s| {
        assert_eq!(answer(s, &["netlink"]), EPERM);
    });
    suite.subject("kernel_files");
    for (path, inside) in FILES {
        let name = path.trim_start_matches('/').replace('/', "_");
        let absent = move |_| {
            let there = std::path::Path::new(path).exists();
            (!there).then(|| format!("this kernel has no {path}"))
        };
        for (only, by_root) in [(&[Who::Root][..], true), (&[Who::User], false)] {
            let open = by_root || open_to_all(path);
            let (how, expected) = if open {
                ("control_", EFFECT)
            } else {
                (HOST_REFUSES, EACCES)
            };
            suite.subject_for("kernel_files", only);
            suite.each_needing(&format!("{how}{name}"), &["noop"], absent, move |s| {
                assert_eq!(answer(s, &["open_write", path]), expected);
            });
        }
        suite.subject("kernel_files");
        suite.each(&name, &ISOLATING, move |s| {
            // What the kernel does not have at all is not there inside either.
            let there = std::path::Path::new(path).exists();
            let inside = if there { *inside } else { "errno ENOENT" };
            assert_eq!(answer(s, &["open_write", path]), inside);
        });
    }
    suite.subject("setuid");
    for way in WAYS {
        let missing = move |_| lacks("setuid", &[way, "4755", "/tmp"]);
        suite.each_needing(&format!("control_{way}"), &["noop"], missing, move |s| {
            planting(s, way, &["/tmp"], EFFECT);
        });
        suite.each(way, &ISOLATING, move |s| {
            // Its mode is in memory, where a filter cannot look.
            let refused = if *way == "openat2" { ENOSYS } else { EPERM };
            planting(
                s,
                way,
                &["/tmp", "/var/tmp", "/home/guest", "/dev/shm"],
                refused,
            );
        });
    }
}

/// What a ring could do past the filter.
const RING: &[(&str, &str)] = &[
    ("open_file", ENOSYS),
    ("make_socket", ENOSYS),
    ("connect_to", ENOSYS),
];

fn ring(s: Setting, way: &str, expected: &str) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let args = match way {
        "open_file" => vec![way, "/etc/passwd"],
        "connect_to" => vec![way, "127.0.0.1", &port],
        _ => vec![way],
    };
    assert_eq!(World::of(s.policy).said(act("ring", &args)), expected);
    listener.set_nonblocking(true).unwrap();
    let heard = listener.accept().is_ok();
    assert_eq!(heard, way == "connect_to" && expected == EFFECT);
}

/// Whether the host lets everybody write it.
fn open_to_all(path: &str) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o002 != 0)
}

fn control(s: Setting, door: &Door) {
    let expected = if s.who.is_root() {
        door.root
    } else {
        door.user
    };
    assert_eq!(answer(s, &[door.name]), expected);
}

fn answer(s: Setting, args: &[&str]) -> String {
    let result = World::of(s.policy).run(act("kernel", args));
    match result.termination {
        Termination::Exited(0) => result.stdout.trim_end().to_owned(),
        Termination::Signaled(SIGSYS) => KILLED.to_owned(),
        other => panic!("{other}: {}{}", result.stdout, result.stderr),
    }
}

/// Doors that the host itself may have closed: the setting, and its value when they are open.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("tiocsti", "dev/tty/legacy_tiocsti", "1"),
    ("io_uring", "kernel/io_uring_disabled", "0"),
    (
        "newuser",
        "kernel/apparmor_restrict_unprivileged_userns",
        "0",
    ),
    ("newuser", "kernel/unprivileged_userns_clone", "1"),
];

/// What closes a door on this host; a kernel without the setting leaves it open.
pub(crate) fn closed(name: &str) -> Option<String> {
    let hierarchies = || std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    if name == "release_agent" && !hierarchies().contains(":memory:") {
        return Some("this host has no memory groups of version 1".to_owned());
    }
    let settings = SETTINGS.iter().filter(|(door, ..)| name.contains(door));
    settings.into_iter().find_map(|(_, setting, open)| {
        let value = std::fs::read_to_string(format!("/proc/sys/{setting}")).ok()?;
        let value = value.trim();
        (value != *open).then(|| format!("closed on this host: {setting} = {value}"))
    })
}

/// Asks the host's kernel itself, without kavach.
pub(crate) fn lacks(guest: &str, args: &[&str]) -> Option<String> {
    let out = HostCommand::new(crate::world::guest(guest))
        .args(args)
        .output()
        .unwrap();
    let unknown: [&[u8]; 2] = [b"errno ENOSYS\n", b"errno EAFNOSUPPORT\n"];
    unknown
        .contains(&&*out.stdout)
        .then(|| format!("this kernel has no {}", args[0]))
}

/// Every call that can set the bits. mkdir(2) ignores them, on the host too.
const WAYS: &[&str] = &[
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

const MODES: [&str; 3] = ["4755", "2755", "6777"];

fn planting(s: Setting, way: &str, places: &[&str], expected: &str) {
    let world = World::of(s.policy);
    for place in places {
        for mode in MODES {
            let said = world.said(act("setuid", &[way, mode, place]));
            assert_eq!(said, expected, "{mode} in {place}");
        }
    }
}
