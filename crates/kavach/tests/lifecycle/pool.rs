//! A pool hands out sandboxes that stand ready, each to one tenant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kavach::{
    AuditEvent, AuditHook, AuditKind, Command, Decision, KavachError, SandboxConfig,
    SandboxConfigBuilder, SandboxPolicy, SandboxPool, SandboxState,
};
use libtest_mimic::Trial;

use crate::common::{
    agents_of, assert_gone, config, marker, run, sleeping, test, until, with_text,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("pool::claims_are_served_from_what_is_ready", served),
        test("pool::more_claims_than_are_ready_are_served_too", on_demand),
        test("pool::one_that_died_is_not_handed_out", unhealthy),
        test(
            "pool::what_is_given_back_is_for_its_tenant_alone",
            given_back,
        ),
        test("pool::a_dropped_claim_is_destroyed", dropped_claim),
        test("pool::nothing_is_left_of_a_dropped_pool", dropped_pool),
        test("pool::a_claim_outlives_its_pool", outlives),
        test("pool::a_hook_can_forbid_a_claim", veto),
        test(
            "pool::what_cannot_be_built_is_an_error_at_once",
            cannot_be_built,
        ),
    ]
}

async fn echo(sandbox: &kavach::Sandbox) -> String {
    let result = sandbox.exec("echo here").await.unwrap();
    result.stdout
}

fn served() {
    run(async {
        let pool = SandboxPool::new(config("strict"), 2).await.unwrap();
        assert_eq!(pool.stats().ready, 2);
        let mut ids = Vec::new();
        for n in 0..4 {
            until("the pool to be full", || pool.stats().ready == 2);
            let claimed = pool.claim(&format!("tenant {n}")).await.unwrap();
            assert_eq!(claimed.state(), SandboxState::Running);
            assert_eq!(echo(&claimed).await, "here\n");
            ids.push(claimed.id().to_owned());
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 4, "no sandbox served two tenants");
        let stats = pool.stats();
        assert_eq!((stats.from_ready, stats.made_on_demand), (4, 0));
    });
}

fn on_demand() {
    run(async {
        let pool = SandboxPool::new(config("basic"), 1).await.unwrap();
        let mut claims = Vec::new();
        for _ in 0..5 {
            claims.push(pool.claim("t").await.unwrap());
        }
        for claim in &claims {
            assert_eq!(echo(claim).await, "here\n");
        }
    });
}

/// A config whose agents carry a mark of their own in the process list.
fn marked(mark: &str) -> SandboxConfigBuilder {
    SandboxConfig::builder()
        .policy(SandboxPolicy::basic())
        .agent_id(mark)
}

/// Counts the sandboxes that ended.
#[derive(Default)]
struct Ends(AtomicU32);

impl AuditHook for Ends {
    fn name(&self) -> &str {
        "ends"
    }

    fn after(&self, event: &AuditEvent) {
        let to = SandboxState::Stopped;
        if matches!(event.kind, AuditKind::Transition { to: now, .. } if now == to) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }
}

fn unhealthy() {
    run(async {
        let (mark, ends) = (marker(), Arc::new(Ends::default()));
        let config = marked(&mark).hook(ends.clone()).build();
        let pool = SandboxPool::new(config, 1).await.unwrap();
        // The process that was rehearsed with is gone a moment after the creation.
        until("the agent to be alone", || with_text(&mark).len() == 1);
        let victim = with_text(&mark)[0];
        let victim = rustix::process::Pid::from_raw(victim).unwrap();
        rustix::process::kill_process(victim, rustix::process::Signal::KILL).unwrap();
        until("the end to be noticed", || {
            ends.0.load(Ordering::Acquire) == 1
        });
        let claimed = pool.claim("t").await.unwrap();
        assert_eq!(echo(&claimed).await, "here\n");
        let stats = pool.stats();
        assert_eq!((stats.unhealthy, stats.made_on_demand), (1, 1));
    });
}

fn given_back() {
    run(async {
        let pool = SandboxPool::new(config("basic"), 2).await.unwrap();
        let mine = pool.claim("me").await.unwrap();
        let id = mine.id().to_owned();
        let mark = marker();
        let _background = mine.spawn(Command::new("sleep").arg(&mark)).await.unwrap();
        until("the background process to run", || {
            sleeping(&mark).len() == 1
        });
        mine.exec(Command::shell("echo kept > /tmp/file"))
            .await
            .unwrap();
        mine.give_back().await.unwrap();
        assert_eq!(sleeping(&mark), Vec::<i32>::new());

        let other = pool.claim("somebody else").await.unwrap();
        assert_ne!(other.id(), id);
        let found = other.exec("cat /tmp/file").await.unwrap();
        assert_eq!(found.exit_code, 1, "{}", found.stdout);

        let again = pool.claim("me").await.unwrap();
        assert_eq!(again.id(), id);
        assert_eq!(again.exec("cat /tmp/file").await.unwrap().stdout, "kept\n");
        assert_eq!(pool.stats().from_tenant, 1);
    });
}

fn dropped_claim() {
    run(async {
        let pool = SandboxPool::new(config("basic"), 1).await.unwrap();
        let claimed = pool.claim("t").await.unwrap();
        let id = claimed.id().to_owned();
        assert!(!agents_of(&id).is_empty());
        drop(claimed);
        until("its end", || agents_of(&id).is_empty());
        drop(pool);
        assert_gone(&id);
    });
}

fn dropped_pool() {
    run(async {
        let mark = marker();
        let pool = SandboxPool::new(marked(&mark).build(), 3).await.unwrap();
        let back = pool.claim("t").await.unwrap();
        let id = back.id().to_owned();
        back.give_back().await.unwrap();
        assert!(with_text(&mark).len() >= 3, "the control");
        drop(pool);
        assert_gone(&id);
        assert_eq!(with_text(&mark), Vec::<i32>::new());
    });
}

fn outlives() {
    run(async {
        let pool = SandboxPool::new(config("basic"), 1).await.unwrap();
        let claimed = pool.claim("t").await.unwrap();
        let second = pool.claim("t").await.unwrap();
        drop(pool);
        assert_eq!(echo(&claimed).await, "here\n");
        let id = claimed.id().to_owned();
        drop(claimed);
        assert_gone(&id);
        let mut own = second.into_sandbox();
        assert_eq!(echo(&own).await, "here\n");
        own.destroy().await.unwrap();
    });
}

/// Lets nobody in whose name is Mallory.
struct Door;

impl AuditHook for Door {
    fn name(&self) -> &str {
        "door"
    }

    fn before(&self, event: &AuditEvent) -> Decision {
        match &event.kind {
            AuditKind::Claimed { tenant } if tenant == "Mallory" => Decision::Veto("no".into()),
            _ => Decision::Allow,
        }
    }
}

fn veto() {
    run(async {
        let config = SandboxConfig::builder()
            .policy(SandboxPolicy::basic())
            .hook(Arc::new(Door))
            .build();
        let pool = SandboxPool::new(config, 1).await.unwrap();
        let refused = pool.claim("Mallory").await.map(drop);
        assert!(
            matches!(refused, Err(KavachError::Vetoed { .. })),
            "{refused:?}"
        );
        until("its place to be filled again", || pool.stats().ready == 1);
        let alice = pool.claim("Alice").await.unwrap();
        assert_eq!(echo(&alice).await, "here\n");
    });
}

fn cannot_be_built() {
    run(async {
        let missing = SandboxConfig::builder().read("/nonexistent").build();
        let error = SandboxPool::new(missing, 1).await.map(drop).unwrap_err();
        assert!(matches!(error, KavachError::PathMissing { .. }), "{error}");
        for wrong in [0, 1025] {
            let error = SandboxPool::new(config("basic"), wrong)
                .await
                .map(drop)
                .unwrap_err();
            assert!(
                matches!(error, KavachError::InvalidConfig { .. }),
                "{error}"
            );
        }
    });
}
