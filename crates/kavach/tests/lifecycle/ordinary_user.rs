//! All of it again as an ordinary user, where this program runs as root: without control groups,
//! and with groups that root gave away.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::Trial;

use crate::common::{is_root, test_with};
use crate::delegate::{self, Delegated};

const USER: &str = "kavach-test";

pub(crate) fn trials() -> Vec<Trial> {
    let missing = (!is_root()).then(|| "root, to become somebody else".to_owned());
    let no_groups = missing.clone().or_else(delegate::missing);
    vec![
        test_with("ordinary_user::the_whole_suite", missing.as_deref(), || {
            the_whole_suite(None)
        }),
        test_with(
            "delegated_user::the_whole_suite",
            no_groups.as_deref(),
            || {
                let groups = Delegated::new(user()).unwrap();
                the_whole_suite(Some(&groups));
                groups.remove().unwrap();
            },
        ),
    ]
}

/// The user, made if missing.
fn user() -> &'static str {
    static MADE: Once = Once::new();
    MADE.call_once(|| {
        if id("-u").is_none() {
            let made = Command::new("useradd")
                .args(["--create-home", USER])
                .status();
            let status = made.unwrap();
            assert!(status.success(), "useradd: {status}");
        }
    });
    USER
}

/// A copy of this program that the user can read; removed again.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn id(flag: &str) -> Option<String> {
    let output = Command::new("id").args([flag, USER]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    output.status.success().then(|| text.trim().to_owned())
}

fn the_whole_suite(groups: Option<&Delegated>) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    user();
    let place = Copy(PathBuf::from(format!(
        "/var/tmp/kavach-lifecycle-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )));
    fs::create_dir(&place.0).unwrap();
    fs::set_permissions(&place.0, fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.0.join("lifecycle");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", &id("-g").unwrap()]);
    command.arg("--init-groups").arg(&program);
    // Its output has the form of a test program's own, so that scripts/test.sh counts it too.
    let status = delegate::enter(groups, &command)
        .current_dir("/")
        .env("HOME", "/tmp")
        .env("KAVACH_TEST_AS", groups.map_or("user", |_| "delegated"))
        .status()
        .unwrap();
    assert!(status.success(), "as {USER}: {status}");
}
