//! All of it again as an ordinary user, where this program runs as root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use libtest_mimic::Trial;

use crate::common::{is_root, test_with};

const USER: &str = "kavach-test";

pub(crate) fn trials() -> Vec<Trial> {
    let missing = (!is_root()).then_some("root, to become somebody else");
    vec![test_with(
        "ordinary_user::the_whole_suite",
        missing,
        the_whole_suite,
    )]
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

fn the_whole_suite() {
    if id("-u").is_none() {
        let status = Command::new("useradd")
            .args(["--create-home", USER])
            .status()
            .unwrap();
        assert!(status.success(), "useradd: {status}");
    }
    let place = Copy(PathBuf::from(format!(
        "/var/tmp/kavach-workspace-{}",
        std::process::id()
    )));
    fs::create_dir(&place.0).unwrap();
    fs::set_permissions(&place.0, fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.0.join("workspace");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    // Its output has the form of a test program's own, so that scripts/test.sh counts it too.
    let status = Command::new("setpriv")
        .args([
            "--reuid",
            USER,
            "--regid",
            &id("-g").unwrap(),
            "--init-groups",
        ])
        .arg(&program)
        .current_dir("/")
        .env("HOME", "/tmp")
        .env("KAVACH_TEST_AS", "user")
        .status()
        .unwrap();
    assert!(status.success(), "as {USER}: {status}");
}
