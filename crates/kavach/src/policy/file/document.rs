//! One policy file, and the policy that a chain of them makes.

use super::decode::decode;
use super::mistake::{explain, syntax_fix, unknown_preset};
use super::problem::{PolicyProblem, ProblemKind};
use super::text::{PolicyText, VERSION};
use super::tree::{Entry, Node, Value, steps};
use super::{Format, MAX_POLICY_BYTES, PolicyCheck, json, toml};
use crate::policy::SandboxPolicy;
use crate::policy::section::Fault;
use crate::policy::validate::MAX_NAME;

/// What a policy file extends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    /// A preset, by its name; `basic` where the file says nothing.
    Preset(String),
    /// Another file, as it is named in this one.
    File(String),
}

/// A policy file that was read, and is not yet put together with what it extends.
#[derive(Debug)]
pub(crate) struct Document {
    name: String,
    text: String,
    tree: Option<Node>,
    content: PolicyText,
    problems: Vec<PolicyProblem>,
    /// Nothing more should be said of it: what followed would follow from a mistake.
    hopeless: bool,
}

/// U+FEFF at the beginning, which editors of other systems leave there.
const BOM: char = '\u{feff}';

impl Document {
    /// Reads bytes as a policy file.
    pub(crate) fn of_bytes(bytes: Vec<u8>, format: Format, name: &str) -> Self {
        let utf16 = matches!(bytes.as_slice(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(&text, format, name),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let fix = if utf16 {
                    "it looks like UTF-16: save it as UTF-8"
                } else {
                    "save it as UTF-8"
                };
                let problem = format!("not UTF-8, from byte {at} on");
                Self::unreadable(name, &problem, fix)
            }
        }
    }

    /// A file of which nothing can be read.
    pub(crate) fn unreadable(name: &str, problem: &str, fix: &str) -> Self {
        Self {
            name: name.to_owned(),
            text: String::new(),
            tree: None,
            content: PolicyText::default(),
            problems: vec![PolicyProblem::of_file(
                ProblemKind::Unreadable,
                name,
                problem,
                fix,
            )],
            hopeless: true,
        }
    }

    /// Reads a text as a policy file.
    pub(crate) fn parse(text: &str, format: Format, name: &str) -> Self {
        if text.len() > MAX_POLICY_BYTES {
            let problem = format!("{} bytes; at most {MAX_POLICY_BYTES} are read", text.len());
            return Self::unreadable(name, &problem, "");
        }
        let text = text.strip_prefix(BOM).unwrap_or(text);
        let mut document = Self {
            name: name.to_owned(),
            text: text.to_owned(),
            tree: None,
            content: PolicyText::default(),
            problems: Vec::new(),
            hopeless: false,
        };
        let parsed = match format {
            Format::Toml => toml::parse(text),
            Format::Json => json::parse(text),
        };
        match parsed {
            Ok(tree) => document.read(tree),
            Err(faults) => {
                document.hopeless = true;
                for fault in faults {
                    let fix = syntax_fix(format, text, &fault);
                    let problem =
                        PolicyProblem::of_file(ProblemKind::Syntax, name, fault.problem, fix);
                    document.problems.push(problem.at(text, Some(fault.span)));
                }
            }
        }
        document
    }

    /// Takes the values out of the tree.
    fn read(&mut self, mut tree: Node) {
        self.check_version(&mut tree);
        self.tree = Some(tree.clone());
        if self.hopeless {
            return;
        }
        let (content, mistakes) = decode(tree);
        self.content = content;
        for mistake in mistakes {
            let problem = explain(&mistake, &self.name);
            self.problems
                .push(problem.at(&self.text, Some(mistake.span)));
        }
    }

    /// Looks at the version before anything else: a file of a later one may have keys that are
    /// right there, and errors about them would lead astray.
    fn check_version(&mut self, tree: &mut Node) {
        let Value::Table(entries) = &mut tree.value else {
            return;
        };
        let known = Value::Integer(VERSION.into());
        let Some(entry) = entries.iter_mut().find(|entry| entry.key == "version") else {
            let span = 0..0;
            entries.push(Entry {
                key: "version".into(),
                span: span.clone(),
                node: Node { span, value: known },
            });
            let fix = "write `version = 1` (in JSON, `\"version\": 1`) at the beginning";
            let problem = PolicyProblem::of_file(ProblemKind::Version, &self.name, "missing", fix);
            self.problems.push(problem.at_key("version"));
            return;
        };
        let (problem, fix) = match &entry.node.value {
            Value::Integer(number) if *number == i128::from(VERSION) => return,
            Value::Integer(number) if *number > i128::from(VERSION) => {
                self.hopeless = true;
                let problem = format!("{number}; this kavach reads version {VERSION}");
                (problem, "a newer kavach wrote it: use that one".to_owned())
            }
            _ => (
                format!("{}, not {VERSION}", entry.node.described()),
                format!("write the number {VERSION}, without quotes"),
            ),
        };
        let problem = PolicyProblem::of_file(ProblemKind::Version, &self.name, problem, fix)
            .at_key("version")
            .at(&self.text, Some(entry.node.span.clone()));
        self.problems.push(problem);
        entry.node.value = known;
    }

    /// What it extends. What has a `/` or a `.` in it is a file, as on the command line.
    pub(crate) fn base(&self) -> Base {
        match &self.content.extends {
            Some(name) if name.contains(['/', '.']) => Base::File(name.clone()),
            Some(name) => Base::Preset(name.clone()),
            None => Base::Preset("basic".into()),
        }
    }

    /// Whether what it extends is worth looking at.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.hopeless
    }

    /// Says why the file that this one extends cannot be used; `basic` stands for it.
    pub(crate) fn refuse_base(&mut self, problem: &str, fix: &str) {
        let found = PolicyProblem::of_file(ProblemKind::Extends, &self.name, problem, fix)
            .at_key("extends")
            .at(&self.text, self.place("extends"));
        self.problems.push(found);
        self.content.extends = None;
    }

    /// Where a key, or as much of it as there is, stands in this file.
    fn place(&self, key: &str) -> Option<std::ops::Range<usize>> {
        self.tree.as_ref()?.place(&steps(key))
    }

    /// Whether this very key stands in this file.
    fn names(&self, key: &str) -> bool {
        let tree = self.tree.as_ref();
        tree.is_some_and(|tree| tree.at(&steps(key)).is_some())
    }
}

/// The policy that the first document asks for, each next one being what the one before extends.
pub(crate) fn assemble(mut documents: Vec<Document>) -> PolicyCheck {
    let mut policy = SandboxPolicy::basic();
    if let Some(last) = documents.last_mut()
        && !last.hopeless
        && let Base::Preset(name) = last.base()
    {
        match SandboxPolicy::from_preset(&name) {
            Ok(preset) => policy = preset,
            Err(_) => {
                let found = unknown_preset(&name, &last.name).at(&last.text, last.place("extends"));
                last.problems.push(found);
            }
        }
    }
    for document in documents.iter().rev() {
        document.content.clone().over(&mut policy);
    }
    // A name is not handed on: what extends a policy is not that policy.
    if let Some(first) = documents.first() {
        policy.name = match &first.content.name {
            Some(name) => name.clone(),
            None => default_name(&first.name),
        };
    }
    let sound = documents
        .iter()
        .all(|document| document.problems.is_empty());
    let mut faults = policy.wrong_values();
    // What was read only in part may contradict itself where the file does not.
    let contradictions = match sound {
        true => policy.contradictions(),
        false => Vec::new(),
    };
    let first_contradiction = faults.len();
    faults.extend(contradictions);
    if documents.iter().any(|document| document.hopeless) {
        faults.clear();
    }
    for (index, fault) in faults.into_iter().enumerate() {
        let kind = if index < first_contradiction {
            ProblemKind::WrongValue
        } else {
            ProblemKind::Contradiction
        };
        place_fault(&mut documents, kind, fault);
    }
    let mut warnings = Vec::new();
    if documents
        .iter()
        .all(|document| document.problems.is_empty())
    {
        for fault in policy.weaknesses() {
            let (index, problem) = placed(&documents, ProblemKind::Warning, fault);
            warnings.push((index, problem));
        }
    }
    let names: Vec<String> = documents
        .iter()
        .map(|document| crate::names::shown_path(&document.name))
        .collect();
    let with_chain = |index: usize, mut problem: PolicyProblem| {
        problem.extended_by = names.get(..index).unwrap_or_default().to_vec();
        problem
    };
    let mut problems: Vec<PolicyProblem> = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        let mut own = document.problems;
        own.sort_by_key(|problem| (problem.line, problem.column));
        problems.extend(own.into_iter().map(|problem| with_chain(index, problem)));
    }
    let mut warnings: Vec<PolicyProblem> = warnings
        .into_iter()
        .map(|(index, problem)| with_chain(index, problem))
        .collect();
    warnings.sort_by_key(|warning| (warning.extended_by.len(), warning.line, warning.column));
    PolicyCheck {
        policy: problems.is_empty().then_some(policy),
        problems,
        warnings,
    }
}

/// Puts a fault where the key stands that makes it.
fn place_fault(documents: &mut [Document], kind: ProblemKind, fault: Fault) {
    let (index, problem) = placed(documents, kind, fault);
    if let Some(document) = documents.get_mut(index) {
        document.problems.push(problem);
    }
}

/// A fault as a problem of the document that names the key: of several the first, whose value
/// counts. Where none does, the first document is at fault, for what it leaves out or extends.
fn placed(documents: &[Document], kind: ProblemKind, fault: Fault) -> (usize, PolicyProblem) {
    let named = documents
        .iter()
        .position(|document| document.names(&fault.key));
    let index = named.unwrap_or(0);
    let mut problem =
        PolicyProblem::of_file(kind, "", fault.wrong.problem.clone(), fault.wrong.fix)
            .at_key(fault.key.clone())
            .requiring(fault.wrong.required);
    if !fault.wrong.known.is_empty() {
        problem.kind = ProblemKind::UnknownName;
        problem.nearest =
            crate::names::nearest(&fault.wrong.problem, fault.wrong.known.iter().copied());
        problem.problem = format!("unknown name `{}`", crate::names::shown(&problem.problem));
    }
    if let Some(document) = documents.get(index) {
        problem.source_name = crate::names::shown_path(&document.name);
        if named.is_some() {
            problem = problem.at(&document.text, document.place(&fault.key));
        }
    }
    (index, problem)
}

/// The name of a policy whose file gives none: the file's, as far as a name may be.
fn default_name(file: &str) -> String {
    let mut name = crate::names::shown_path(file);
    while name.len() > MAX_NAME {
        // The end says more than the beginning.
        name.remove(0);
    }
    name
}
