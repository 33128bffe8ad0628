//! Real programs run, with the right output.

use std::path::Path;
use std::process::Command as HostCommand;

use kavach::Command;

use crate::harness::{Setting, Suite, program, toolchain};
use crate::world::{ISOLATING, TempDir, World, act, config, eventually, mark, marked};

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("programs");
    suite.each("echo", &ISOLATING, echo);
    suite.each("a_bash_pipeline", &ISOLATING, bash);
    suite.each("python_computes", &ISOLATING, python_computes);
    suite.each("python_runs_a_subprocess", &ISOLATING, python_subprocess);
    suite.each("python_uses_threads", &ISOLATING, python_threads);
    suite.each_needing(
        "python_makes_a_virtualenv",
        &ISOLATING,
        |_| venv(),
        python_venv,
    );
    suite.each_needing(
        "git_commits_and_clones",
        &ISOLATING,
        |_| program("/usr/bin/git"),
        git_inside,
    );
    suite.each_needing(
        "git_clones_a_shown_repository",
        &ISOLATING,
        |_| program("/usr/bin/git"),
        git_shown,
    );
    suite.each_needing(
        "gcc_builds_a_program",
        &ISOLATING,
        |_| program("/usr/bin/gcc"),
        gcc,
    );
    suite.each_needing("cargo_builds_a_crate", &ISOLATING, toolchain, cargo);
    suite.with_toolchain(4);
    suite.each_needing(
        "node_evaluates",
        &ISOLATING,
        |_| program("/usr/bin/node"),
        node,
    );
    suite.each("tar_packs_and_unpacks", &ISOLATING, tar);
    suite.each("find_finds", &ISOLATING, find);
    suite.each("stdin_as_bytes", &ISOLATING, stdin_bytes);
    suite.each("stdin_through_a_pipe", &ISOLATING, stdin_pipe);
    suite.each("several_commands_at_once", &ISOLATING, at_once);
    suite.each("files_stay_between_commands", &ISOLATING, files_stay);
    suite.each("a_background_process_lives_on", &ISOLATING, background);
}

fn python(script: &str) -> Command {
    Command::new("/usr/bin/python3").args(["-c", script])
}

/// `python3 -m venv` needs a module that Debian packages by itself.
fn venv() -> Option<String> {
    let has = HostCommand::new("/usr/bin/python3")
        .args(["-c", "import venv, ensurepip"])
        .output()
        .is_ok_and(|out| out.status.success());
    let required = std::env::var_os("KAVACH_REQUIRE_ALL").is_some();
    (!has && !required).then(|| "python3-venv is missing: `make setup` installs it".to_owned())
}

fn echo(s: Setting) {
    let world = World::of(s.policy);
    assert_eq!(world.run("echo 'hello world'").stdout, "hello world\n");
}

fn bash(s: Setting) {
    let world = World::of(s.policy);
    let script = "seq 1 100000 | sort -rn | head -1; ls; ls";
    let result = world.run(Command::new("bash").args(["-c", script]));
    assert_eq!(
        (
            result.exit_code,
            result.stdout.as_str(),
            result.stderr.as_str()
        ),
        (0, "100000\n", "")
    );
}

fn python_computes(s: Setting) {
    let world = World::of(s.policy);
    assert_eq!(
        world.said(python("print(sum(n * n for n in range(1000)))")),
        "332833500"
    );
}

fn python_subprocess(s: Setting) {
    let script = "import subprocess as s; print(s.run(['tr', 'a-z', 'A-Z'], input='kavach', \
                  capture_output=True, text=True, check=True).stdout)";
    assert_eq!(World::of(s.policy).said(python(script)), "KAVACH");
}

fn python_threads(s: Setting) {
    let script = "from concurrent.futures import ThreadPoolExecutor as P
with P(8) as pool: print(sum(pool.map(lambda n: n * 2, range(1000))))";
    assert_eq!(World::of(s.policy).said(python(script)), "999000");
}

fn python_venv(s: Setting) {
    let world = World::of(s.policy);
    world.said(Command::new("/usr/bin/python3").args(["-m", "venv", "/tmp/venv"]));
    let script = "import sys; print(sys.prefix)";
    assert_eq!(
        world.said(Command::new("/tmp/venv/bin/python").args(["-c", script])),
        "/tmp/venv"
    );
    let pip = world.said("/tmp/venv/bin/pip --version");
    assert!(pip.contains("/tmp/venv/"), "{pip}");
}

/// An identity for git, which finds none.
const GIT: &str = "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a \
                   GIT_COMMITTER_EMAIL=a@b; set -e; ";

fn git_inside(s: Setting) {
    let script = "git init -q one; cd one; echo first > f; git add f; git commit -q -m one; \
                  cd ..; git clone -q one two; cd two; git log --format=%s; cat f";
    assert_eq!(
        World::of(s.policy).sh(&format!("{GIT}{script}")),
        "one\nfirst"
    );
}

fn git_shown(s: Setting) {
    let host = TempDir::new();
    let script = format!(
        "{GIT}cd {}; git init -q r; cd r; echo shown > f; git add f; \
                          git commit -q -m shown",
        host.0.display()
    );
    let made = HostCommand::new("/bin/bash")
        .args(["-c", &script])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let repository = host.0.join("r");
    let world = World::new(config(s.policy).read(&repository));
    let script = format!(
        "git clone -q {} copy; cd copy; git log --format=%s; cat f; \
                          echo more >> f; git commit -qam more; git log --format=%s | wc -l",
        repository.display()
    );
    assert_eq!(world.sh(&format!("{GIT}{script}")), "shown\nshown\n2");
}

fn gcc(s: Setting) {
    let world = World::of(s.policy);
    let source = "#include <math.h>\n#include <stdio.h>\n\
                  int main(void) { printf(\"%.0f\\n\", sqrt(1764)); }\n";
    world.said(
        Command::new("gcc")
            .args(["-x", "c", "-o", "/tmp/p", "-", "-lm"])
            .stdin_bytes(source),
    );
    assert_eq!(world.said("/tmp/p"), "42");
}

fn cargo(s: Setting) {
    let sysroot = std::env::var("KAVACH_TEST_RUST").expect("rustc --print sysroot");
    let world = World::new(config(s.policy).read(&sysroot));
    let script = format!(
        "set -e; export PATH={sysroot}/bin:$PATH CARGO_HOME=$HOME/.cargo; \
         cargo new -q --vcs none small; cd small; \
         printf 'fn main() {{ println!(\"{{}}\", 6 * 7); }}' > src/main.rs; \
         cargo build -q --offline; target/debug/small"
    );
    assert_eq!(world.sh(&script), "42");
}

fn node(s: Setting) {
    let world = World::of(s.policy);
    let script = "console.log([1, 2, 3].map(n => n * 2).join(' '))";
    assert_eq!(
        world.said(Command::new("/usr/bin/node").args(["-e", script])),
        "2 4 6"
    );
}

fn tar(s: Setting) {
    let script = "set -e; mkdir in out; echo text > in/f; ln -s f in/l; tar -czf a.tgz in; \
                  tar -C out -xzf a.tgz; cat out/in/l; tar -tzf a.tgz | sort | tr '\\n' ' '";
    assert_eq!(World::of(s.policy).sh(script), "text\nin/ in/f in/l");
}

fn find(s: Setting) {
    let script =
        "mkdir -p a/b; touch a/x a/b/x a/b/y; find a -name x -type f | sort | xargs -n1 echo";
    assert_eq!(World::of(s.policy).sh(script), "a/b/x\na/x");
}

fn stdin_bytes(s: Setting) {
    let world = World::of(s.policy);
    let input = "line\n".repeat(100_000);
    assert_eq!(
        world.said(Command::new("wc").arg("-l").stdin_bytes(input)),
        "100000"
    );
    assert_eq!(
        world.said("wc -c"),
        "0",
        "without an input there is nothing to read"
    );
}

fn stdin_pipe(s: Setting) {
    let world = World::of(s.policy);
    let mut child = world.spawn(Command::new("cat").stdin_piped());
    for line in ["one\n", "two\n"] {
        world.write(&mut child, line.as_bytes());
        assert_eq!(world.read(&mut child), line);
    }
    assert!(world.wait(&mut child).success());
}

/// Each waits for the others' files: one after another they would not end.
fn at_once(s: Setting) {
    let world = World::of(s.policy);
    let script = |n: usize| {
        format!(
            "touch /tmp/at-{n}; until test -e /tmp/at-0 -a -e /tmp/at-1 -a -e /tmp/at-2; \
                 do sleep 0.01; done; echo {n}"
        )
    };
    let command = |n| Command::shell(script(n)).timeout_ms(30_000);
    let said: Vec<_> = world
        .run_all((0..3).map(command).collect())
        .into_iter()
        .map(|r| r.stdout)
        .collect();
    assert_eq!(said, ["0\n", "1\n", "2\n"]);
}

fn files_stay(s: Setting) {
    let world = World::of(s.policy);
    world.sh("echo kept > ~/note; echo kept > /tmp/note; mkdir /dev/shm/d");
    assert_eq!(
        world.sh("cat ~/note /tmp/note; ls /dev/shm"),
        "kept\nkept\nd"
    );
    assert!(!Path::new("/tmp/note").exists(), "/tmp is not the host's");
}

fn background(s: Setting) {
    let world = World::of(s.policy);
    let mark = mark();
    assert_eq!(
        world.said(act("resources", &["daemonise", &mark])),
        "daemon left"
    );
    eventually("the daemon is there", || marked(&mark).len() == 1);
    world.said("true");
    assert_eq!(marked(&mark).len(), 1, "it lives on after other commands");
    assert_eq!(
        world.sh(&format!("pgrep -cf 'hold {mark}$'")),
        "1",
        "later commands see it"
    );
}
