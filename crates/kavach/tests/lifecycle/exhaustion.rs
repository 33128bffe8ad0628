//! A host process that is out of something: typed errors, nothing left, nothing hangs.

use std::fs;
use std::path::PathBuf;

use kavach::{KavachError, SandboxState};
use libtest_mimic::Trial;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::common::{
    cgroups, child, config, descriptors, descriptors_settle, is_root, run_child, test, test_with,
    until, with_text,
};

pub(crate) fn trials() -> Vec<Trial> {
    let no_pids = match (is_root(), pids_base()) {
        (false, _) => Some("root, to make a control group in which processes run out"),
        (true, None) => Some("the cgroup controller pids"),
        (true, Some(_)) => None,
    };
    vec![
        test("exhaustion::out_of_descriptors", || {
            run_child("few_descriptors")
        }),
        test("exhaustion::out_of_descriptors_at_the_first_use", || {
            run_child("few_descriptors_at_first");
        }),
        test("exhaustion::no_file_may_be_as_large_as_the_agent", || {
            run_child("small_files");
        }),
        test_with("exhaustion::out_of_processes", no_pids, out_of_processes),
    ]
}

/// Where a group with room for few processes can be made: beside the others of version 1, or below
/// the root of version 2, which hands `pids` on.
fn pids_base() -> Option<PathBuf> {
    let v1 = PathBuf::from("/sys/fs/cgroup/pids");
    if v1.join("cgroup.procs").exists() {
        return Some(v1);
    }
    let v2 = PathBuf::from("/sys/fs/cgroup");
    let handed_on = fs::write(v2.join("cgroup.subtree_control"), "+pids");
    handed_on.is_ok().then_some(v2)
}

/// The caller's runtime, made while there is enough of everything: what fails is kavach's part.
fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// One life, as far as it gets.
fn life(runtime: &tokio::runtime::Runtime) -> Result<(), KavachError> {
    runtime.block_on(async {
        let mut sandbox = kavach::Sandbox::create(config("basic")).await?;
        sandbox.transition(SandboxState::Running)?;
        let result = sandbox.exec("true").await?;
        assert!(result.success(), "{result:?}");
        sandbox.destroy().await
    })
}

/// Nothing of this process's sandboxes is left.
fn settle(before: &[String]) {
    let own = format!("kavach-agent [{}-", std::process::id());
    until("the agents to be gone", || with_text(&own).is_empty());
    let prefix = format!("kavach.{}.", std::process::id());
    until("the groups to be removed", || cgroups(&prefix).is_empty());
    descriptors_settle(before);
}

fn limit_descriptors(soft: Option<u64>) {
    let hard = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: soft.or(hard),
        maximum: hard,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
}

pub(crate) fn few_descriptors() {
    let runtime = runtime();
    life(&runtime).unwrap();
    let before = descriptors();
    let used = before.len() as u64;
    let (mut failed, mut succeeded) = (0, 0);
    for more in 0..64 {
        // The lowest free number is `used`, for nothing was closed in between.
        limit_descriptors(Some(used + more));
        let result = life(&runtime);
        limit_descriptors(None);
        match result {
            Ok(()) => succeeded += 1,
            Err(e) => {
                assert!(e.code().starts_with("KV-"), "{e}");
                let hint = e.hint().unwrap_or_default();
                assert!(hint.contains("`ulimit -n`"), "{e}: {hint}");
                failed += 1;
            }
        }
        settle(&before);
    }
    assert!(
        failed > 0 && succeeded > 0,
        "{failed} failed, {succeeded} succeeded"
    );
    life(&runtime).unwrap();
}

pub(crate) fn few_descriptors_at_first() {
    let runtime = runtime();
    let used = descriptors().len() as u64;
    for more in 0..24 {
        limit_descriptors(Some(used + more));
        // It may work; what counts is that a failure is not for ever.
        drop(runtime.block_on(kavach::Sandbox::create(config("basic"))));
        limit_descriptors(None);
    }
    life(&runtime).unwrap();
}

/// A write past RLIMIT_FSIZE ends a process by a signal: it must not come to that.
pub(crate) fn small_files() {
    let runtime = runtime();
    let limit = |current| {
        let maximum = getrlimit(Resource::Fsize).maximum;
        setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
    };
    limit(Some(1024));
    let err = runtime
        .block_on(kavach::Sandbox::create(config("basic")))
        .unwrap_err();
    assert_eq!(err.code(), "KV-SETUP");
    let hint = err.hint().unwrap_or_default();
    assert!(hint.contains("`ulimit -f`"), "{err}: {hint}");
    limit(None);
    life(&runtime).unwrap();
}

/// A control group with room for few processes; removed again.
struct Cramped(PathBuf);

impl Drop for Cramped {
    fn drop(&mut self) {
        for below in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(below.path());
        }
        until("the group of the test to be removed", || {
            fs::remove_dir(&self.0).is_ok()
        });
    }
}

fn out_of_processes() {
    let dir = pids_base()
        .unwrap()
        .join(format!("test-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    let group = Cramped(dir);
    let status = child("few_processes")
        .env("CRAMPED", &group.0)
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

pub(crate) fn few_processes() {
    let group = PathBuf::from(std::env::var_os("CRAMPED").unwrap());
    let runtime = runtime();
    life(&runtime).unwrap();
    let before = descriptors();
    fs::write(group.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    let (mut failed, mut succeeded) = (0, 0);
    for more in 0..12 {
        let now: u64 = fs::read_to_string(group.join("pids.current"))
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        fs::write(group.join("pids.max"), (now + more).to_string()).unwrap();
        let result = life(&runtime);
        fs::write(group.join("pids.max"), "max").unwrap();
        match result {
            Ok(()) => succeeded += 1,
            Err(e) => {
                assert!(e.code().starts_with("KV-"), "{e}");
                failed += 1;
            }
        }
        settle(&before);
    }
    assert!(
        failed > 0 && succeeded > 0,
        "{failed} failed, {succeeded} succeeded"
    );
    // Out, so that the group can be removed.
    let out = pids_base().unwrap().join("cgroup.procs");
    fs::write(out, std::process::id().to_string()).unwrap();
}
