//! Secrets reach the guest in the way that was asked, and nobody else.

use kavach::credential::{CredentialProxy, InjectionMethod, SecretRef};
use kavach::{Command, KavachError, PtySize, Sandbox, SandboxConfig, SandboxPolicy, SandboxState};
use libtest_mimic::Trial;

use crate::common::{agents_of, run, test};

/// What must show nowhere but in the guest.
const SECRET: &str = "sk-canary-31415926";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("credentials::a_variable_reaches_the_guest", variable),
        test("credentials::standard_input_reaches_the_guest", stdin),
        test("credentials::a_pipe_is_read_once", pipe),
        test("credentials::a_file_is_a_sealed_memfd_at_its_path", file),
        test("credentials::a_file_is_on_no_file_system", file_is_nowhere),
        test(
            "credentials::secrets_show_in_no_debug_output_and_no_error",
            unseen,
        ),
        test(
            "credentials::what_cannot_be_delivered_is_an_error_before_the_start",
            undeliverable,
        ),
    ]
}

fn config(preset: &str, inject_via: InjectionMethod) -> SandboxConfig {
    let mut proxy = CredentialProxy::new();
    proxy.register("KEY", SECRET);
    let secret = SecretRef {
        name: "KEY".into(),
        inject_via,
    };
    SandboxConfig::builder()
        .policy(SandboxPolicy::from_preset(preset).unwrap())
        .credentials(proxy, vec![secret])
        .build()
}

async fn sandbox(preset: &str, inject_via: InjectionMethod) -> Sandbox {
    let mut sandbox = Sandbox::create(config(preset, inject_via)).await.unwrap();
    sandbox.transition(SandboxState::Running).unwrap();
    sandbox
}

fn by_env() -> InjectionMethod {
    InjectionMethod::EnvVar {
        var_name: "TOKEN".into(),
    }
}

fn by_file() -> InjectionMethod {
    InjectionMethod::File {
        path: "/run/secrets/key".into(),
        mode: None,
    }
}

fn variable() {
    run(async {
        for preset in ["minimal", "strict"] {
            let sandbox = sandbox(preset, by_env()).await;
            let seen = sandbox.exec(Command::shell("echo $TOKEN")).await.unwrap();
            assert_eq!(seen.stdout.trim(), SECRET);
            // It goes over a variable of the command's own.
            let set = Command::shell("echo $TOKEN").env("TOKEN", "other");
            assert_eq!(sandbox.exec(set).await.unwrap().stdout.trim(), SECRET);
        }
    });
}

fn stdin() {
    run(async {
        let sandbox = sandbox("strict", InjectionMethod::Stdin).await;
        for _ in 0..2 {
            assert_eq!(sandbox.exec("cat").await.unwrap().stdout, SECRET);
        }
        // A terminal would show it.
        let typed = Command::new("cat").pty(PtySize::default());
        let err = sandbox.exec(typed).await.unwrap_err();
        assert_eq!(err.code(), "KV-SECRET-UNDELIVERABLE");
        let two = Command::new("cat").stdin_bytes("mine");
        let err = sandbox.exec(two).await.unwrap_err();
        assert_eq!(err.code(), "KV-SECRET-UNDELIVERABLE");
        let err = sandbox
            .spawn(Command::new("cat").stdin_piped())
            .await
            .unwrap_err();
        assert_eq!(err.code(), "KV-SECRET-UNDELIVERABLE");
    });
}

fn pipe() {
    run(async {
        let sandbox = sandbox("strict", InjectionMethod::Pipe { fd: 3 }).await;
        let twice = Command::shell("cat <&3; echo; cat <&3");
        assert_eq!(
            sandbox.exec(twice).await.unwrap().stdout,
            format!("{SECRET}\n")
        );
        // The next command gets a pipe of its own.
        let again = Command::shell("cat <&3");
        assert_eq!(sandbox.exec(again).await.unwrap().stdout, SECRET);
    });
}

fn file() {
    run(async {
        for preset in ["basic", "strict"] {
            let sandbox = sandbox(preset, by_file()).await;
            let output = async |script: &str| {
                let result = sandbox.exec(Command::shell(script)).await.unwrap();
                (result.exit_code, result.stdout)
            };
            let cat = "cat /run/secrets/key";
            assert_eq!(output(cat).await, (0, SECRET.into()), "{preset}");
            assert_eq!(
                output(cat).await,
                (0, SECRET.into()),
                "a second command reads it whole"
            );
            for write in [
                "echo x > /run/secrets/key",
                "echo x >> /run/secrets/key",
                "truncate -s 0 /run/secrets/key",
            ] {
                assert_ne!(output(write).await.0, 0, "{preset}: {write}");
            }
            let seals = "python3 -c 'import fcntl; f = open(\"/run/secrets/key\"); \
                         print(fcntl.fcntl(f, 1034))'";
            // F_SEAL_SEAL, SHRINK, GROW and WRITE; F_SEAL_EXEC (0x20) where the kernel has it.
            let (code, seen) = output(seals).await;
            assert_eq!(code, 0);
            assert_eq!(seen.trim().parse::<u32>().unwrap() & 0xf, 0xf);
            assert_eq!(output(cat).await, (0, SECRET.into()));
        }
    });
}

fn file_is_nowhere() {
    run(async {
        let sandbox = sandbox("basic", by_file()).await;
        // No file system of the sandbox has it: what is at the path is a link to a descriptor.
        let link = sandbox.exec("readlink /run/secrets/key").await.unwrap();
        assert!(link.stdout.starts_with("/proc/self/fd/"), "{}", link.stdout);
        let search = "grep -rl sk-canary /run /tmp /dev/shm /etc /home /var /root 2>/dev/null";
        let found = sandbox.exec(Command::shell(search)).await.unwrap();
        assert_eq!(found.stdout, "");
        // Nor the host's view of the sandbox.
        let [agent] = agents_of(sandbox.id())[..] else {
            panic!("no agent")
        };
        let line = std::fs::read_to_string(format!("/proc/{agent}/cmdline")).unwrap();
        assert!(!line.contains("canary"));
    });
}

fn unseen() {
    run(async {
        for method in [
            by_env(),
            by_file(),
            InjectionMethod::Stdin,
            InjectionMethod::Pipe { fd: 3 },
        ] {
            let config = config("basic", method);
            let shown = format!("{config:?}");
            let mut sandbox = Sandbox::create(config).await.unwrap();
            sandbox.transition(SandboxState::Running).unwrap();
            let child = sandbox.spawn("true").await.unwrap();
            let errors = [
                sandbox.exec("no-such-program").await.unwrap_err(),
                sandbox.exec("/etc").await.unwrap_err(),
                sandbox
                    .exec(Command::new("true").cwd("/nowhere"))
                    .await
                    .unwrap_err(),
            ];
            let bytes = format!("{:?}", SECRET.as_bytes());
            let bytes = bytes.trim_matches(['[', ']']);
            for text in [
                shown,
                format!("{sandbox:?} {child:?} {errors:?}"),
                format!("{:?}", sandbox.plan()),
            ] {
                assert!(!text.contains("canary"), "{text}");
                assert!(!text.contains(bytes), "{text}");
            }
        }
    });
}

fn undeliverable() {
    run(async {
        let unknown = SecretRef {
            name: "NOT_THERE".into(),
            inject_via: by_env(),
        };
        let config = SandboxConfig::builder()
            .credentials(CredentialProxy::new(), vec![unknown])
            .build();
        match Sandbox::create(config).await {
            Err(KavachError::SecretMissing { name }) => assert_eq!(name, "NOT_THERE"),
            other => panic!("{other:?}"),
        }
        // The host's own files are no place for a secret file.
        let err = Sandbox::create(self::config("minimal", by_file()))
            .await
            .unwrap_err();
        assert_eq!(err.code(), "KV-SECRET-UNDELIVERABLE");
        for fd in [0, 2, 10] {
            let method = InjectionMethod::Pipe { fd };
            let err = Sandbox::create(self::config("basic", method))
                .await
                .unwrap_err();
            assert_eq!(err.code(), "KV-SECRET-UNDELIVERABLE");
        }
    });
}
