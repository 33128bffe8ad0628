//! What help and manual pages say beyond the arguments: examples, exit codes. Written once for
//! both.

use clap::{Command, CommandFactory as _};

use crate::cli::Cli;

/// A command line, and what it does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Example {
    pub(crate) line: &'static str,
    pub(crate) does: &'static str,
}

const fn example(line: &'static str, does: &'static str) -> Example {
    Example { line, does }
}

const KAVACH: &[Example] = &[
    example("kavach exec -- ls -la /", "run one program in a sandbox"),
    example(
        "kavach exec --policy strict -- python3 -c 'print(6*7)'",
        "run it with everything locked down",
    ),
    example("kavach shell", "look around inside"),
    example(
        "kavach doctor",
        "see what this host can enforce, and how to get the rest",
    ),
    example(
        "kavach score --here --policy strict",
        "see how strong a sandbox is here, and why",
    ),
];

const EXEC: &[Example] = &[
    example(
        "kavach exec -- ls -la /",
        "run one program; it sees no files of yours and no network",
    ),
    example(
        "kavach exec --read . --cwd \"$PWD\" -- make -n",
        "show it this directory, read-only, and start there",
    ),
    example(
        "kavach exec --policy strict --timeout 10s --memory-mb 256 -- python3 -",
        "run a script from standard input with tight limits",
    ),
    example(
        "kavach exec --env DEBUG=1 --secret API_KEY=env:API_KEY -- env",
        "set a variable, and pass a secret on without writing it down",
    ),
    example(
        "kavach exec --read /usr/share/doc -- ls /usr/share/doc",
        "use a program that needs a terminal",
    ),
    example(
        "kavach exec --json -- true",
        "get the result, the limits and the evidence as JSON",
    ),
];

const SHELL: &[Example] = &[
    example("kavach shell", "look around inside"),
    example("kavach shell --policy strict -c 'id; ls /'", "run a script"),
    example(
        "kavach shell -c 'echo \"$0 has $1\"' -- name argument",
        "give the script arguments",
    ),
];

const BACKENDS: &[Example] = &[example(
    "kavach backends",
    "list what can isolate a program, and whether it can here",
)];

const SCORE: &[Example] = &[
    example("kavach score", "print the scale"),
    example(
        "kavach score --here --policy strict",
        "build a sandbox and print what holds, with the evidence",
    ),
];

const VERIFY: &[Example] = &[
    example(
        "kavach verify --policy strict",
        "measure how strong a sandbox is here, and see every probe",
    ),
    example(
        "kavach verify --policy ./mine.toml --json",
        "gate on it: the exit code is 1 where a claim does not hold",
    ),
];

const DOCTOR: &[Example] = &[example(
    "kavach doctor",
    "list what is missing on this host, each with its fix",
)];

const POLICY_SHOW: &[Example] = &[example(
    "kavach policy show strict > mine.toml",
    "begin a policy of your own",
)];

const POLICY_CHECK: &[Example] = &[example(
    "kavach policy check ./mine.toml",
    "see whether it is valid",
)];

const POLICY_EXPLAIN: &[Example] = &[example(
    "kavach policy explain strict",
    "see what this host does about each control, and its points",
)];

const POLICY_DIFF: &[Example] = &[example(
    "kavach policy diff basic ./mine.toml",
    "see what a policy of your own allows more, and what less",
)];

const POLICY_SCHEMA: &[Example] = &[example(
    "kavach policy schema > policy.schema.json",
    "let an editor check policy files",
)];

const GC: &[Example] = &[
    example("kavach gc --dry-run", "see what would be removed"),
    example("kavach gc", "remove it"),
];

const COMPLETIONS: &[Example] = &[
    example(
        "kavach completions bash > ~/.local/share/bash-completion/completions/kavach",
        "install them for bash",
    ),
    example(
        "kavach completions zsh > ~/.zfunc/_kavach",
        "for zsh, with ~/.zfunc in its fpath",
    ),
    example(
        "kavach completions fish > ~/.config/fish/completions/kavach.fish",
        "for fish",
    ),
];

const MAN: &[Example] = &[
    example("kavach man exec | man -l -", "read a page"),
    example(
        "kavach man --dir ~/.local/share/man/man1",
        "install all pages for yourself",
    ),
];

/// The examples of a verb, by its whole name: `kavach policy show`.
pub(crate) fn examples(name: &str) -> &'static [Example] {
    match name {
        "kavach" => KAVACH,
        "kavach exec" => EXEC,
        "kavach shell" => SHELL,
        "kavach backends" => BACKENDS,
        "kavach score" => SCORE,
        "kavach verify" => VERIFY,
        "kavach doctor" => DOCTOR,
        "kavach policy show" => POLICY_SHOW,
        "kavach policy check" => POLICY_CHECK,
        "kavach policy explain" => POLICY_EXPLAIN,
        "kavach policy diff" => POLICY_DIFF,
        "kavach policy schema" => POLICY_SCHEMA,
        "kavach gc" => GC,
        "kavach completions" => COMPLETIONS,
        "kavach man" => MAN,
        _ => &[],
    }
}

/// Exit codes and what they mean.
pub(crate) type ExitCodes = &'static [(&'static str, &'static str)];

/// The exit codes of a verb, by its whole name.
pub(crate) fn exit_codes(name: &str) -> ExitCodes {
    match name {
        "kavach" | "kavach exec" | "kavach shell" => &[
            ("0 to 255", "the program's own"),
            ("124", "the program ran out of time"),
            ("125", "kavach failed, or the arguments are wrong"),
            ("126", "the program cannot be started"),
            ("127", "the program was not found"),
            ("128+n", "signal n ended the program, or kavach"),
            ("137", "also: a limit or a second Ctrl-C ended it"),
        ],
        "kavach doctor" => &[
            ("0", "the policy strict works here"),
            ("1", "it does not"),
            ("125", "kavach failed, or the arguments are wrong"),
        ],
        "kavach verify" => &[
            ("0", "nothing that is claimed was seen to fail"),
            ("1", "something was: claimed, not observed"),
            ("125", "kavach failed, or the arguments are wrong"),
        ],
        "kavach policy diff" => &[
            (
                "0",
                "the second policy allows nothing that the first denies",
            ),
            ("1", "it does"),
            ("125", "kavach failed, or the arguments are wrong"),
        ],
        "kavach gc" => &[
            ("0", "nothing is left"),
            ("1", "something could not be removed"),
            ("125", "kavach failed, or the arguments are wrong"),
        ],
        _ => &[
            ("0", "done"),
            ("125", "kavach failed, or the arguments are wrong"),
        ],
    }
}

/// The command with examples and exit codes in its long help.
pub(crate) fn command() -> Command {
    with_help(Cli::command(), "kavach")
}

fn with_help(mut command: Command, name: &str) -> Command {
    let verbs: Vec<String> = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    for verb in &verbs {
        let name = format!("{name} {verb}");
        command = command.mut_subcommand(verb, |command| with_help(command, &name));
    }
    command.after_long_help(after(name))
}

fn after(name: &str) -> String {
    let mut text = String::new();
    let examples = examples(name);
    if !examples.is_empty() {
        text.push_str("Examples:\n");
        for example in examples {
            text.push_str(&format!("  # {}\n  {}\n", example.does, example.line));
        }
        text.push('\n');
    }
    text.push_str("Exit codes:\n");
    for (code, meaning) in exit_codes(name) {
        text.push_str(&format!("  {code:<8}  {meaning}\n"));
    }
    text
}

/// What `kavach` alone says: enough to begin with.
pub(crate) fn greeting() -> String {
    let mut text = String::from(
        "kavach runs untrusted programs behind isolation, and knows how strong it is.\n\n",
    );
    let width = KAVACH.iter().map(|example| example.line.len()).max();
    let width = width.unwrap_or_default();
    for Example { line, does } in KAVACH {
        text.push_str(&format!("  {line:<width$}  {does}\n"));
    }
    text.push_str("\n`kavach help` lists all verbs, `kavach help VERB` explains one.");
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use kavach::IntoCommand as _;

    use super::*;

    /// Every verb that does something, with its whole name.
    fn verbs(command: &Command, name: &str, into: &mut Vec<(String, Command)>) {
        if !command.has_subcommands() {
            into.push((name.into(), command.clone()));
        }
        for verb in command.get_subcommands() {
            let name = format!("{name} {}", verb.get_name());
            verbs(verb, &name, into);
        }
    }

    fn all_verbs() -> Vec<(String, Command)> {
        let mut all = Vec::new();
        verbs(&Cli::command(), "kavach", &mut all);
        all
    }

    #[test]
    fn the_definition_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn every_verb_takes_json_and_quiet() {
        for (name, verb) in all_verbs() {
            for flag in ["json", "quiet"] {
                let has = verb.get_arguments().any(|arg| arg.get_id() == flag);
                assert!(has, "{name} --{flag}");
            }
        }
    }

    #[test]
    fn every_verb_and_every_flag_is_explained_in_plain_ascii() {
        // Manual pages are read on terminals of any encoding.
        let plain = |text: String, what: &str| {
            assert!(!text.is_empty() && text.is_ascii(), "{what}: {text:?}");
        };
        for (name, verb) in all_verbs() {
            let about = verb.get_about().map(ToString::to_string);
            plain(about.unwrap_or_default(), &name);
            assert!(!examples(&name).is_empty(), "{name} has no example");
            for arg in verb.get_arguments() {
                let help = arg.get_help().map(ToString::to_string);
                plain(
                    help.unwrap_or_default(),
                    &format!("{name} {}", arg.get_id()),
                );
            }
        }
    }

    #[test]
    fn every_example_is_a_command_line_of_its_verb() {
        let names = all_verbs().into_iter().map(|(name, _)| name);
        for name in names.chain(["kavach".to_owned()]) {
            for Example { line, .. } in examples(&name) {
                assert!(line.starts_with(&name), "{line}");
                // As the shell would: up to a pipe or a redirection.
                let kavach = line.split(['|', '>']).next().unwrap();
                let kavach = kavach.replace("\"$PWD\"", "/here");
                let command = kavach.into_command().unwrap();
                let parsed = Cli::try_parse_from(command.get_argv());
                parsed.unwrap_or_else(|error| panic!("{line}: {error}"));
            }
        }
    }
}
