//! The completion scripts, read by the shells they are for.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::process::Command;

use common::{Dir, missing_program, run, skip, text};

/// The script of a shell in a file, and what the shell printed that ran `code` with it as `$1`.
fn in_shell(shell: &str, arguments: &[&str], code: &str) -> Vec<String> {
    let dir = Dir::new(&format!("completions-{shell}"));
    let script = run(["completions", shell]);
    assert_eq!(text(&script.stderr), "");
    let file = dir.file("script", &script.stdout);
    let done = Command::new(shell)
        .args(arguments)
        .args(["-c", code])
        .args((shell != "fish").then_some("shell"))
        .arg(&file)
        .current_dir(&dir.0)
        .env("HOME", &dir.0)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    assert_eq!(text(&done.stderr), "", "{shell}");
    text(&done.stdout).lines().map(str::to_owned).collect()
}

/// What bash would offer for the last of these words.
fn bash(words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
    let code = format!(
        "source \"$1\"; compopt() {{ :; }}; COMP_WORDS=({}); COMP_CWORD={}; \
         _kavach kavach '{last}' '{before}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len() - 1,
    );
    in_shell("bash", &["--norc", "--noprofile"], &code)
}

#[test]
fn bash_completes_verbs_options_presets_and_backends() {
    for (words, expected) in [
        (&["kavach", "ex"][..], &["exec"][..]),
        (&["kavach", "exec", "--pol"], &["--policy"]),
        (
            &["kavach", "exec", "--policy", ""],
            &["minimal", "basic", "strict"],
        ),
        (&["kavach", "shell", "--policy", "s"], &["strict"]),
        (&["kavach", "exec", "--backend", "pro"], &["process"]),
        (&["kavach", "policy", "sh"], &["show"]),
        (
            &["kavach", "completions", ""],
            &["bash", "elvish", "fish", "powershell", "zsh"],
        ),
    ] {
        let offered = bash(words);
        for word in expected {
            assert!(
                offered.iter().any(|offer| offer == word),
                "{words:?}: {offered:?}"
            );
        }
    }
    let verbs = bash(&["kavach", ""]);
    for verb in ["exec", "shell", "doctor", "gc", "man", "completions"] {
        assert!(verbs.iter().any(|offer| offer == verb), "{verbs:?}");
    }
    // No file: what was typed stays.
    assert_eq!(bash(&["kavach", "exec", "--agent-id", "s"]), ["s"]);
    // A file: none of the names fits, and bash goes on to file names by itself.
    assert_eq!(bash(&["kavach", "exec", "--policy", "./"]), [""]);
    let registered = in_shell("bash", &[], "source \"$1\"; complete -p kavach");
    assert!(registered[0].contains("-o default"), "{registered:?}");
}

#[test]
fn fish_completes_verbs_presets_and_policy_files() {
    if let Some(missing) = missing_program("fish") {
        skip("fish_completes_verbs_presets_and_policy_files", &missing);
        return;
    }
    let complete = |line: &str| {
        let code = format!("source $argv[1]; touch mine.toml; complete -C '{line}'");
        let offered = in_shell("fish", &["--no-config"], &code);
        let word = |line: String| line.split('\t').next().unwrap().to_owned();
        offered.into_iter().map(word).collect::<Vec<_>>()
    };
    assert_eq!(complete("kavach exe"), ["exec"]);
    let policies = complete("kavach exec --policy ");
    for offer in ["minimal", "basic", "strict", "mine.toml"] {
        assert!(policies.iter().any(|word| word == offer), "{policies:?}");
    }
}

#[test]
fn zsh_takes_the_script_and_policies_are_presets_or_files() {
    let name = "zsh_takes_the_script_and_policies_are_presets_or_files";
    if let Some(missing) = missing_program("zsh") {
        skip(name, &missing);
        return;
    }
    let code = "autoload -U compinit; compinit -D -u; source \"$1\"; \
                whence -w _kavach _kavach_policy; print $_comps[kavach]";
    let said = in_shell("zsh", &["-f"], code);
    assert_eq!(
        said,
        ["_kavach: function", "_kavach_policy: function", "_kavach"]
    );
    let script = text(&run(["completions", "zsh"]).stdout);
    assert_eq!(script.matches(":NAME|FILE:_kavach_policy'").count(), 4);
}

#[test]
fn each_shell_has_a_script_with_the_verbs() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&run(["completions", shell]).stdout);
        for word in ["exec", "doctor", "policy", "strict"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}
