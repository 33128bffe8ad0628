//! What counts as evidence, and what does not although the plan expects it.

use super::*;
use crate::config::SandboxConfig;
use crate::host::HostFacts;
use crate::policy::SandboxPolicy;

const PRIVATE: &str = "\
30 1 0:50 / / ro,nosuid,nodev,relatime - tmpfs tmpfs rw,size=4096k,nr_inodes=16384,mode=755
31 30 8:1 /usr /usr ro,nosuid,nodev,relatime - ext4 /dev/vda rw
32 30 0:51 /tmp /tmp rw,nosuid,nodev,relatime - tmpfs tmpfs rw,size=262144k,nr_inodes=32768
33 30 0:52 / /dev/shm rw,nosuid,nodev,noexec - tmpfs tmpfs rw,size=65536k,nr_inodes=4096
34 30 0:53 / /proc rw,nosuid,nodev,noexec - proc proc rw,hidepid=invisible
";
/// A host with a read-only root and capped temporary directories, as an appliance has it.
const HOST: &str = "\
30 1 8:1 / / ro,relatime - ext4 /dev/vda ro
31 30 0:51 / /tmp rw,nosuid,nodev - tmpfs tmpfs rw,size=262144k
32 30 0:53 / /proc rw,nosuid,nodev,noexec - proc proc rw
";

fn strict() -> Plan {
    plan_of(SandboxPolicy::strict(), &HostFacts::modern_user())
}

fn plan_of(policy: SandboxPolicy, host: &HostFacts) -> Plan {
    let config = SandboxConfig::builder().policy(policy).build();
    crate::plan::plan(&config.validate().unwrap(), host).unwrap()
}

fn observed(mounts: &str) -> Observed {
    let names = ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"];
    let own = |name: &'static str| (name, (format!("{name}:[2]"), format!("{name}:[1]")));
    Observed {
        status: BTreeMap::new(),
        own_filters: 0,
        namespaces: names.map(own).into(),
        mounts: mounts.lines().filter_map(parse_mount).collect(),
        root_differs: true,
        limits: String::new(),
        interfaces: vec!["lo".into()],
        agent_owner: Some(0),
        shown: Vec::new(),
    }
}

fn holds(observed: &Observed, plan: &Plan, control: Control) -> bool {
    let planned = plan.control(control).unwrap();
    observed.look(planned, plan, None).holds
}

#[test]
fn a_private_view_is_seen_by_its_own_root() {
    let (seen, plan) = (observed(PRIVATE), strict());
    for control in [
        Control::FilesystemView,
        Control::ReadOnlyRoot,
        Control::Disk,
    ] {
        assert!(holds(&seen, &plan, control), "{control}");
    }
}

#[test]
fn the_hosts_root_is_no_evidence_of_a_private_view_whatever_the_plan_says() {
    for private_root in [true, false] {
        let (seen, mut plan) = (observed(HOST), strict());
        plan.view.private_root = private_root;
        for control in [
            Control::FilesystemView,
            Control::ReadOnlyRoot,
            Control::Disk,
        ] {
            assert!(!holds(&seen, &plan, control), "{control}");
        }
    }
}

#[test]
fn a_root_that_is_shared_with_the_host_is_no_private_one() {
    let (mut seen, plan) = (observed(PRIVATE), strict());
    seen.namespaces
        .insert("mnt", ("mnt:[1]".into(), "mnt:[1]".into()));
    // The host's own tmpfs, in a mount namespace of the sandbox's own.
    let same = Observed {
        root_differs: false,
        ..observed(PRIVATE)
    };
    for control in [
        Control::FilesystemView,
        Control::ReadOnlyRoot,
        Control::Disk,
    ] {
        assert!(!holds(&seen, &plan, control), "{control}");
        assert!(!holds(&same, &plan, control), "{control}");
    }
}

#[test]
fn a_writable_host_mount_or_a_writable_root_is_seen() {
    let plan = strict();
    let open = PRIVATE.replace("/usr ro,", "/usr rw,");
    assert!(!holds(&observed(&open), &plan, Control::FilesystemView));
    let open = PRIVATE.replace("/ / ro,", "/ / rw,");
    assert!(!holds(&observed(&open), &plan, Control::ReadOnlyRoot));
}

#[test]
fn a_limit_counts_only_if_it_is_no_more_than_was_planned() {
    let (mut seen, plan) = (observed(PRIVATE), strict());
    let mut with = |soft: &str, hard: &str| {
        seen.limits = format!("Max open files            {soft:<20} {hard:<20} files     \n");
        holds(&seen, &plan, Control::OpenFiles)
    };
    assert!(with("1024", "1024"));
    assert!(with("512", "1024"), "the caller's own may be lower");
    assert!(!with("1024", "4096"), "the guest could raise it");
    assert!(!with("4096", "4096"));
    assert!(!with("unlimited", "unlimited"));
    assert!(!with("1024", "unlimited"));
}

#[test]
fn an_affinity_counts_only_if_it_is_no_wider_than_was_planned() {
    let (mut seen, plan) = (observed(PRIVATE), strict());
    let mut with = |list: &str| {
        seen.status
            .insert("Cpus_allowed_list".into(), list.to_owned());
        holds(&seen, &plan, Control::Cpu)
    };
    assert!(with("3"));
    assert!(!with("0-7"));
    assert!(!with("0,2"));
    assert!(!with(""));
}

#[test]
fn lists_of_cpus_are_counted() {
    assert_eq!(count_cpus("0-3,8"), Some(5));
    assert_eq!(count_cpus("7"), Some(1));
    for wrong in ["", "3-1", "a", "1,,2", "0-4294967295"] {
        assert_eq!(count_cpus(wrong), None, "{wrong:?}");
    }
}

#[test]
fn a_cgroup_limit_counts_only_where_the_guest_cannot_write_itself_out() {
    let mut policy = SandboxPolicy::minimal();
    policy.limits.cpu_time_ms = Some(1000);
    policy.limits.memory_mb = Some(64);
    let mut host = HostFacts::modern_root();
    host.cgroup_mounts = vec!["/sys/fs/cgroup".into(), "/srv/a b".into()];
    let plan = plan_of(policy, &host);
    // The same place twice: the later mount lies over the earlier.
    let text = |first: &str, second: &str| {
        format!(
            "{HOST}40 30 0:60 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n\
             41 30 0:61 / /srv/a\\040b rw,nosuid - cgroup cgroup rw,memory\n\
             50 40 0:60 / /sys/fs/cgroup {first},nosuid - cgroup2 cgroup2 rw\n\
             51 41 0:61 / /srv/a\\040b {second},nosuid - cgroup cgroup rw,memory\n"
        )
    };
    let open = |first, second| {
        let seen = observed(&text(first, second));
        let open = seen.writable_cgroups(&plan);
        open.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(open("ro", "ro").is_empty());
    assert_eq!(open("rw", "ro"), ["/sys/fs/cgroup"]);
    assert_eq!(open("ro", "rw"), ["/srv/a b"]);
    let seen = observed(&text("ro", "rw"));
    for control in [Control::Memory, Control::CpuTime] {
        let look = seen.look(plan.control(control).unwrap(), &plan, None);
        assert!(
            !look.holds && look.evidence.contains("/srv/a b"),
            "{control}"
        );
    }
}

/// A view with a workspace in it, as the kernel lists its mount.
const WORKSPACE: &str = "60 51 0:60 / /srv/work rw,nosuid,nodev,relatime - overlay none \
                         rw,lowerdir=lower,upperdir=upper,workdir=work,userxattr";

/// The plan of a workspace at /srv/work and a write-through directory at /srv/out.
fn shared_plan() -> Plan {
    use crate::host::{Directory, DirectoryKind, FileId};
    let directory = |inode| {
        let id = FileId { device: 1, inode };
        DirectoryKind::Directory(Directory::new(id, 1000, 1000))
    };
    let host = HostFacts::modern_user()
        .with_directory("/srv/work", directory(2))
        .with_directory("/srv/out", directory(3));
    let config = SandboxConfig::builder()
        .policy(SandboxPolicy::strict())
        .workspace(crate::Workspace::new("/srv/work"))
        .write_through("/srv/out")
        .build();
    crate::plan::plan(&config.validate().unwrap(), &host).unwrap()
}

/// What the host's own look found, beside these mounts.
fn observed_shared(more: &str, bytes: u64, inode: u64) -> Observed {
    let mounts = format!("{PRIVATE}{more}\n");
    let mut seen = observed(&mounts);
    seen.shown = Shown::as_found("/srv/work", bytes, ("/srv/out", 3, inode));
    seen
}

const OUT: &str = "61 51 0:61 /x /srv/out rw,nosuid,nodev,relatime - ext4 /dev/vda rw";
const SIZE: u64 = 256 << 20;

#[test]
fn a_workspace_and_a_write_through_directory_are_seen_by_their_mounts() {
    let plan = shared_plan();
    let seen = observed_shared(&format!("{WORKSPACE}\n{OUT}"), SIZE, 3);
    assert!(holds(&seen, &plan, Control::FilesystemView));
    assert!(holds(&seen, &plan, Control::Disk));
}

#[test]
fn whatever_is_not_as_planned_is_no_evidence() {
    let plan = shared_plan();
    let both = format!("{WORKSPACE}\n{OUT}");
    let wrong = [
        // Overlayfs could not write, and went on without.
        both.replace("overlay none rw,", "overlay none ro,"),
        // Another overlay than the agent makes.
        both.replace("upperdir=upper", "upperdir=/srv/upper"),
        both.replace(",userxattr", ""),
        // Powers that neither may have.
        both.replacen("nosuid,", "", 1),
        both.replace(
            "rw,nosuid,nodev,relatime - ext4",
            "rw,nosuid,relatime - ext4",
        ),
        // Owners shown as others where none should be.
        both.replace("relatime - ext4", "relatime,idmapped - ext4"),
        // Not there.
        WORKSPACE.to_owned(),
        OUT.to_owned(),
        // One that nobody asked for.
        format!("{both}\n62 51 0:62 / /srv/more rw,nosuid,nodev - ext4 /dev/vda rw"),
    ];
    for mounts in wrong {
        let seen = observed_shared(&mounts, SIZE, 3);
        assert!(!holds(&seen, &plan, Control::FilesystemView), "{mounts}");
    }
    let another = observed_shared(&both, SIZE, 4);
    assert!(!holds(&another, &plan, Control::FilesystemView));
    let larger = observed_shared(&both, SIZE + (1 << 20), 3);
    assert!(!holds(&larger, &plan, Control::Disk));
    let unlimited = observed_shared(&both, 0, 3);
    assert!(!holds(&unlimited, &plan, Control::Disk));
}
