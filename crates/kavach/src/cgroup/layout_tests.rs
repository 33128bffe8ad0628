//! Layouts of hosts, containers and attackers.

use proptest::prelude::*;

use super::*;

fn mount(mount: &str, own: Option<&str>) -> Mount {
    Mount {
        mount: mount.into(),
        own: own.map(PathBuf::from),
    }
}

fn parse(cgroup: &str, mountinfo: &str) -> Layout {
    Layout::parse(cgroup.as_bytes(), mountinfo.as_bytes()).unwrap()
}

#[test]
fn hybrid_with_a_mount_per_controller() {
    let layout = parse(
        "9:name=systemd:/\n4:memory:/job/7\n2:cpuacct:/\n1:cpu:/\n0::/\n",
        "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
         32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
         35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
         40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
         41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
    );
    assert_eq!(
        layout.v1(Controller::Memory),
        Some(&mount(
            "/sys/fs/cgroup/memory",
            Some("/sys/fs/cgroup/memory/job/7")
        ))
    );
    assert_eq!(
        layout.v1(Controller::Cpu),
        Some(&mount("/sys/fs/cgroup/cpu", Some("/sys/fs/cgroup/cpu")))
    );
    assert_eq!(
        layout.v1(Controller::Cpuacct),
        None,
        "a path without a mount"
    );
    assert_eq!(
        layout.v2,
        Some(mount(
            "/sys/fs/cgroup/unified",
            Some("/sys/fs/cgroup/unified")
        ))
    );
}

#[test]
fn controllers_mounted_together_share_their_mount() {
    let layout = parse(
        "3:cpu,cpuacct:/a:b\n",
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 master:1 - cgroup cgroup rw,cpu,cpuacct\n",
    );
    let expected = mount(
        "/sys/fs/cgroup/cpu,cpuacct",
        Some("/sys/fs/cgroup/cpu,cpuacct/a:b"),
    );
    assert_eq!(layout.v1(Controller::Cpu), Some(&expected));
    assert_eq!(layout.v1(Controller::Cpuacct), Some(&expected));
}

#[test]
fn pure_v2_as_a_systemd_user() {
    let layout = parse(
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope\n",
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
    );
    let own = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope";
    assert_eq!(layout.v2, Some(mount("/sys/fs/cgroup", Some(own))));
    assert_eq!(layout.v1, []);
}

#[test]
fn a_container_that_binds_its_own_group() {
    let layout = parse(
        "4:memory:/docker/abc\n0::/system.slice/x\n",
        "1 2 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
         3 2 0:33 / /cg rw - cgroup2 none rw\n",
    );
    assert_eq!(
        layout.v1(Controller::Memory),
        Some(&mount(
            "/sys/fs/cgroup/memory",
            Some("/sys/fs/cgroup/memory")
        ))
    );
    assert_eq!(layout.v2, Some(mount("/cg", Some("/cg/system.slice/x"))));
}

#[test]
fn a_group_that_the_mount_does_not_show_is_none() {
    for (path, root) in [
        ("/../x", "/"),
        ("/", "/../.."),
        ("/docker/abc", "/docker/abcd"),
        ("/a/../b", "/a"),
    ] {
        let layout = parse(
            &format!("0::{path}\n"),
            &format!("1 2 0:3 {root} /cg rw - cgroup2 none rw\n"),
        );
        assert_eq!(layout.v2, Some(mount("/cg", None)), "{path} in {root}");
    }
}

#[test]
fn the_mount_that_shows_the_group_and_is_writable_wins() {
    let layout = parse(
        "0::/a/b\n",
        "1 2 0:3 /z /one rw - cgroup2 none rw\n\
         1 2 0:3 / /two ro,relatime - cgroup2 none rw\n\
         1 2 0:3 /a /three rw,relatime - cgroup2 none rw\n\
         1 2 0:3 / /four rw - cgroup2 none rw\n",
    );
    assert_eq!(layout.v2, Some(mount("/three", Some("/three/b"))));
}

#[test]
fn escapes_are_undone_and_an_empty_source_shifts_nothing() {
    let layout = parse(
        "2:freezer:/a b\n",
        "1 2 0:3 / /my\\040cg\\134x rw - cgroup  rw,freezer\n",
    );
    assert_eq!(
        layout.v1(Controller::Freezer),
        Some(&mount("/my cg\\x", Some("/my cg\\x/a b")))
    );
    assert_eq!(unescape(b"\\9\\04\\777\\"), b"\\9\\04\\777\\");
}

#[test]
fn no_cgroups_is_an_empty_layout() {
    assert_eq!(
        parse("", "1 2 0:3 / / rw - ext4 /dev/x rw\n"),
        Layout::default()
    );
    assert_eq!(parse("", ""), Layout::default());
}

#[test]
fn malformed_lines_are_named() {
    let line = |cgroup: &str, mounts: &str| Layout::parse(cgroup.as_bytes(), mounts.as_bytes());
    for bad in [
        "x",
        "1:memory",
        ":memory:/",
        "a:memory:/",
        "1:memory:relative",
    ] {
        assert_eq!(
            line(&format!("0::/\n{bad}\n"), ""),
            Err(LayoutError::Malformed {
                file: "/proc/self/cgroup",
                line: 2
            }),
            "{bad}"
        );
    }
    for bad in [
        "x",
        "1 2 0:3 / /cg rw shared:1",
        "1 2 0:3 x /cg rw - cgroup2 a rw",
    ] {
        assert_eq!(
            line("", bad),
            Err(LayoutError::Malformed {
                file: "/proc/self/mountinfo",
                line: 1
            }),
            "{bad}"
        );
    }
    let huge = vec![b'\n'; LARGEST_CGROUP + 1];
    assert!(matches!(
        Layout::parse(&huge, b""),
        Err(LayoutError::TooLarge { .. })
    ));
}

#[test]
fn controllers_are_a_set_of_known_names() {
    use Controller::{Cpu, Memory, Pids};
    assert_eq!(
        parse_controllers("cpuset cpu io memory pids cpu\n"),
        [Memory, Pids, Cpu]
    );
    assert_eq!(parse_controllers(""), []);
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(cgroup: Vec<u8>, mounts: Vec<u8>) {
        let _ = Layout::parse(&cgroup, &mounts);
    }

    #[test]
    fn no_group_is_outside_its_mount(
        path in "/[a./\\\\0-9 ]{0,12}",
        root in "/[a./\\\\0-9]{0,12}",
        mount in "/[a./\\\\0-9]{0,12}",
        options in "(ro|rw|,){1,4}",
        optional in "( [a-z:0-9-]{1,5}){0,3}",
    ) {
        let mounts = format!("1 2 0:3 {root} {mount} {options}{optional} - cgroup2 n rw\n");
        let layout = Layout::parse(format!("0::{path}\n").as_bytes(), mounts.as_bytes());
        if let Ok(Layout { v2: Some(Mount { mount, own: Some(own) }), .. }) = layout {
            let rest = own.strip_prefix(&mount).unwrap();
            prop_assert!(rest.components().all(|part| matches!(part, Component::Normal(_))));
        }
    }
}

#[test]
fn every_mount_point_is_listed_once_whatever_it_holds() {
    let text = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
         41 31 0:38 /part /srv/a\\040b\\134c ro - cgroup2 cgroup2 rw\n\
         42 31 0:38 / /srv/a\\040b\\134c rw - cgroup2 cgroup2 rw\n\
         43 31 0:39 / /tmp rw - tmpfs cgroup rw\n";
    assert_eq!(
        mount_points(text.as_bytes()).unwrap(),
        [r"/srv/a b\c", "/sys/fs/cgroup/systemd"].map(PathBuf::from)
    );
    assert!(mount_points(b"1 2 3\n").is_err());
}
