//! Reading policy files. Apart from the policy itself, which touches no file.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::error::{KavachError, Result};
use crate::policy::{
    Base, Document, Format, MAX_POLICY_BYTES, PolicyCheck, SandboxPolicy, assemble,
};

/// How many files one policy may lead to by `extends`.
const MAX_EXTENDED: usize = 8;

impl SandboxPolicy {
    /// Reads a policy file: JSON where its name ends in `.json`, else TOML.
    ///
    /// Only a regular file of at most 1 MiB is read. A pipe or device in its place does not
    /// block: it is opened without waiting and refused.
    ///
    /// A file that it extends is named relative to it, lies in the same directory or below, and
    /// is reached through no symbolic link. At most eight files may follow each other so.
    ///
    /// # Errors
    /// [`KavachError::PathMissing`] where the file cannot be opened or read;
    /// [`KavachError::InvalidPolicy`] with everything that is wrong in it, or in a file that it
    /// extends.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::check_file(path)?.into_policy()
    }

    /// Reads a policy file, and says everything that is wrong or weak about it.
    ///
    /// # Errors
    /// [`KavachError::PathMissing`] where the file cannot be opened or read.
    pub fn check_file(path: impl AsRef<Path>) -> Result<PolicyCheck> {
        let path = path.as_ref();
        let opened = Opened::first(path).map_err(|source| KavachError::PathMissing {
            field: "policy".into(),
            path: path.to_path_buf(),
            source,
        })?;
        Ok(assemble(chain(opened)))
    }
}

/// A file that was opened, and where files beside it are looked for.
struct Opened {
    name: String,
    format: Format,
    file: File,
    directory: OwnedFd,
    /// The directory, as it stands in names; empty for the current one.
    prefix: PathBuf,
    /// Device and inode: what tells that a file comes back.
    id: (u64, u64),
}

impl Opened {
    /// The file that was asked for. Links are followed: the caller named it.
    fn first(path: &Path) -> io::Result<Self> {
        let file = openat(CWD, path, reading(), Mode::empty())?;
        let prefix = path.parent().unwrap_or(Path::new("")).to_path_buf();
        let directory = if prefix.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &prefix
        };
        let directory = openat(CWD, directory, below(OFlags::DIRECTORY), Mode::empty())?;
        Self::new(path, file, directory, prefix)
    }

    /// The file that this one names: beside it or below, through no link.
    fn beside(&self, path: &Path) -> io::Result<Self> {
        let mut prefix = self.prefix.clone();
        let mut directory = self.directory.try_clone()?;
        let parents = path.parent().unwrap_or(Path::new(""));
        let no_link = OFlags::DIRECTORY | OFlags::NOFOLLOW;
        for part in parents {
            directory = openat(&directory, part, below(no_link), Mode::empty())?;
            prefix.push(part);
        }
        let name = path.file_name().unwrap_or_default();
        let flags = reading() | OFlags::NOFOLLOW;
        let file = openat(&directory, name, flags, Mode::empty())?;
        Self::new(&prefix.join(name), file, directory, prefix)
    }

    fn new(path: &Path, file: OwnedFd, directory: OwnedFd, prefix: PathBuf) -> io::Result<Self> {
        let stat = rustix::fs::fstat(file.as_fd())?;
        let json = path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
        Ok(Self {
            name: path.to_string_lossy().into_owned(),
            format: if json { Format::Json } else { Format::Toml },
            file: File::from(file),
            directory,
            prefix,
            id: (stat.st_dev, stat.st_ino),
        })
    }

    /// Reads it as a policy.
    fn read(&self) -> Document {
        let refuse = |problem: &str| Document::unreadable(&self.name, problem, "");
        match self.file.metadata() {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return refuse("not a regular file"),
            Err(error) => return refuse(&error.to_string()),
        }
        let ending = Path::new(&self.name).extension().unwrap_or_default();
        if ending.eq_ignore_ascii_case("yaml") || ending.eq_ignore_ascii_case("yml") {
            let fix = "write it as TOML, or as JSON in a file that ends in `.json`";
            return Document::unreadable(&self.name, "YAML is not read", fix);
        }
        // Read with a bound instead of trusting the size: the file may grow meanwhile.
        let bound = MAX_POLICY_BYTES as u64 + 1;
        let mut bytes = Vec::new();
        if let Err(error) = (&self.file).take(bound).read_to_end(&mut bytes) {
            return refuse(&error.to_string());
        }
        if bytes.len() > MAX_POLICY_BYTES {
            return refuse("larger than 1 MiB");
        }
        Document::of_bytes(bytes, self.format, &self.name)
    }
}

/// For reading, without waiting for whoever writes a pipe.
const fn reading() -> OFlags {
    OFlags::RDONLY
        .union(OFlags::NONBLOCK)
        .union(OFlags::CLOEXEC)
        .union(OFlags::NOCTTY)
}

/// For looking up what is below.
const fn below(flags: OFlags) -> OFlags {
    OFlags::PATH.union(OFlags::CLOEXEC).union(flags)
}

/// The file and all that it leads to, each one being what the one before extends.
fn chain(first: Opened) -> Vec<Document> {
    let mut documents = vec![first.read()];
    let mut opened = vec![first];
    while let (Some(document), Some(from)) = (documents.last_mut(), opened.last()) {
        let Base::File(name) = document.base() else {
            break;
        };
        if document.is_hopeless() {
            break;
        }
        if let Some((problem, fix)) = misplaced(&name) {
            document.refuse_base(problem, fix);
            break;
        }
        if opened.len() > MAX_EXTENDED {
            let problem = format!("more than {MAX_EXTENDED} files extend each other");
            document.refuse_base(&problem, "write some of them in one");
            break;
        }
        let next = match from.beside(Path::new(&name)) {
            Ok(next) => next,
            Err(error) => {
                let (problem, fix) = not_opened(&name, &error);
                document.refuse_base(&problem, fix);
                break;
            }
        };
        if let Some(at) = opened.iter().position(|before| before.id == next.id) {
            let names = opened.iter().skip(at).map(|opened| opened.name.as_str());
            let names: Vec<&str> = names.chain([next.name.as_str()]).collect();
            let problem = format!("the files extend each other: {}", names.join(" -> "));
            document.refuse_base(&problem, "let one of them extend a preset");
            break;
        }
        documents.push(next.read());
        opened.push(next);
    }
    documents
}

/// What is wrong with the place of an extended file, by its name.
fn misplaced(name: &str) -> Option<(&'static str, &'static str)> {
    let path = Path::new(name);
    if path.is_absolute() {
        return Some((
            "an absolute path",
            "name the file relative to this one: in its directory, or below",
        ));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Some((
            "a path that leaves this file's directory",
            "put the file beside this one, or below",
        ));
    }
    let plain = path.file_name().is_some() && !name.ends_with('/');
    (!plain || name.chars().any(char::is_control)).then_some((
        "not the name of a file",
        "name the file relative to this one: \"./base.toml\"",
    ))
}

/// Why an extended file could not be opened.
fn not_opened(name: &str, error: &io::Error) -> (String, &'static str) {
    let name = crate::names::shown_path(name);
    let errno = rustix::io::Errno::from_io_error(error);
    // What O_NOFOLLOW says of a link, as a file and as a directory.
    if matches!(
        errno,
        Some(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR)
    ) {
        return (
            format!("{name:?} leads through a symbolic link, or through what is no directory"),
            "name the file itself: what a link leads to can be changed from elsewhere",
        );
    }
    (
        format!("cannot read {name:?}: {error}"),
        "correct the name, or create the file",
    )
}

#[cfg(test)]
mod tests;
