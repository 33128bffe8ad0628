//! Processes, threads, signals, limits and identity.

use syscalls::x86_64::Sysno::{self, *};

use crate::seccomp::abi::*;
use crate::seccomp::profile::{Given, Group, absent, allow, int, long, refuse};

pub(super) static LIFE: Group = Group {
    name: "process life",
    reason: "starting, ending and awaiting processes; their number is for the pids limit",
    rules: &[allow(&[
        fork, vfork, execve, exit, exit_group, wait4, waitid,
    ])],
};

pub(super) static CLONE: Group = Group {
    name: "clone",
    reason: "threads and children without namespace flags: a new user namespace hands out the \
             capabilities that most kernel exploits of late begin with",
    rules: &[allow(&[clone]).when(&[int(0).masked(CLONE_NAMESPACES).any_of(&[0])])],
};

pub(super) static EXECVEAT_BASIC: Group = Group {
    name: "execveat",
    reason: "fexecve(3) and interpreters use it; it runs nothing that execve could not",
    rules: &[allow(&[execveat])],
};

pub(super) static EXECVEAT_STRICT: Group = Group {
    name: "execveat",
    reason: "running a descriptor is how a memfd becomes a program without a path; fexecve(3) \
             falls back to /proc/self/fd, where path rules look",
    rules: &[absent(&[execveat])],
};

pub(super) static SIGNALS: Group = Group {
    name: "signals",
    reason: "reach only processes of the guest's pid namespace, and not its PID 1 fatally",
    rules: &[allow(&[
        kill,
        tkill,
        tgkill,
        rt_sigaction,
        rt_sigprocmask,
        rt_sigreturn,
        rt_sigpending,
        rt_sigtimedwait,
        rt_sigqueueinfo,
        rt_tgsigqueueinfo,
        rt_sigsuspend,
        sigaltstack,
        pause,
        restart_syscall,
        pidfd_open,
        pidfd_send_signal,
    ])],
};

pub(super) static IDENTITY: Group = Group {
    name: "identity",
    reason: "without capabilities these can only name what the guest already is or drop more; \
             programs call them without need and stop when refused",
    rules: &[allow(&[
        getpid, gettid, getppid, getpgid, getpgrp, setpgid, getsid, setsid, getuid, geteuid,
        getgid, getegid, getresuid, getresgid, getgroups, setuid, setgid, setreuid, setregid,
        setresuid, setresgid, setfsuid, setfsgid, setgroups, capget, capset,
    ])],
};

pub(super) static THREADS: Group = Group {
    name: "threads",
    reason: "locks and per-thread state of every libc; uretprobe is the host's own tracing, \
             which must not end the traced guest",
    rules: &[allow(&[
        futex,
        futex_waitv,
        futex_wake,
        futex_wait,
        futex_requeue,
        set_robust_list,
        get_robust_list,
        set_tid_address,
        rseq,
        uretprobe,
    ])],
};

pub(super) static SCHEDULING: Group = Group {
    name: "scheduling",
    reason: "priorities can only be lowered without capabilities, and only inside the pid namespace",
    rules: &[allow(&[
        sched_yield,
        sched_getaffinity,
        sched_getparam,
        sched_setparam,
        sched_getscheduler,
        sched_setscheduler,
        sched_getattr,
        sched_setattr,
        sched_get_priority_max,
        sched_get_priority_min,
        sched_rr_get_interval,
        getpriority,
        setpriority,
        getcpu,
    ])],
};

pub(super) static AFFINITY: Group = Group {
    name: "cpu affinity",
    reason: "a choice within the cpuset, unless the affinity mask itself is what holds the cpu limit",
    rules: &[
        refuse(&[sched_setaffinity]).given(Given::PinCpus(true)),
        allow(&[sched_setaffinity]).given(Given::PinCpus(false)),
    ],
};

const IO_PRIORITY: &[Sysno] = &[ioprio_get, ioprio_set];

pub(super) static IO_PRIORITY_BASIC: Group = Group {
    name: "I/O priority",
    reason: "ionice and package managers lower their own",
    rules: &[allow(IO_PRIORITY)],
};

pub(super) static IO_PRIORITY_STRICT: Group = Group {
    name: "I/O priority",
    reason: "the highest best-effort level needs no capability and takes disk time from others",
    rules: &[refuse(IO_PRIORITY)],
};

pub(super) static LIMITS: Group = Group {
    name: "resource limits",
    reason: "a process reads and lowers its own; pid 0 only, because the uid alone permits \
             prlimit64 on others, the agent included",
    rules: &[
        allow(&[getrlimit, setrlimit, getrusage, times]),
        allow(&[prlimit64]).when(&[int(0).any_of(&[0])]),
    ],
};

const PERSONALITIES_STRICT: &[u64] = &[PER_LINUX, ADDR_NO_RANDOMIZE, PERSONALITY_QUERY];

pub(super) static PERSONALITY_STRICT: Group = Group {
    name: "personality",
    reason: "the query, the normal one, and no address randomisation, which thread sanitizers \
             start with; others switch off mitigations (READ_IMPLIES_EXEC, MMAP_PAGE_ZERO)",
    rules: &[allow(&[personality]).when(&[int(0).any_of(PERSONALITIES_STRICT)])],
};

const PERSONALITIES_BASIC: &[u64] = &[
    PER_LINUX,
    PER_LINUX32,
    UNAME26,
    PER_LINUX32 | UNAME26,
    ADDR_NO_RANDOMIZE,
    PERSONALITY_QUERY,
];

pub(super) static PERSONALITY_BASIC: Group = Group {
    name: "personality",
    reason: "as in strict, and the two that change only what uname says (linux32, --uname-2.6)",
    rules: &[allow(&[personality]).when(&[int(0).any_of(PERSONALITIES_BASIC)])],
};

/// Options that concern the caller alone and widen nothing.
const PRCTL_OWN: &[u64] = &[
    PR_SET_PDEATHSIG,
    PR_GET_PDEATHSIG,
    PR_GET_DUMPABLE,
    PR_SET_DUMPABLE,
    PR_GET_KEEPCAPS,
    PR_SET_KEEPCAPS,
    PR_GET_TIMING,
    PR_SET_NAME,
    PR_GET_NAME,
    PR_GET_SECCOMP,
    PR_SET_SECCOMP,
    PR_CAPBSET_READ,
    PR_CAPBSET_DROP,
    PR_GET_TSC,
    PR_GET_SECUREBITS,
    PR_SET_TIMERSLACK,
    PR_GET_TIMERSLACK,
    PR_SET_CHILD_SUBREAPER,
    PR_GET_CHILD_SUBREAPER,
    PR_SET_NO_NEW_PRIVS,
    PR_GET_NO_NEW_PRIVS,
    PR_GET_TID_ADDRESS,
    PR_SET_THP_DISABLE,
    PR_GET_THP_DISABLE,
    PR_CAP_AMBIENT,
    PR_GET_SPECULATION_CTRL,
    PR_SET_MDWE,
    PR_GET_MDWE,
    PR_GET_AUXV,
    PR_SET_VMA,
];

pub(super) static PRCTL: Group = Group {
    name: "prctl",
    reason: "an allowlist of what concerns the caller alone; PR_SET_MM rewrites the process's \
             own layout, PR_SET_PTRACER invites tracers, PR_SCHED_CORE and \
             PR_SET_MEMORY_MERGE are side channels to neighbours, and speculation may be \
             restrained but not let loose",
    rules: &[
        allow(&[prctl]).when(&[int(0).any_of(PRCTL_OWN)]),
        allow(&[prctl]).when(&[
            int(0).any_of(&[PR_SET_SPECULATION_CTRL]),
            long(2).none_of(&[PR_SPEC_ENABLE]),
        ]),
    ],
};

pub(super) static ARCH_PRCTL_BASIC: Group = Group {
    name: "arch_prctl",
    reason: "segment bases, wide registers, shadow stacks, cpuid faulting: state of the calling \
             thread alone",
    rules: &[allow(&[arch_prctl])],
};

const ARCH_PRCTL_THREAD: &[u64] = &[
    ARCH_SET_GS,
    ARCH_SET_FS,
    ARCH_GET_FS,
    ARCH_GET_GS,
    ARCH_GET_CPUID,
    ARCH_GET_XCOMP_SUPP,
    ARCH_GET_XCOMP_PERM,
    ARCH_REQ_XCOMP_PERM,
    ARCH_SHSTK_ENABLE,
    ARCH_SHSTK_DISABLE,
    ARCH_SHSTK_LOCK,
    ARCH_SHSTK_STATUS,
];

pub(super) static ARCH_PRCTL_STRICT: Group = Group {
    name: "arch_prctl",
    reason: "what loaders and libraries ask for: segment bases, AMX permission, shadow stacks; \
             not vDSO remapping and cpuid faulting, which serve checkpointing and record-replay",
    rules: &[allow(&[arch_prctl]).when(&[int(0).any_of(ARCH_PRCTL_THREAD)])],
};

pub(super) static SELF_RESTRICTION: Group = Group {
    name: "self-restriction",
    reason: "xz, file, ssh and browsers sandbox themselves further; a filter or Landlock layer \
             only takes away, and a refusal here outranks whatever a later filter says. No \
             listener: supervising children from a filter decides by racing memory",
    rules: &[
        allow(&[
            landlock_create_ruleset,
            landlock_add_rule,
            landlock_restrict_self,
        ]),
        allow(&[seccomp]).when(&[
            int(0).any_of(&[
                SECCOMP_SET_MODE_STRICT,
                SECCOMP_SET_MODE_FILTER,
                SECCOMP_GET_ACTION_AVAIL,
            ]),
            int(1)
                .masked(SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
                .any_of(&[0]),
        ]),
    ],
};
