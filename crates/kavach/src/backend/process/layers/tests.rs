//! Real sandboxes, started as a config would be, with a look at what the host holds of them.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::backend::process::ProcessDriver;
use crate::backend::{Driver as _, Instance, Launch, SandboxName};
use crate::config::{SandboxConfig, SandboxConfigBuilder, Upper, Workspace};
use crate::host::Host;
use crate::plan::plan;
use crate::supervisor::supervisor;

/// A directory with `project` in it; gone with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let id = std::process::id();
        let path = PathBuf::from(format!("/var/tmp/kavach-layers-{name}-{id}"));
        std::fs::create_dir_all(path.join("project/sub")).unwrap();
        std::fs::create_dir(path.join("changes")).unwrap();
        std::fs::write(path.join("project/file"), "below").unwrap();
        Self(path)
    }

    fn project(&self) -> PathBuf {
        self.0.join("project")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Numbers that no other sandbox of this process has.
static SEQ: AtomicU64 = AtomicU64::new(1 << 40);

/// Starts the sandbox of a config, with something done after the look at the host.
fn start(config: SandboxConfigBuilder, meanwhile: impl FnOnce()) -> Result<Arc<dyn Instance>> {
    let spec = config.build().validate()?;
    let host = Host::look();
    let facts = host
        .facts
        .clone()
        .looking_at(spec.host_paths())
        .looking_at_directories(spec.host_directories())
        .looking_at_root(spec.rootfs());
    let plan = plan(&spec, &facts)?;
    meanwhile();
    let driver = ProcessDriver::new(&host);
    let name = SandboxName::new(SEQ.fetch_add(1, Ordering::Relaxed), "layers");
    let started = supervisor()?.wait(async move { driver.start(&plan, &name).await });
    started.unwrap().map(|started| started.instance)
}

fn destroy(instance: &Arc<dyn Instance>) {
    let instance = instance.clone();
    let ended = supervisor()
        .unwrap()
        .wait(async move { instance.destroy().await });
    ended.unwrap().unwrap();
}

fn run(instance: &Arc<dyn Instance>, script: &str, cwd: PathBuf) {
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let argv = ["/bin/sh", "-c", script].map(OsString::from);
    let launch = Launch::new(argv.into(), Vec::new(), cwd, vec![(null(), 0)]);
    let instance = instance.clone();
    let ended = supervisor().unwrap().wait(async move {
        let guest = instance.launch(launch).await?;
        guest.wait().await
    });
    let ended = ended.unwrap().unwrap();
    assert_eq!(ended, crate::backend::GuestEnd::Exited(0), "{script}");
}

fn text(directory: &OwnedFd, name: &str) -> String {
    let file = fs::openat(directory, name, OFlags::RDONLY, Mode::empty()).unwrap();
    let mut text = String::new();
    std::fs::File::from(file).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_host_holds_both_layers_also_after_the_end() {
    let scratch = Scratch::new("held");
    let uppers = [Upper::Tmpfs, Upper::Directory(scratch.0.join("changes"))];
    for upper in uppers {
        let workspace = Workspace::new(scratch.project()).upper(upper);
        let instance = start(SandboxConfig::builder().workspace(workspace), || {}).unwrap();
        run(
            &instance,
            "echo above > file; echo new > made",
            scratch.project(),
        );
        let layers = instance.workspace().unwrap();
        assert_eq!(
            (layers.target.as_path(), layers.userxattr),
            (&*scratch.project(), true)
        );
        for _ in 0..2 {
            assert_eq!(text(&layers.upper, "file"), "above\n");
            assert_eq!(text(&layers.upper, "made"), "new\n");
            assert_eq!(text(&layers.lower, "file"), "below");
            destroy(&instance);
        }
    }
}

#[test]
fn a_sandbox_without_a_workspace_has_no_layers() {
    let instance = start(SandboxConfig::builder(), || {}).unwrap();
    assert!(instance.workspace().is_none());
    destroy(&instance);
}

/// Somebody puts another directory, or a link to one, in the place of what was looked at.
#[test]
fn what_was_put_in_place_of_a_path_is_not_shown() {
    type Ask = fn(SandboxConfigBuilder, PathBuf) -> SandboxConfigBuilder;
    let asks: [(&str, Ask); 4] = [
        ("workspace", |c, path| c.workspace(Workspace::new(path))),
        ("write-through", |c, path| c.write_through(path)),
        ("read", |c, path| c.read(path)),
        ("upper", |c, path| {
            let work = path.parent().unwrap().join("work");
            std::fs::create_dir_all(&work).unwrap();
            c.workspace(Workspace::new(work).upper(Upper::Directory(path)))
        }),
    ];
    for (name, ask) in asks {
        for by_link in [false, true] {
            let scratch = Scratch::new(name);
            let project = scratch.project();
            let instance = start(ask(SandboxConfig::builder(), project.clone()), || {}).unwrap();
            destroy(&instance);
            let swap = || {
                std::fs::rename(&project, scratch.0.join("away")).unwrap();
                if by_link {
                    symlink("/etc", &project).unwrap();
                } else {
                    std::fs::create_dir(&project).unwrap();
                }
            };
            let error = start(ask(SandboxConfig::builder(), project.clone()), swap).unwrap_err();
            let KavachError::Setup { source, .. } = &error else {
                panic!("{name}: {error}");
            };
            // What is written to the host itself opens first, and follows no link.
            let expected = match (name, by_link) {
                ("upper" | "write-through", true) => Errno::LOOP,
                _ => Errno::STALE,
            };
            assert_eq!(
                source.raw_os_error(),
                Some(expected.raw_os_error()),
                "{name}"
            );
            assert!(error.hint().unwrap().contains("try again"), "{name}");
        }
    }
}

#[test]
fn a_swapped_entry_of_another_root_is_not_shown() {
    let scratch = Scratch::new("root");
    let root = scratch.project();
    let ask = || SandboxConfig::builder().rootfs(&root);
    let instance = start(ask(), || {}).unwrap();
    destroy(&instance);
    let swap = || {
        std::fs::remove_dir(root.join("sub")).unwrap();
        symlink("/etc", root.join("sub")).unwrap();
    };
    let error = start(ask(), swap).unwrap_err();
    assert!(
        error.to_string().contains("open the source of a mount"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("try again"));
}
