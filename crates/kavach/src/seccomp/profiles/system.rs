//! Clocks, information about the machine, and System V and POSIX IPC.

use syscalls::x86_64::Sysno::{self, *};

use crate::seccomp::profile::{Given, Group, absent, allow, refuse};

pub(super) static CLOCKS: Group = Group {
    name: "clocks and timers",
    reason: "reading time and being woken; setting the host's clock is refused elsewhere",
    rules: &[allow(&[
        clock_gettime,
        clock_getres,
        clock_nanosleep,
        gettimeofday,
        time,
        nanosleep,
        getitimer,
        setitimer,
        alarm,
        timer_create,
        timer_settime,
        timer_gettime,
        timer_getoverrun,
        timer_delete,
    ])],
};

pub(super) static INFORMATION: Group = Group {
    name: "machine information",
    reason: "sort sizes its buffer by sysinfo and build tools read uname; both tell of the host \
             what /proc/meminfo and the vDSO also tell",
    rules: &[allow(&[uname, sysinfo, getrandom])],
};

const SYSV_IPC: &[Sysno] = &[
    semget,
    semop,
    semtimedop,
    semctl,
    msgget,
    msgsnd,
    msgrcv,
    msgctl,
    mq_open,
    mq_unlink,
    mq_timedsend,
    mq_timedreceive,
    mq_notify,
    mq_getsetattr,
];

pub(super) static SYSV_IPC_BASIC: Group = Group {
    name: "System V and POSIX IPC",
    reason: "databases and fakeroot use it, inside the sandbox's own ipc namespace",
    rules: &[allow(SYSV_IPC)],
};

pub(super) static SYSV_IPC_STRICT: Group = Group {
    name: "System V and POSIX IPC",
    reason: "a rarely used and often broken part of the kernel (CVE-2015-7613, CVE-2017-11176); \
             pipes, futexes and /dev/shm serve, and ENOSYS reads as a kernel built without it",
    rules: &[absent(SYSV_IPC)],
};

pub(super) static SHARED_MEMORY_BASIC: Group = Group {
    name: "System V shared memory",
    reason: "as System V IPC; a segment outlives its mapping, so new ones are refused where no \
             memory cgroup counts them",
    rules: &[
        refuse(&[shmget]).given(Given::DenyUnmappedMemory(true)),
        allow(&[shmget]).given(Given::DenyUnmappedMemory(false)),
        allow(&[shmat, shmdt, shmctl]),
    ],
};

pub(super) static SHARED_MEMORY_STRICT: Group = Group {
    name: "System V shared memory",
    reason: "as System V IPC; POSIX shared memory in the size-capped /dev/shm takes its place",
    rules: &[absent(&[shmget, shmat, shmdt, shmctl])],
};
