//! Hooks see everything, in order, and may forbid.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use kavach::credential::{CredentialProxy, InjectionMethod, SecretRef};
use kavach::sandbox::SandboxHandle;
use kavach::{
    AuditEvent, AuditHook, AuditKind, Command, Decision, Sandbox, SandboxConfig, SandboxState,
    Termination,
};
use libtest_mimic::Trial;

use crate::common::{assert_gone, cgroups_of, marker, run, sleeping, test, until, with_text};
use SandboxState::{Created, Destroyed, Running, Stopped};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("hooks::every_act_is_told_in_order_without_gaps", in_order),
        test("hooks::a_creation_can_be_forbidden", veto_create),
        test("hooks::a_transition_can_be_forbidden", veto_transition),
        test("hooks::an_exec_can_be_forbidden", veto_exec),
        test("hooks::an_injection_can_be_forbidden", veto_injection),
        test("hooks::the_end_cannot_be_forbidden", veto_end),
        test("hooks::a_panic_before_an_act_forbids_it", panic_before),
        test("hooks::a_panic_after_an_act_changes_nothing", panic_after),
        test("hooks::a_hook_may_call_into_the_sandbox", reentrant),
        test(
            "hooks::a_spawned_command_is_told_off_the_supervisor_thread",
            own_thread,
        ),
        test("hooks::a_cancelled_exec_is_told", cancelled),
        test("hooks::a_drop_is_told", dropped),
    ]
}

type Act = Box<dyn Fn(&AuditEvent) -> Decision + Send + Sync>;

/// Records everything and answers as it is told to.
struct Recorder {
    seen: Mutex<Vec<(&'static str, AuditEvent)>>,
    before: Act,
    after: Box<dyn Fn(&AuditEvent) + Send + Sync>,
}

impl Recorder {
    fn new(before: impl Fn(&AuditEvent) -> Decision + Send + Sync + 'static) -> Arc<Self> {
        Self::with(before, |_| {})
    }

    fn with(
        before: impl Fn(&AuditEvent) -> Decision + Send + Sync + 'static,
        after: impl Fn(&AuditEvent) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            seen: Mutex::default(),
            before: Box::new(before),
            after: Box::new(after),
        })
    }

    fn all() -> Arc<Self> {
        Self::new(|_| Decision::Allow)
    }

    fn seen(&self) -> Vec<(&'static str, AuditEvent)> {
        self.seen.lock().unwrap().clone()
    }

    fn kinds(&self) -> Vec<AuditKind> {
        self.seen()
            .into_iter()
            .map(|(_, event)| event.kind)
            .collect()
    }
}

impl AuditHook for Recorder {
    fn name(&self) -> &str {
        "recorder"
    }

    fn before(&self, event: &AuditEvent) -> Decision {
        self.seen.lock().unwrap().push(("before", event.clone()));
        (self.before)(event)
    }

    fn after(&self, event: &AuditEvent) {
        self.seen.lock().unwrap().push(("after", event.clone()));
        (self.after)(event);
    }
}

fn secret() -> (CredentialProxy, Vec<SecretRef>) {
    let mut proxy = CredentialProxy::new();
    proxy.register("KEY", "sk-canary");
    let by_env = SecretRef {
        name: "KEY".into(),
        inject_via: InjectionMethod::EnvVar {
            var_name: "TOKEN".into(),
        },
    };
    (proxy, vec![by_env])
}

fn config(hook: &Arc<Recorder>) -> SandboxConfig {
    let (proxy, secrets) = secret();
    SandboxConfig::builder()
        .agent_id("owner")
        .credentials(proxy, secrets)
        .hook(hook.clone())
        .build()
}

async fn running(hook: &Arc<Recorder>) -> Sandbox {
    let mut sandbox = Sandbox::create(config(hook)).await.unwrap();
    sandbox.transition(Running).unwrap();
    sandbox
}

fn veto(reason: &str) -> Decision {
    Decision::Veto(reason.into())
}

fn in_order() {
    let hook = Recorder::all();
    let id = run(async {
        let mut sandbox = running(&hook).await;
        sandbox.exec("true").await.unwrap();
        sandbox.destroy().await.unwrap();
        sandbox.id().to_owned()
    });
    let seen = hook.seen();
    let told: Vec<String> = seen
        .iter()
        .map(|(when, event)| {
            let what = match &event.kind {
                AuditKind::Created { .. } => "created".into(),
                AuditKind::Transition { from, to } => format!("{from} to {to}"),
                AuditKind::Exec { exec, argv } => format!("exec {exec} {argv:?}"),
                AuditKind::Injection { exec, name, via } => format!("inject {exec} {name} {via}"),
                AuditKind::Verdict { exec, .. } => format!("verdict {exec}"),
                AuditKind::ExecEnded { exec, termination } => format!("ended {exec} {termination}"),
                other => format!("{other:?}"),
            };
            format!("{when} {what}")
        })
        .collect();
    assert_eq!(
        told,
        [
            "before created",
            "after created",
            "before created to running",
            "after created to running",
            "before exec 1 [\"true\"]",
            "before inject 1 KEY env TOKEN",
            "after verdict 1",
            "after ended 1 exited with status 0",
            "before running to stopped",
            "after running to stopped",
            "before stopped to destroyed",
            "after stopped to destroyed",
        ]
    );
    for (index, (_, event)) in seen.iter().enumerate() {
        assert_eq!(event.seq, index as u64 + 1);
        assert_eq!((&*event.sandbox, &*event.agent_id), (&*id, "owner"));
    }
    assert!(!format!("{seen:?}").contains("canary"));
}

fn veto_create() {
    let hook = Recorder::new(|event| match event.kind {
        AuditKind::Created { .. } => veto("not today"),
        _ => Decision::Allow,
    });
    let err = run(Sandbox::create(config(&hook))).unwrap_err();
    assert_eq!(err.code(), "KV-VETOED");
    let text = err.to_string();
    assert!(
        text.contains("recorder") && text.contains("not today"),
        "{text}"
    );
    let seen = hook.seen();
    assert_eq!(seen.len(), 1);
    assert_gone(&seen[0].1.sandbox);
}

fn veto_transition() {
    let hook = Recorder::new(|event| match event.kind {
        AuditKind::Transition { to: Running, .. } => veto("no"),
        _ => Decision::Allow,
    });
    run(async {
        let mut sandbox = Sandbox::create(config(&hook)).await.unwrap();
        assert_eq!(sandbox.transition(Running).unwrap_err().code(), "KV-VETOED");
        assert_eq!(sandbox.state(), Created);
        sandbox.destroy().await.unwrap();
    });
}

fn veto_exec() {
    let hook = Recorder::new(|event| match &event.kind {
        AuditKind::Exec { argv, .. } if argv[0] == "sleep" => veto("no sleep"),
        _ => Decision::Allow,
    });
    run(async {
        let sandbox = running(&hook).await;
        let mark = marker();
        let sleep = || Command::new("sleep").arg(&*mark);
        assert_eq!(sandbox.exec(sleep()).await.unwrap_err().code(), "KV-VETOED");
        assert_eq!(
            sandbox.spawn(sleep()).await.unwrap_err().code(),
            "KV-VETOED"
        );
        assert_eq!(with_text(&mark), [0; 0]);
        assert!(sandbox.exec("true").await.unwrap().success());
    });
}

fn veto_injection() {
    let hook = Recorder::new(|event| match event.kind {
        AuditKind::Injection { .. } => veto("no secrets"),
        _ => Decision::Allow,
    });
    run(async {
        let sandbox = running(&hook).await;
        let err = sandbox.exec("env").await.unwrap_err();
        assert_eq!(err.code(), "KV-VETOED");
        assert!(err.to_string().contains("KEY"), "{err}");
        assert!(!err.to_string().contains("canary"), "{err}");
    });
}

fn veto_end() {
    let hook = Recorder::new(|event| match event.kind {
        AuditKind::Transition {
            to: Stopped | Destroyed,
            ..
        } => veto("live for ever"),
        _ => Decision::Allow,
    });
    run(async {
        let mut sandbox = running(&hook).await;
        sandbox.destroy().await.unwrap();
        assert_eq!(sandbox.state(), Destroyed);
        assert_gone(sandbox.id());
    });
}

fn panic_before() {
    let hook = Recorder::new(|event| match event.kind {
        AuditKind::Exec { .. } => panic!("a test's panic in a hook"),
        _ => Decision::Allow,
    });
    run(async {
        let mut sandbox = running(&hook).await;
        let err = sandbox.exec("true").await.unwrap_err();
        assert_eq!(err.code(), "KV-HOOK-PANICKED");
        assert_eq!(sandbox.state(), Running);
        sandbox.destroy().await.unwrap();
    });
    let started = hook
        .kinds()
        .into_iter()
        .any(|kind| matches!(kind, AuditKind::ExecEnded { .. }));
    assert!(!started);
}

fn panic_after() {
    let hook = Recorder::with(|_| Decision::Allow, |_| panic!("a test's panic in a hook"));
    let second = Recorder::all();
    run(async {
        let config = SandboxConfig::builder()
            .hook(hook.clone())
            .hook(second.clone())
            .build();
        let mut sandbox = Sandbox::create(config).await.unwrap();
        sandbox.transition(Running).unwrap();
        assert!(sandbox.exec("true").await.unwrap().success());
        sandbox.destroy().await.unwrap();
    });
    assert_eq!(hook.seen().len(), second.seen().len());
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread, without any runtime.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park_timeout(Duration::from_secs(10)),
        }
    }
}

fn reentrant() {
    static HANDLE: OnceLock<SandboxHandle> = OnceLock::new();
    static INNER: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let hook = Recorder::new(|event| {
        if let AuditKind::Exec { argv, .. } = &event.kind
            && argv[0] == "true"
        {
            let handle = HANDLE.get().unwrap();
            let inner = wait(handle.exec("echo inner")).unwrap();
            INNER.lock().unwrap().push(inner.stdout);
        }
        Decision::Allow
    });
    run(async {
        let sandbox = running(&hook).await;
        assert!(HANDLE.set(sandbox.handle()).is_ok());
        assert!(sandbox.exec("true").await.unwrap().success());
    });
    assert_eq!(*INNER.lock().unwrap(), ["inner\n"]);

    // Ending the sandbox that is about to be used.
    static ENDING: OnceLock<SandboxHandle> = OnceLock::new();
    let hook = Recorder::new(|event| {
        if let AuditKind::Exec { .. } = &event.kind {
            wait(ENDING.get().unwrap().destroy()).unwrap();
        }
        Decision::Allow
    });
    run(async {
        let sandbox = running(&hook).await;
        assert!(ENDING.set(sandbox.handle()).is_ok());
        assert_eq!(
            sandbox.exec("true").await.unwrap_err().code(),
            "KV-NOT-RUNNING"
        );
        assert_eq!(cgroups_of(sandbox.id()).len(), 0);
    });
}

fn own_thread() {
    static THREADS: Mutex<Vec<Option<String>>> = Mutex::new(Vec::new());
    let hook = Recorder::with(
        |_| Decision::Allow,
        |event| {
            if let AuditKind::ExecEnded { .. } = event.kind {
                let name = std::thread::current().name().map(str::to_owned);
                THREADS.lock().unwrap().push(name);
            }
        },
    );
    run(async {
        let sandbox = running(&hook).await;
        let mut child = sandbox.spawn("true").await.unwrap();
        assert!(child.wait().await.unwrap().success());
    });
    until("the end to be told", || !THREADS.lock().unwrap().is_empty());
    assert_ne!(*THREADS.lock().unwrap(), [Some("kavach".to_owned())]);
}

fn ended_by(hook: &Recorder, expected: Termination) -> bool {
    let ended = AuditKind::ExecEnded {
        exec: 1,
        termination: expected,
    };
    hook.kinds().contains(&ended)
}

fn cancelled() {
    let hook = Recorder::all();
    run(async {
        let sandbox = running(&hook).await;
        let mark = marker();
        {
            let mut exec = pin!(sandbox.exec(Command::new("sleep").arg(&*mark)));
            while sleeping(&mark).len() != 1 {
                tokio::select! {
                    biased;
                    result = &mut exec => panic!("{result:?}"),
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        until("the end to be told", || {
            ended_by(&hook, Termination::Killed)
        });
    });
}

fn dropped() {
    let hook = Recorder::all();
    drop(run(running(&hook)));
    let kinds = hook.kinds();
    let last: Vec<_> = kinds.iter().rev().take(2).collect();
    let step = |from, to| AuditKind::Transition { from, to };
    assert_eq!(last, [&step(Stopped, Destroyed), &step(Running, Stopped)]);
}
