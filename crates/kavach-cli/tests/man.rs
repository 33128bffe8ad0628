//! The manual pages, formatted by the formatter that readers use.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Dir, json, missing_program, run, run_with_input, skip, text};

/// All pages: file names and texts.
fn pages(dir: &Dir) -> Vec<(String, String)> {
    let directory = dir.0.join("not/yet/there");
    let done = run(["man", "--dir", directory.to_str().unwrap()]);
    assert_eq!(
        (done.status.code(), text(&done.stderr)),
        (Some(0), String::new())
    );
    let mut pages: Vec<(String, String)> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    pages.sort();
    let said = text(&done.stdout);
    assert_eq!(said.lines().count(), pages.len(), "each file is named");
    pages
}

#[test]
fn every_verb_has_a_page_with_all_its_sections() {
    let dir = Dir::new("man");
    let pages = pages(&dir);
    let names: BTreeSet<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    for verb in [
        "kavach",
        "kavach-exec",
        "kavach-shell",
        "kavach-backends",
        "kavach-score",
        "kavach-doctor",
        "kavach-policy",
        "kavach-policy-show",
        "kavach-policy-check",
        "kavach-policy-explain",
        "kavach-policy-diff",
        "kavach-policy-schema",
        "kavach-gc",
        "kavach-completions",
        "kavach-man",
    ] {
        assert!(names.contains(format!("{verb}.1").as_str()), "{names:?}");
    }
    for (name, page) in &pages {
        for section in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "\"EXIT STATUS\"",
            "\"SEE ALSO\"",
        ] {
            assert!(
                page.contains(&format!("\n.SH {section}\n")),
                "{name}: {section}"
            );
        }
        // Verbs of verbs have their examples on pages of their own.
        if name != "kavach-policy.1" {
            assert!(page.contains("\n.SH EXAMPLES\n"), "{name}");
        }
        assert!(page.is_ascii(), "{name}");
        // Each page that is referred to exists.
        let referred = page
            .rsplit(".SH \"SEE ALSO\"")
            .next()
            .unwrap()
            .replace('\\', "");
        for other in referred.split([',', '\n']).map(str::trim) {
            if let Some(own) = other
                .strip_suffix("(1)")
                .filter(|o| o.starts_with("kavach"))
            {
                assert!(
                    names.contains(format!("{own}.1").as_str()),
                    "{name}: {other}"
                );
            }
        }
    }
    let main = &pages.iter().find(|(name, _)| name == "kavach.1").unwrap().1;
    assert!(main.contains("\n.SH FILES\n") && main.contains("\n.SH ENVIRONMENT\n"));
}

#[test]
fn groff_has_nothing_to_say_against_a_page() {
    if let Some(missing) = missing_program("groff") {
        skip("groff_has_nothing_to_say_against_a_page", &missing);
        return;
    }
    let dir = Dir::new("groff");
    for (name, page) in pages(&dir) {
        let file = dir.file(&name, page.as_bytes());
        let done = Command::new("groff")
            .args(["-man", "-Tascii", "-ww", "-P-cbou", &file])
            .output()
            .unwrap();
        assert!(done.status.success());
        assert_eq!(text(&done.stderr), "", "{name}");
        let shown = text(&done.stdout);
        assert!(shown.contains("\nEXIT STATUS\n"), "{name}: {shown}");
    }
}

#[test]
fn one_page_is_printed_by_its_verb() {
    let whole = run(["man"]).stdout;
    assert!(text(&whole).contains("\n.TH KAVACH 1 "));
    for args in [&["man", "policy", "show"][..], &["man", "policy show"]] {
        let page = text(&run(args).stdout);
        assert!(page.contains(".TH KAVACH\\-POLICY\\-SHOW 1 "), "{page}");
    }
    let document = json(&run(["man", "exec", "--json"]));
    let printed = text(&run(["man", "exec"]).stdout);
    assert_eq!(document["pages"][0]["text"].as_str().unwrap(), printed);
}

#[test]
fn the_install_script_puts_command_pages_and_completions_where_they_are_found() {
    let name = "the_install_script_puts_command_pages_and_completions_where_they_are_found";
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/install.sh");
    if !Path::new(script).exists() {
        skip(name, "scripts/install.sh is not in the package");
        return;
    }
    let dir = Dir::new("install");
    let done = Command::new(script)
        .args([
            "--prefix",
            "/opt/kavach",
            "--binary",
            env!("CARGO_BIN_EXE_kavach"),
        ])
        .env("DESTDIR", &dir.0)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let said = text(&done.stdout);
    for path in [
        "bin/kavach",
        "share/man/man1/kavach-exec.1",
        "share/bash-completion/completions/kavach",
        "share/zsh/site-functions/_kavach",
        "share/fish/vendor_completions.d/kavach.fish",
    ] {
        let installed = dir.0.join("opt/kavach").join(path);
        assert!(installed.is_file(), "{path}");
        assert!(
            said.lines().any(|line| Path::new(line) == installed),
            "{said}"
        );
    }
    let version = Command::new(dir.0.join("opt/kavach/bin/kavach"))
        .arg("--version")
        .output();
    assert!(version.unwrap().status.success());
}

#[test]
fn man_reads_a_page_from_a_pipe() {
    if let Some(missing) = missing_program("man") {
        skip("man_reads_a_page_from_a_pipe", &missing);
        return;
    }
    let page = run(["man", "exec"]).stdout;
    let shown = common::feed(
        Command::new("man").args(["-l", "-"]).env("MANWIDTH", "80"),
        &page,
    );
    assert!(shown.status.success(), "{shown:?}");
    assert!(text(&shown.stdout).contains("kavach exec --json -- true"));
    // Not only in the help of the test.
    assert_eq!(run_with_input(["man", "exec"], b"").stdout, page);
}
