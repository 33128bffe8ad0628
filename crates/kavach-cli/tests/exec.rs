//! `kavach exec` and `kavach shell` on the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

use common::lease::Hanging;
use common::{Dir, json, kavach, line, run, run_with_input, sandboxes, signal, skip, text};
use rustix::process::Signal;

#[test]
fn output_goes_to_its_stream_and_the_code_passes_through() {
    if !sandboxes(
        "output_goes_to_its_stream_and_the_code_passes_through",
        "strict",
    ) {
        return;
    }
    let script = "echo out; echo err >&2; exit 7";
    let done = run(["exec", "--policy", "strict", "--", "sh", "-c", script]);
    assert_eq!(
        (text(&done.stdout), text(&done.stderr), done.status.code()),
        ("out\n".into(), "err\n".into(), Some(7))
    );
}

#[test]
fn arguments_reach_the_program_as_they_are() {
    if !sandboxes("arguments_reach_the_program_as_they_are", "basic") {
        return;
    }
    let odd = [
        "--json",
        "-h",
        "--",
        "$HOME",
        "a b",
        "",
        "*",
        "\n",
        "'",
        "--policy=x",
    ];
    let mut args = vec!["exec", "--", "printf", "<%s>", "--"];
    args.extend(odd);
    // printf takes the first `--` as the end of its options.
    let args = [&args[..4], &args[5..]].concat();
    let mut bytes: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
    bytes.push(OsStr::from_bytes(b"\xff\xfe"));
    let done = run(&bytes);
    let mut expected: Vec<u8> = odd
        .iter()
        .flat_map(|a| format!("<{a}>").into_bytes())
        .collect();
    expected.extend(b"<\xff\xfe>");
    assert_eq!(done.stdout, expected);
}

#[test]
fn standard_input_is_passed_on_to_its_end() {
    if !sandboxes("standard_input_is_passed_on_to_its_end", "basic") {
        return;
    }
    let input: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let done = run_with_input(["exec", "--", "cat"], &input);
    assert!(
        done.stdout == input,
        "{} bytes came back",
        done.stdout.len()
    );
}

#[test]
fn a_program_that_does_not_read_its_input_ends_all_the_same() {
    if !sandboxes(
        "a_program_that_does_not_read_its_input_ends_all_the_same",
        "basic",
    ) {
        return;
    }
    // The writing end stays open: nobody will ever say that the input ends.
    let mut child = kavach(["exec", "--", "echo", "done"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take();
    assert_eq!(line(&mut child), "done");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(stdin);
}

#[test]
fn the_environment_is_clean_but_for_what_is_given() {
    if !sandboxes("the_environment_is_clean_but_for_what_is_given", "basic") {
        return;
    }
    let dir = Dir::new("secrets");
    let file = dir.file("token", b"from file\n");
    let secret = format!("TOKEN=file:{file}");
    let done = kavach(["exec", "--env", "A=b=c", "--env", "EMPTY="])
        .args(["--secret", "KEY=env:HOST_KEY", "--secret", &secret])
        .args(["--", "env"])
        .env("HOST_KEY", "from env")
        .env("HOST_ONLY", "x")
        .output()
        .unwrap();
    let env = text(&done.stdout);
    let has = |line| env.lines().any(|l| l == line);
    assert!(has("A=b=c") && has("EMPTY=") && has("KEY=from env") && has("TOKEN=from file"));
    assert!(!env.contains("HOST"), "{env}");
}

#[test]
fn cwd_and_read_paths_are_the_ones_that_were_named() {
    if !sandboxes("cwd_and_read_paths_are_the_ones_that_were_named", "basic") {
        return;
    }
    let dir = Dir::new("read");
    let file = dir.file("data", b"hello");
    let done = kavach(["exec", "--read", ".", "--cwd", "/usr", "--"])
        .args(["sh", "-c", "pwd; cat \"$0\"", &file])
        .current_dir(&dir.0)
        .output()
        .unwrap();
    assert_eq!(
        text(&done.stdout),
        "/usr\nhello",
        "{:?}",
        text(&done.stderr)
    );
}

#[test]
fn limits_end_the_program_with_their_codes() {
    if !sandboxes("limits_end_the_program_with_their_codes", "basic") {
        return;
    }
    let done = run(["exec", "--timeout", "200ms", "--", "sleep", "1000"]);
    assert_eq!(done.status.code(), Some(124));
    assert_eq!(
        text(&done.stderr),
        "kavach: the program was ended: timed out after 200 ms (policy basic)\n"
    );
    for (script, code) in [("kill -9 $$", 137), ("kill -SEGV $$", 139)] {
        let done = run(["exec", "--", "sh", "-c", script]);
        assert_eq!(
            (done.status.code(), text(&done.stderr)),
            (Some(code), String::new())
        );
    }
}

#[test]
fn programs_that_cannot_be_started_have_codes_of_their_own() {
    if !sandboxes(
        "programs_that_cannot_be_started_have_codes_of_their_own",
        "basic",
    ) {
        return;
    }
    for (program, code) in [
        ("no-such-program", 127),
        ("/usr/no/such", 127),
        ("/etc/passwd", 126),
        ("/usr", 126),
    ] {
        let done = run(["exec", "--", program]);
        assert_eq!(done.status.code(), Some(code), "{program}");
        assert!(text(&done.stderr).starts_with("error: "), "{program}");
        let done = run(["exec", "--json", "--", program]);
        assert_eq!(done.status.code(), Some(code), "{program}");
        assert_eq!(done.stderr, b"");
        let error = &json(&done)["error"];
        assert!(
            error["code"].as_str().unwrap().starts_with("KV-COMMAND"),
            "{error}"
        );
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_program_as_in_any_pipeline() {
    if !sandboxes(
        "a_reader_that_goes_away_ends_the_program_as_in_any_pipeline",
        "basic",
    ) {
        return;
    }
    let mut child = kavach(["exec", "--", "yes"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(line(&mut child), "y");
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!(
        (done.status.code(), text(&done.stderr)),
        (Some(141), String::new())
    );
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    if !sandboxes("output_that_cannot_be_written_is_an_error", "basic") {
        return;
    }
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let done = kavach(["exec", "--", "yes"]).stdout(full).output().unwrap();
    assert_eq!(done.status.code(), Some(125));
    assert!(
        text(&done.stderr).contains("No space left"),
        "{:?}",
        done.stderr
    );
}

#[test]
fn what_is_left_in_the_background_ends_with_the_program() {
    if !sandboxes(
        "what_is_left_in_the_background_ends_with_the_program",
        "basic",
    ) {
        return;
    }
    // The sleeper holds the streams open.
    let done = run(["exec", "--", "sh", "-c", "sleep 1000 & echo started"]);
    assert_eq!(
        (text(&done.stdout).as_str(), done.status.code()),
        ("started\n", Some(0))
    );
}

#[test]
fn the_first_ctrl_c_is_the_programs_and_the_second_is_the_end() {
    if !sandboxes(
        "the_first_ctrl_c_is_the_programs_and_the_second_is_the_end",
        "basic",
    ) {
        return;
    }
    let start = |script| {
        let mut child = kavach(["exec", "--", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(line(&mut child), "ready");
        child
    };
    let mut polite = start("trap 'exit 5' INT; echo ready; while :; do sleep 0.01; done");
    signal(&polite, Signal::INT);
    assert_eq!(polite.wait().unwrap().code(), Some(5));

    let mut plain = start("echo ready; exec sleep 1000");
    signal(&plain, Signal::INT);
    assert_eq!(plain.wait().unwrap().code(), Some(130));

    let mut deaf = start("trap 'echo got' INT; echo ready; while :; do sleep 0.01; done");
    signal(&deaf, Signal::INT);
    assert_eq!(line(&mut deaf), "got");
    signal(&deaf, Signal::INT);
    assert_eq!(deaf.wait().unwrap().code(), Some(130));
}

#[test]
fn a_service_manager_stops_it_with_its_own_code() {
    if !sandboxes("a_service_manager_stops_it_with_its_own_code", "basic") {
        return;
    }
    let script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    for (number, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut child = kavach(["exec", "--", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        assert_eq!(line(&mut child), "ready");
        signal(&child, number);
        assert_eq!(line(&mut child), "bye");
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

#[test]
fn json_has_the_whole_result() {
    if !sandboxes("json_has_the_whole_result", "strict") {
        return;
    }
    let script = "cat; printf 'a\\377b' >&2; exit 3";
    let args = [
        "exec", "--json", "--policy", "strict", "--", "sh", "-c", script,
    ];
    let done = run_with_input(args, b"in");
    assert_eq!(done.status.code(), Some(3));
    let document = json(&done);
    assert_eq!(document["stdout"], "in");
    assert_eq!(document["stderr"], "a\u{fffd}b");
    assert_eq!(document["stdout_is_utf8"], true);
    assert_eq!(document["stderr_is_utf8"], false);
    assert_eq!(document["termination"]["kind"], "exited");
    assert_eq!(document["termination"]["value"], 3);
    assert_eq!(document["verdict"]["reason"], "no gate configured");
    let controls = document["report"].as_array().unwrap().iter();
    assert!(
        controls
            .clone()
            .any(|row| row["control"] == "syscall_filter")
    );
}

#[test]
fn json_cuts_output_at_the_limit_and_says_so() {
    if !sandboxes("json_cuts_output_at_the_limit_and_says_so", "basic") {
        return;
    }
    let script = "head -c 100000 /dev/zero; echo ok >&2";
    let done = run([
        "exec",
        "--json",
        "--output-kb",
        "1",
        "--",
        "sh",
        "-c",
        script,
    ]);
    let document = json(&done);
    assert_eq!(document["stdout"].as_str().unwrap().len(), 1024);
    assert_eq!(document["stdout_truncated"], true);
    assert_eq!(document["stderr_truncated"], false);
    assert_eq!(document["exit_code"], 0);
}

#[test]
fn json_ends_a_program_whose_policy_ends_it_at_the_limit() {
    if !sandboxes(
        "json_ends_a_program_whose_policy_ends_it_at_the_limit",
        "basic",
    ) {
        return;
    }
    let dir = Dir::new("on-output");
    let policy = dir.file(
        "p.toml",
        b"version = 1\n[limits]\noutput_kb = 4\non_output = \"kill\"\n",
    );
    let done = run(["exec", "--json", "--policy", &policy, "--", "yes"]);
    assert_eq!(done.status.code(), Some(137));
    assert_eq!(json(&done)["termination"]["kind"], "output_exceeded");
}

#[test]
fn a_shell_runs_scripts_from_an_argument_and_from_its_input() {
    if !sandboxes(
        "a_shell_runs_scripts_from_an_argument_and_from_its_input",
        "strict",
    ) {
        return;
    }
    let done = run([
        "shell",
        "--policy",
        "strict",
        "-c",
        "echo \"$0 $1\" | cat; exit 4",
        "--",
        "a",
        "b",
    ]);
    assert_eq!(
        (text(&done.stdout).as_str(), done.status.code()),
        ("a b\n", Some(4))
    );
    let done = run_with_input(["shell"], b"x=1\necho $x\nexit 6\n");
    assert_eq!(
        (text(&done.stdout).as_str(), done.status.code()),
        ("1\n", Some(6))
    );
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    if !sandboxes(
        "a_signal_that_was_ignored_at_the_start_stays_ignored",
        "basic",
    ) {
        return;
    }
    let binary = env!("CARGO_BIN_EXE_kavach");
    let script = format!("trap '' HUP; exec {binary} exec -- sh -c 'echo ready; read x; echo $x'");
    let mut child = std::process::Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(line(&mut child), "ready");
    signal(&child, Signal::HUP);
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"alive\n").unwrap();
    assert_eq!(line(&mut child), "alive");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_signal_ends_a_launch_that_hangs() {
    let name = "a_signal_ends_a_launch_that_hangs";
    if !sandboxes(name, "basic") {
        return;
    }
    if let Some(missing) = Hanging::missing() {
        skip(name, &missing);
        return;
    }
    for (number, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut hanging = Hanging::new("launch");
        let mut child = kavach(["exec", "--read", &hanging.directory, "--", &hanging.program])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        hanging.hangs();
        signal(&child, number);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(line(&mut child), "", "nothing of it ran");
        hanging.release();
    }
}
