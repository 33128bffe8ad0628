//! As an ordinary user to whom root gave a subtree.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::error::CgroupError;
use super::super::files::KERNEL;
use super::super::group::SandboxGroup;
use super::super::kill::KillOutcome;
use super::super::limits::{CpuQuota, Limits};
use super::super::name::Owner;
use super::super::probe::{CgroupSupport, Place, Unavailable, probe};
use super::super::tree::{enable, walk};
use super::super::{Controller, Version};
use super::{Scratch, Shell, available, host, until, version};

/// A group in each hierarchy that belongs to an ordinary user.
struct Delegated(Vec<PathBuf>);

impl Drop for Delegated {
    fn drop(&mut self) {
        for dir in &self.0 {
            for child in walk(dir) {
                let _ = fs::remove_dir(child);
            }
        }
    }
}

const NOBODY: u32 = 65534;

#[test]
fn an_ordinary_user_with_a_delegated_subtree() {
    let Some(support) = host() else { return };
    let setpriv = Path::new("/usr/bin/setpriv");
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root".to_owned());
    }
    if !setpriv.exists() {
        missing.push(setpriv.display().to_string());
    }
    if !available(&missing) {
        return;
    }
    let mut delegated = Delegated(Vec::new());
    let mut starts = Vec::new();
    let give = |dir: &Path| {
        fs::create_dir(dir).unwrap();
        for file in ["", "cgroup.procs", "cgroup.subtree_control"] {
            if dir.join(file).exists() {
                chown(dir.join(file), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
    };
    for (place, controllers) in support.places() {
        let name = format!("kavach-delegated-{}", std::process::id());
        let dir = place.base.join(name);
        if place.version == Version::V2 {
            enable(&KERNEL, &place.base, &controllers).unwrap();
        }
        give(&dir);
        delegated.0.push(dir.clone());
        starts.push(match place.version {
            Version::V1 => dir,
            Version::V2 => {
                // What holds processes can hand no controllers on.
                let start = dir.join("start");
                give(&start);
                start
            }
        });
    }
    // The test program may stand where that user cannot look.
    let copy = std::env::temp_dir().join(format!("kavach-user-test-{}", std::process::id()));
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let join: String = starts
        .iter()
        .map(|dir| format!("echo $$ > {}/cgroup.procs; ", dir.display()))
        .collect();
    let output = Command::new("sh")
        .arg("-ec")
        .arg(format!(
            "{join} exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups {} \
             --exact cgroup::real::user::as_the_ordinary_user --ignored --nocapture",
            copy.display()
        ))
        .output();
    fs::remove_file(&copy).unwrap();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("1 passed"), "{text}");
    for dir in &delegated.0 {
        let ours = |left: &PathBuf| left != dir && !starts.contains(left);
        assert!(!walk(dir).iter().any(ours), "nothing is left");
    }
}

#[test]
#[ignore = "started by an_ordinary_user_with_a_delegated_subtree, in that user's groups"]
fn as_the_ordinary_user() {
    assert_eq!(rustix::process::geteuid().as_raw(), NOBODY);
    let support = probe();
    for controller in Controller::ALL {
        let place = support.get(controller).as_ref().unwrap();
        assert!(
            place.base.to_string_lossy().contains("kavach-delegated-"),
            "{place:?}"
        );
    }
    let limits = Limits {
        memory_bytes: Some(64 << 20),
        pids_max: Some(8),
        cpu_quota: Some(CpuQuota {
            quota_us: 50_000,
            period_us: 100_000,
        }),
        deny_swap: true,
    };
    let scratch = Scratch::new(&support, &limits);
    assert!(
        scratch
            .group
            .evidence()
            .iter()
            .all(|evidence| evidence.exact)
    );
    let leaf = scratch.group.leaf(1).unwrap();
    let mut shell = Shell::start_in("setsid sleep 1000 & while :; do :; done", &leaf);
    until("the tree", || leaf.pids().unwrap().len() == 2);
    scratch.group.freeze().unwrap();
    until("the guest to freeze", || scratch.group.frozen().unwrap());
    assert_eq!(scratch.group.kill_all().unwrap(), KillOutcome::Gone);
    assert_eq!(shell.0.wait().unwrap().signal(), Some(9));
    scratch.end();
    // Root's groups above are out of reach.
    let own = &support.pids.as_ref().unwrap().base;
    let above = own.parent().unwrap().to_owned();
    let above = Ok(Place {
        version: version(&support),
        base: above,
    });
    let none = || Err(Unavailable::NotMounted);
    let beyond = CgroupSupport {
        memory: none(),
        pids: above,
        cpu: none(),
        cpuacct: none(),
        freezer: none(),
    };
    let name = Owner::current(99, "test").unwrap().to_string();
    let refused = SandboxGroup::create(&beyond, &name, &Limits::default());
    assert!(matches!(refused, Err(CgroupError::MakeDir { .. })));
}
