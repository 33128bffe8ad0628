use super::*;

fn field_of(command: &Command) -> String {
    match command.validate(&[]) {
        Err(KavachError::InvalidConfig { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn text_becomes_a_program_and_its_arguments() {
    let command = "echo 'hello world'".into_command().unwrap();
    assert_eq!(command, Command::new("echo").arg("hello world"));
    assert_eq!(
        String::from("true").into_command().unwrap(),
        Command::new("true")
    );
    for empty in ["", "  ", "\n"] {
        assert_eq!(
            empty.into_command().unwrap_err().code(),
            "KV-COMMAND-SYNTAX"
        );
    }
}

#[test]
fn a_shell_is_started_only_by_name() {
    let command = Command::shell("a | b");
    assert_eq!(command.get_argv(), ["/bin/sh", "-c", "a | b"]);
}

#[test]
fn a_directory_is_the_same_with_a_slash_at_its_end() {
    for (written, meant) in [("/tmp/", "/tmp"), ("/a//b/./c/", "/a/b/c"), ("/", "/")] {
        let command = Command::new("a").cwd(written);
        assert_eq!(command.get_cwd(), Some(Path::new(meant)));
    }
}

#[test]
fn what_cannot_be_started_is_named() {
    assert_eq!(field_of(&Command::new("")), "command");
    assert_eq!(field_of(&Command::new("a").arg("b\0c")), "argv[1]");
    assert_eq!(
        field_of(&Command::new("a").arg("x".repeat(128 * 1024))),
        "argv[1]"
    );
    let many = Command::new("a").args(vec!["x".repeat(100 * 1024); 20]);
    assert_eq!(field_of(&many), "argv");
    assert_eq!(field_of(&Command::new("a").env("B=", "")), "env");
    assert_eq!(field_of(&Command::new("a").cwd("../x")), "cwd");
    assert_eq!(
        field_of(&Command::new("a").timeout_ms(u64::MAX)),
        "timeout_ms"
    );
    Command::new("a")
        .arg("x".repeat(128 * 1024 - 1))
        .validate(&[])
        .unwrap();
}

#[test]
fn the_sandboxs_environment_counts_to_the_total() {
    let base = vec![("V".into(), OsString::from("x".repeat(100 * 1024))); 16];
    let err = Command::new("a").validate(&base).unwrap_err();
    assert!(err.to_string().contains("environment"), "{err}");
}

#[test]
fn debug_output_shows_no_values_and_no_input() {
    let command = Command::new("a")
        .env("TOKEN", "canary")
        .stdin_bytes("canary");
    let shown = format!("{command:?}");
    assert!(
        shown.contains("TOKEN") && shown.contains("6 bytes"),
        "{shown}"
    );
    assert!(!shown.contains("canary"), "{shown}");
}
