//! What a hostile directory, policy file or command line may try on kavach itself: each is told
//! clearly what is wrong with it, within bounded memory, and nothing of theirs is run.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use common::dialogue::each;
use common::{Dir, kavach, run, sandboxes, text};

/// The command where it may take 400 MiB of address space and no more.
fn in_little_memory(args: &[&str]) -> Output {
    Command::new("/bin/bash")
        .args(["-c", "ulimit -v 400000; exec \"$@\"", "bash"])
        .arg(env!("CARGO_BIN_EXE_kavach"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Refused with kavach's own code, with this in its words.
fn refused(done: &Output, expected: &str) {
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(125), "{said}");
    assert!(said.contains(expected), "{expected:?} in {said}");
    assert!(said.len() < 8000, "{} bytes of error", said.len());
}

fn check(dir: &Dir, name: &str, contents: &[u8]) -> Output {
    let file = dir.file(name, contents);
    in_little_memory(&["policy", "check", &file])
}

const GOOD: &str = "version = 1\nextends = \"basic\"\n";

#[test]
fn a_policy_file_of_a_gigabyte_is_refused_unread() {
    let dir = Dir::new("gigabyte");
    assert!(check(&dir, "good.toml", GOOD.as_bytes()).status.success());
    for name in ["large.toml", "large.json"] {
        let path = dir.file(name, GOOD.as_bytes());
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        refused(&in_little_memory(&["policy", "check", &path]), "1 MiB");
    }
    refused(
        &in_little_memory(&["policy", "check", "/dev/zero"]),
        "/dev/zero",
    );
}

#[test]
fn a_policy_of_any_depth_is_refused() {
    let dir = Dir::new("depth");
    let n = 200_000;
    let nested = format!(
        "{{\"version\": 1, \"name\": {}{}}}",
        "[".repeat(n),
        "]".repeat(n)
    );
    refused(&check(&dir, "lists.json", nested.as_bytes()), "lists.json");
    let nested = format!("{}1{}", "{\"a\": ".repeat(n / 2), "}".repeat(n / 2));
    refused(&check(&dir, "maps.json", nested.as_bytes()), "maps.json");
    let nested = format!("{GOOD}name = {}{}\n", "[".repeat(n), "]".repeat(n));
    refused(&check(&dir, "lists.toml", nested.as_bytes()), "lists.toml");
    let nested = format!("{GOOD}{}name = 1\n", "a.".repeat(n));
    refused(&check(&dir, "keys.toml", nested.as_bytes()), "keys.toml");
}

#[test]
fn a_policy_of_ten_thousand_rules_is_refused() {
    let dir = Dir::new("rules");
    let with = |n: usize| {
        let paths: Vec<String> = (0..n).map(|i| format!("\"/usr/{i}\"")).collect();
        format!("{GOOD}[filesystem]\nread = [{}]\n", paths.join(", "))
    };
    let few = check(&dir, "few.toml", with(500).as_bytes());
    assert!(few.status.success(), "{}", text(&few.stderr));
    refused(
        &check(&dir, "many.toml", with(10_000).as_bytes()),
        "filesystem.read",
    );
    let keys: String = (0..10_000).map(|i| format!("key{i} = 1\n")).collect();
    refused(
        &check(&dir, "keys.toml", format!("{GOOD}{keys}").as_bytes()),
        "key0",
    );
}

#[test]
fn letters_that_look_alike_are_no_letters() {
    let dir = Dir::new("letters");
    for (name, contents) in [
        // The third letter is Cyrillic.
        ("preset.toml", "version = 1\nextends = \"str\u{456}ct\"\n"),
        (
            "key.toml",
            "version = 1\nextends = \"basic\"\nn\u{435}twork = \"off\"\n",
        ),
        // Text that is shown from right to left.
        (
            "order.toml",
            "version = 1\nextends = \"basic\"\n\"\u{202e}krowten\" = \"off\"\n",
        ),
    ] {
        let done = check(&dir, name, contents.as_bytes());
        refused(&done, name);
        let said = text(&done.stderr);
        assert!(!said.contains('\u{202e}'), "{said}");
    }
    refused(
        &run(["exec", "--policy", "str\u{456}ct", "--", "true"]),
        "ct",
    );
}

#[test]
fn lines_and_zeros_in_names_forge_nothing() {
    let dir = Dir::new("lines");
    let forged = "/tmp/x\nkavach: all is well\u{1b}[2J";
    let done = run(["exec", "--read", forged, "--", "true"]);
    refused(&done, "--read");
    let said = text(&done.stderr);
    assert!(
        !said.contains("\nkavach: all is well") && !said.contains('\u{1b}'),
        "{said}"
    );
    let zero = format!("{GOOD}[filesystem]\nread = [\"/tmp/a\\u0000b\"]\n");
    refused(
        &check(&dir, "zero.toml", zero.as_bytes()),
        "filesystem.read",
    );
    if !sandboxes("lines_and_zeros_in_names_forge_nothing", "basic") {
        return;
    }
    // In an argument and a value they are what they are.
    let done = run([
        "exec",
        "--env",
        "A=1\nB=2",
        "--",
        "/usr/bin/printf",
        "%s",
        "x\ny",
    ]);
    assert_eq!(text(&done.stdout), "x\ny");
    let done = run([
        "exec",
        "--env",
        "A=1\nB=2",
        "--",
        "sh",
        "-c",
        "echo \"$A\"; echo \"[$B]\"",
    ]);
    assert_eq!(text(&done.stdout), "1\nB=2\n[]\n");
}

/// Every program that a sandbox of this kind is made with elsewhere.
const HELPERS: [&str; 16] = [
    "newuidmap",
    "newgidmap",
    "runc",
    "crun",
    "runsc",
    "bwrap",
    "unshare",
    "mount",
    "umount",
    "ip",
    "nft",
    "iptables",
    "fusermount3",
    "sh",
    "systemd-run",
    "kavach-agent",
];

#[test]
fn no_program_of_the_host_is_started_by_its_name() {
    let dir = Dir::new("helpers");
    fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o777)).unwrap();
    let ran = dir.0.join("ran");
    for name in HELPERS {
        let path = dir.file(
            name,
            format!("#!/bin/bash\necho $0 >> {}\n", ran.display()).as_bytes(),
        );
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let place = dir.0.to_str().unwrap();
    for setting in each("no_program_of_the_host_is_started_by_its_name") {
        let mut shell = setting.host_shell();
        // Whoever looks in that directory first does start them.
        shell.run(&format!(
            "cd {place}; PATH={place}:.:/usr/bin:/bin; newuidmap"
        ));
        assert_eq!(
            fs::read_to_string(&ran).unwrap(),
            format!("{place}/newuidmap\n")
        );
        shell.run(&format!("/bin/rm {}", ran.display()));
        let said = shell.run(&format!(
            "$KAVACH exec --policy {} -- /bin/echo done",
            setting.policy
        ));
        assert!(said.contains("done"), "{said:?}");
        assert!(!ran.exists(), "{:?}", fs::read_to_string(&ran));
        shell.say("exit\n");
        shell.end();
    }
    // A relative name is looked up inside the sandbox, never in the host's directory.
    let done = kavach(["exec", "--", "kavach-agent"])
        .current_dir(&dir.0)
        .env("PATH", place)
        .output();
    assert_eq!(done.unwrap().status.code(), Some(127));
    assert!(!ran.exists());
}
