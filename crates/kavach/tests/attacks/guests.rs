//! A guest that nobody runs proves nothing: each file is compiled, and each act is run by a trial.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{CRATE, repository};

/// The sources of the tests in a directory.
fn sources(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut out = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            out.push((path, text));
        }
    }
    out
}

/// The names in the table of acts at the end of a guest.
fn acts(source: &str) -> Vec<String> {
    let Some((_, table)) = source.rsplit_once("acts[] = {") else {
        return Vec::new();
    };
    let (table, _) = table.split_once("NULL").unwrap();
    let by_macro = table.split("A(").skip(1).map(|rest| rest.split(')').next());
    let by_name = table
        .split("{\"")
        .skip(1)
        .map(|rest| rest.split('"').next());
    by_macro
        .chain(by_name)
        .map(|name| name.unwrap().to_owned())
        .collect()
}

/// The ways of a guest that has a table of these.
fn ways(source: &str) -> Vec<String> {
    let Some((_, table)) = source.rsplit_once("ways[] = {") else {
        return Vec::new();
    };
    let (table, _) = table.split_once("};").unwrap();
    let by_name = table
        .split("{\"")
        .skip(1)
        .map(|rest| rest.split('"').next());
    by_name.map(|name| name.unwrap().to_owned()).collect()
}

#[test]
fn every_act_of_every_guest_is_run_by_a_trial() {
    let tests = sources(&Path::new(CRATE).join("tests/isolation"));
    let mut counted = 0;
    for entry in fs::read_dir(Path::new(CRATE).join("tests/guests")).unwrap() {
        let path = entry.unwrap().path();
        let guest = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let main = tests
            .iter()
            .find(|(path, _)| path.ends_with("main.rs"))
            .unwrap();
        assert!(
            main.1.contains(&format!("guests/{file}\"")),
            "{file} is not compiled"
        );
        if !file.ends_with(".c") {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let (acts, ways) = (acts(&source), ways(&source));
        assert!(acts.len() + ways.len() > 0, "{file} has no table of acts");
        // Where the guest is run: by its name, and by the name of the act.
        let users: Vec<_> = tests
            .iter()
            .filter(|(_, text)| text.contains(&format!("\"{guest}\"")))
            .collect();
        for act in acts.iter().chain(&ways) {
            let run = users
                .iter()
                .any(|(_, text)| text.contains(&format!("\"{act}\"")));
            assert!(run, "no trial runs `{guest} {act}`");
            counted += 1;
        }
        let defined = source.matches("\nACT(").count();
        assert!(
            acts.len() >= defined,
            "{file} has acts that are in no table"
        );
    }
    assert!(counted > 100, "{counted}");
}

/// The guests of the command line's tests are files by themselves.
#[test]
fn every_guest_of_the_command_line_is_run_by_a_test() {
    let Some(root) = repository("guests::every_guest_of_the_command_line_is_run_by_a_test") else {
        return;
    };
    let tests = sources(&root.join("crates/kavach-cli/tests"));
    for entry in fs::read_dir(root.join("crates/kavach-cli/tests/guests")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let run = tests
            .iter()
            .any(|(_, text)| text.contains(&format!("guests/{file}\"")));
        assert!(run, "no test runs {file}");
    }
}
