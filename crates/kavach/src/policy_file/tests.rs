use super::*;

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
        KavachError::InvalidPolicy { problems } => problems[0].problem.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(problem(&large), "larger than 1 MiB");
    assert_eq!(problem(&binary), "not UTF-8, from byte 0 on");
    assert_eq!(problem(&dir.0), "not a regular file");
    assert_eq!(problem(Path::new("/dev/zero")), "not a regular file");
    let fifo = dir.0.join("fifo");
    rustix::fs::mknodat(
        CWD,
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

#[test]
fn a_file_extends_another_beside_it_or_below() {
    let dir = Dir::new("extends");
    std::fs::create_dir(dir.0.join("base")).unwrap();
    let top = dir.file(
        "top.toml",
        b"version = 1\nextends = \"base/team.json\"\n[limits]\npids = 9\n",
    );
    dir.file(
        "base/team.json",
        b"{\"version\": 1, \"name\": \"team\", \"extends\": \"./lower.toml\", \"limits\": {\"pids\": 8}}",
    );
    dir.file(
        "base/lower.toml",
        b"version = 1\nextends = \"strict\"\n[limits]\nmemory_mb = 7\n[filesystem]\nread = [\"/srv\"]\n",
    );
    let policy = SandboxPolicy::load(&top).unwrap();
    assert_eq!(policy.limits.pids, Some(9), "the file's own value counts");
    assert_eq!(policy.limits.memory_mb, Some(7));
    assert_eq!(policy.filesystem.read, [PathBuf::from("/srv")]);
    assert!(policy.landlock, "from strict");
    assert!(policy.name.ends_with("top.toml"), "{}", policy.name);
}

/// What is wrong with `extends = NAME` in `top.toml`.
fn refused(dir: &Dir, name: &str) -> String {
    let text = format!("version = 1\nextends = {name:?}\n");
    let top = dir.file("top.toml", text.as_bytes());
    let check = SandboxPolicy::check_file(top).unwrap();
    let [problem] = check.problems.as_slice() else {
        panic!("{:?}", check.problems);
    };
    assert_eq!((problem.key.as_str(), problem.line), ("extends", Some(2)));
    problem.problem.clone()
}

#[test]
fn a_file_extends_nothing_elsewhere_and_nothing_through_links() {
    let outer = Dir::new("outer");
    outer.file("base.toml", b"version = 1\n");
    let dir = Dir(outer.0.join("inner"));
    std::fs::create_dir(&dir.0).unwrap();
    std::os::unix::fs::symlink(outer.0.join("base.toml"), dir.0.join("link.toml")).unwrap();
    std::os::unix::fs::symlink(&outer.0, dir.0.join("up")).unwrap();
    dir.file("base.toml", b"version = 1\n");
    let absolute = dir.0.join("base.toml");
    for name in [
        absolute.to_str().unwrap(),
        "../base.toml",
        "up/../base.toml",
    ] {
        let said = refused(&dir, name);
        assert!(
            said.contains("absolute") || said.contains("leaves"),
            "{said}"
        );
    }
    for name in ["./link.toml", "up/base.toml"] {
        let said = refused(&dir, name);
        assert!(said.contains("symbolic link"), "{said}");
    }
    assert!(refused(&dir, "./gone.toml").contains("No such file"));
    for name in [".", "./", "a/"] {
        let said = refused(&dir, name);
        assert!(said.contains("not the name of a file"), "{name}: {said}");
    }
}

#[test]
fn files_that_extend_each_other_are_named() {
    let dir = Dir::new("circle");
    dir.file("a.toml", b"version = 1\nextends = \"b.toml\"\n");
    dir.file("b.toml", b"version = 1\nextends = \"c.toml\"\n");
    dir.file("c.toml", b"version = 1\n\nextends = \"b.toml\"\n");
    let check = SandboxPolicy::check_file(dir.0.join("a.toml")).unwrap();
    let [problem] = check.problems.as_slice() else {
        panic!("{:?}", check.problems);
    };
    assert_eq!(problem.line, Some(3));
    assert!(problem.source_name.ends_with("c.toml"));
    let names: Vec<&str> = problem
        .extended_by
        .iter()
        .map(|name| name.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(names, ["a.toml", "b.toml"]);
    assert!(problem.problem.contains("c.toml -> "), "{problem}");
}

#[test]
fn a_chain_of_files_has_an_end() {
    let dir = Dir::new("chain");
    for n in 0..20 {
        let text = format!("version = 1\nextends = \"{}.toml\"\n", n + 1);
        dir.file(&format!("{n}.toml"), text.as_bytes());
    }
    dir.file("20.toml", b"version = 1\n");
    SandboxPolicy::load(dir.0.join("12.toml")).unwrap();
    let check = SandboxPolicy::check_file(dir.0.join("11.toml")).unwrap();
    let problem = &check.problems[0];
    assert!(
        problem.problem.starts_with("more than 8 files"),
        "{problem}"
    );
}

#[test]
fn a_mistake_in_an_extended_file_is_told_there_with_its_chain() {
    let dir = Dir::new("below");
    let top = dir.file("top.toml", b"version = 1\nextends = \"base.toml\"\n");
    dir.file(
        "base.toml",
        b"version = 1\n[limits]\npids = 0\nmemroy_mb = 1\n",
    );
    let check = SandboxPolicy::check_file(top).unwrap();
    let found: Vec<_> = check
        .problems
        .iter()
        .map(|p| (p.key.as_str(), p.line.unwrap(), p.extended_by.len()))
        .collect();
    assert_eq!(found, [("limits.pids", 3, 1), ("limits.memroy_mb", 4, 1)]);
    assert!(check.problems[0].to_string().contains("(extended by "));
}
