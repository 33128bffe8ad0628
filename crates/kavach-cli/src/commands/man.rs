//! `kavach man`: manual pages, from the definition of the arguments.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use roff::{Roff, bold, roman};

use crate::cli::{Cli, ManArgs};
use crate::error::{CliError, Result};
use crate::exit_code;
use crate::help;
use crate::json::{self, Page};
use crate::output;

const SECTION: &str = "1";

pub(crate) fn run(args: &ManArgs) -> Result<u8> {
    let pages = match &args.dir {
        Some(directory) => write_all(directory)?,
        None => vec![named(&args.verb)?],
    };
    if args.output.json {
        json::print(&json::Man::from(pages))?;
        return Ok(exit_code::OK);
    }
    for page in pages {
        match (page.text, page.path) {
            (Some(text), _) => output::line(text.trim_end())?,
            (None, path) => output::line(&path.unwrap_or_default())?,
        }
    }
    Ok(exit_code::OK)
}

/// The page of one verb.
fn named(verb: &[String]) -> Result<Page> {
    let words = verb.iter().flat_map(|word| word.split_whitespace());
    let mut file = String::from("kavach");
    for word in words {
        file.push('-');
        file.push_str(word);
    }
    let commands = commands();
    let found = commands.iter().find(|command| name_of(command) == file);
    let Some(command) = found else {
        let mut known: Vec<String> = commands.iter().map(full_name).collect();
        known.retain(|name| name != "kavach");
        return Err(CliError::argument(
            "VERB",
            format!("there is no page for `{}`", verb.join(" ")),
            format!("known: {}", known.join(", ").replace("kavach ", "")),
        ));
    };
    Ok(Page {
        name: format!("{file}.{SECTION}"),
        path: None,
        text: Some(page(command)?),
    })
}

fn write_all(directory: &Path) -> Result<Vec<Page>> {
    fs::create_dir_all(directory).map_err(failed("make", directory))?;
    let mut pages = Vec::new();
    for command in commands() {
        let name = format!("{}.{SECTION}", name_of(&command));
        let path = directory.join(&name);
        fs::write(&path, page(&command)?).map_err(failed("write", &path))?;
        pages.push(Page {
            name,
            path: Some(path.to_string_lossy().into_owned()),
            text: None,
        });
    }
    Ok(pages)
}

fn failed(op: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> CliError {
    let path = PathBuf::from(path);
    move |source| {
        kavach::KavachError::HostIo {
            op: op.into(),
            path,
            source,
        }
        .into()
    }
}

/// kavach itself and all its verbs, each with its whole name.
fn commands() -> Vec<Command> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut all = Vec::new();
    collect(&root, &mut all);
    all
}

fn collect(command: &Command, into: &mut Vec<Command>) {
    into.push(command.clone());
    for verb in command.get_subcommands() {
        collect(verb, into);
    }
}

/// `kavach-policy-show`.
fn name_of(command: &Command) -> String {
    let name = command.get_display_name().unwrap_or(command.get_name());
    name.to_owned()
}

/// `kavach policy show`.
fn full_name(command: &Command) -> String {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    name.to_owned()
}

fn page(command: &Command) -> Result<String> {
    let command = command.clone().subcommand_help_heading("VERBS");
    let man = Man::new(command.clone()).section(SECTION);
    let mut parts = Vec::new();
    let rendered = man
        .render_name_section(&mut parts)
        .and_then(|()| man.render_synopsis_section(&mut parts))
        .and_then(|()| man.render_description_section(&mut parts))
        .and_then(|()| man.render_options_section(&mut parts));
    let rendered = match command.has_subcommands() {
        true => rendered.and_then(|()| man.render_subcommands_section(&mut parts)),
        false => rendered,
    };
    rendered
        .and_then(|()| rest(&command).to_writer(&mut parts))
        .map_err(CliError::io("make a manual page"))?;
    let parts = String::from_utf8_lossy(&parts);

    // Each part comes with the definition of the apostrophe: once is enough. The title is written
    // here because an empty date is written without quotes there, and the rest moves up.
    let title = format!(
        ".TH {} {SECTION} \"\" \"kavach {}\" \"kavach\"\n",
        name_of(&command).to_uppercase().replace('-', "\\-"),
        env!("CARGO_PKG_VERSION")
    );
    Ok([APOSTROPHE, &title, &parts.replace(APOSTROPHE, "")].concat())
}

/// What `roff` begins everything with.
const APOSTROPHE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// The sections that the arguments do not know.
fn rest(command: &Command) -> Roff {
    let name = full_name(command);
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in help::exit_codes(&name) {
        entry(&mut roff, code, meaning);
    }
    if name == "kavach" {
        roff.control("SH", ["FILES"]);
        for (path, meaning) in FILES {
            entry(&mut roff, path, meaning);
        }
        roff.control("SH", ["ENVIRONMENT"]);
        for (variable, meaning) in VARIABLES {
            entry(&mut roff, variable, meaning);
        }
    }
    let examples = help::examples(&name);
    if !examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
        for (index, example) in examples.iter().enumerate() {
            let mut does = example.does.to_owned();
            if let Some(first) = does.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            // A heading begins a paragraph by itself.
            if index > 0 {
                roff.control("PP", []);
            }
            roff.text([roman(format!("{does}:"))]);
            roff.control("PP", []);
            roff.control("RS", ["4"]);
            roff.control("nf", []);
            roff.text([bold(example.line)]);
            roff.control("fi", []);
            roff.control("RE", []);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(see_also(command).join(", "))]);
    roff
}

fn entry(roff: &mut Roff, term: &str, meaning: &str) {
    roff.control("TP", []);
    roff.text([bold(term)]);
    roff.text([roman(meaning)]);
}

const FILES: [(&str, &str); 3] = [
    (
        "/run/kavach/uid-ranges",
        "Lock files of the user id ranges that sandboxes of root have. Empty; a file that a killed \
         host left is taken over.",
    ),
    (
        "/sys/fs/cgroup/.../kavach.*",
        "The control groups of live sandboxes. Their names say whose they are; `kavach gc` removes \
         those of dead host processes.",
    ),
    (
        "NAME.toml, NAME.json",
        "A policy file, wherever it lies: `--policy` names it. There is no configuration file.",
    ),
];

const VARIABLES: [(&str, &str); 3] = [
    (
        "NO_COLOR",
        "If set and not empty: no colours in messages and help.",
    ),
    (
        "TERM",
        "If it is `dumb`: no colours, and no progress on long work.",
    ),
    ("CI", "If set and not empty: no progress on long work."),
];

/// The pages above, below and beside, then those of the kernel's mechanisms.
fn see_also(command: &Command) -> Vec<String> {
    let own = name_of(command);
    let mut pages: Vec<String> = Vec::new();
    if let Some((above, _)) = own.rsplit_once('-') {
        pages.push(format!("{above}({SECTION})"));
    }
    for verb in command.get_subcommands() {
        pages.push(format!("{}({SECTION})", name_of(verb)));
    }
    let others: &[&str] = match own.as_str() {
        "kavach" => &[
            "bwrap(1)",
            "namespaces(7)",
            "cgroups(7)",
            "landlock(7)",
            "seccomp(2)",
        ],
        "kavach-exec" => &[
            "kavach-shell(1)",
            "kavach-policy(1)",
            "timeout(1)",
            "signal(7)",
        ],
        "kavach-shell" => &["kavach-exec(1)", "bash(1)"],
        "kavach-score" => &["kavach-doctor(1)", "kavach-backends(1)"],
        "kavach-doctor" => &["kavach-score(1)", "user_namespaces(7)", "cgroups(7)"],
        "kavach-policy-explain" => &["kavach-score(1)", "kavach-doctor(1)"],
        "kavach-gc" => &["cgroups(7)"],
        "kavach-man" => &["man(1)", "kavach-completions(1)"],
        _ => &[],
    };
    pages.extend(others.iter().map(|page| (*page).to_owned()));
    pages
}
