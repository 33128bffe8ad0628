//! The programs that backends to come will start.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Check;

/// Where they are looked for. `PATH` is the user's: what it names is not to be run with the
/// rights of a backend.
const DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

const PROGRAMS: [(&str, &str); 5] = [
    ("runc", "apt-get install runc"),
    ("crun", "apt-get install crun"),
    (
        "runsc",
        "install gVisor: https://gvisor.dev/docs/user_guide/install/",
    ),
    (
        "firecracker",
        "install a release of github.com/firecracker-microvm/firecracker to /usr/local/bin",
    ),
    (
        "jailer",
        "install the jailer of the same Firecracker release to /usr/local/bin",
    ),
];

pub(super) fn checks() -> Vec<Check> {
    PROGRAMS
        .into_iter()
        .map(|(name, install)| check(name, install))
        .collect()
}

fn check(name: &str, install: &str) -> Check {
    let candidates = DIRECTORIES.into_iter().map(|dir| Path::new(dir).join(name));
    for path in candidates {
        if !path.is_file() {
            continue;
        }
        return match unsafe_part(&path) {
            None => Check::ok(name, path.display().to_string()),
            Some((part, why, fix)) => Check::missing(
                name,
                format!(
                    "{} is not safe to run: {} {why}",
                    path.display(),
                    part.display()
                ),
                format!("{fix} {}", part.display()),
            ),
        };
    }
    Check::missing(name, "not found in the system's directories", install)
}

/// The first of a program's file and the directories above it that others than root can change,
/// links followed.
fn unsafe_part(path: &Path) -> Option<(PathBuf, &'static str, &'static str)> {
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(_) => return Some((path.to_path_buf(), "cannot be looked up", "ls -l")),
    };
    let links = path.parent().into_iter().flat_map(Path::ancestors);
    for part in real.ancestors().chain(links) {
        let Ok(meta) = fs::metadata(part) else {
            return Some((part.to_path_buf(), "cannot be looked at", "ls -ld"));
        };
        if meta.uid() != 0 {
            return Some((part.to_path_buf(), "does not belong to root", "chown root"));
        }
        if meta.mode() & 0o022 != 0 {
            return Some((part.to_path_buf(), "can be written by others", "chmod go-w"));
        }
        if part == real && meta.mode() & 0o111 == 0 {
            return Some((part.to_path_buf(), "is not executable", "chmod a+x"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_programs_are_safe_and_what_all_can_write_is_not() {
        assert_eq!(unsafe_part(Path::new("/bin/sh")), None);
        let (part, why, _) = unsafe_part(Path::new("/tmp")).unwrap();
        assert_eq!(
            (part.as_path(), why),
            (Path::new("/tmp"), "can be written by others")
        );
    }
}
