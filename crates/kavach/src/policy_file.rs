//! Reading policy files. Apart from the policy itself, which touches no file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::error::{KavachError, Result};
use crate::policy::{Format, MAX_POLICY_BYTES, SandboxPolicy};

impl SandboxPolicy {
    /// Reads a policy file: JSON where its name ends in `.json`, else TOML.
    ///
    /// Only a regular file of at most 1 MiB is read. A pipe or device in its place does not
    /// block: it is opened without waiting and refused.
    ///
    /// # Errors
    /// [`KavachError::PathMissing`] where the file cannot be opened or read;
    /// [`KavachError::InvalidPolicy`] where it is no regular file, too large or not UTF-8; and
    /// what [`SandboxPolicy::parse`] finds.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let missing = |source: io::Error| KavachError::PathMissing {
            field: "policy".into(),
            path: path.to_path_buf(),
            source,
        };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| missing(e.into()))?;
        let file = File::from(file);
        let source_name = path.to_string_lossy();
        let refuse = |problem: &str| KavachError::InvalidPolicy {
            source_name: crate::names::shown(&source_name),
            line: None,
            column: None,
            field: String::new(),
            problem: problem.to_owned(),
            nearest: None,
        };
        if !file.metadata().map_err(missing)?.is_file() {
            return Err(refuse("not a regular file"));
        }
        // Read with a bound instead of trusting the size: the file may grow meanwhile.
        let bound = MAX_POLICY_BYTES as u64 + 1;
        let mut bytes = Vec::new();
        file.take(bound).read_to_end(&mut bytes).map_err(missing)?;
        if bytes.len() > MAX_POLICY_BYTES {
            return Err(refuse("larger than 1 MiB"));
        }
        let text = String::from_utf8(bytes).map_err(|_| refuse("not UTF-8"))?;
        let json = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("json"));
        let format = if json { Format::Json } else { Format::Toml };
        Self::parse(&text, format, &source_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A directory of this test's own, removed at its end.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("kavach-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, contents).unwrap();
            path
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn toml_and_json_files_are_read_by_their_names() {
        let dir = Dir::new("formats");
        let toml = dir.file("a.toml", b"version = 1\nname = \"a\"\n");
        let json = dir.file("b.JSON", b"{\"version\": 1, \"name\": \"b\"}");
        assert_eq!(SandboxPolicy::load(toml).unwrap().name, "a");
        assert_eq!(SandboxPolicy::load(json).unwrap().name, "b");
    }

    #[test]
    fn what_is_no_small_regular_text_file_is_refused() {
        let dir = Dir::new("refused");
        let large = dir.file("large.toml", &vec![b'#'; MAX_POLICY_BYTES + 1]);
        let binary = dir.file("binary.toml", &[0xff, 0xfe]);
        let problem = |path: &Path| match SandboxPolicy::load(path).unwrap_err() {
            KavachError::InvalidPolicy { problem, .. } => problem,
            other => panic!("{other:?}"),
        };
        assert_eq!(problem(&large), "larger than 1 MiB");
        assert_eq!(problem(&binary), "not UTF-8");
        assert_eq!(problem(&dir.0), "not a regular file");
        assert_eq!(problem(Path::new("/dev/zero")), "not a regular file");
        let fifo = dir.0.join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        assert_eq!(problem(&fifo), "not a regular file");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let err = SandboxPolicy::load("/nonexistent/p.toml").unwrap_err();
        assert_eq!(err.code(), "KV-PATH-MISSING");
        assert!(err.to_string().contains("/nonexistent/p.toml"));
    }
}
