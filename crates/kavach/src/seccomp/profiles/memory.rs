//! Memory of the guest itself.

use syscalls::x86_64::Sysno::{self, *};

use crate::seccomp::profile::{Given, Group, absent, allow, refuse};

pub(super) static MAPPINGS: Group = Group {
    name: "memory mappings",
    reason: "the allocator, the loader, JIT compilers; PROT_EXEC stays allowed because Node and \
             other JITs need it, and because a guest may run any code it brings anyway",
    rules: &[allow(&[
        mmap,
        munmap,
        mprotect,
        mremap,
        brk,
        madvise,
        msync,
        mlock,
        mlock2,
        munlock,
        mlockall,
        munlockall,
        pkey_alloc,
        pkey_free,
        pkey_mprotect,
        mseal,
        map_shadow_stack,
        membarrier,
    ])],
};

const RESIDENCY: &[Sysno] = &[mincore, remap_file_pages];

pub(super) static RESIDENCY_BASIC: Group = Group {
    name: "page residency",
    reason: "old programs ask; since Linux 5.2 mincore tells only about files that the guest \
             could write",
    rules: &[allow(RESIDENCY)],
};

pub(super) static RESIDENCY_STRICT: Group = Group {
    name: "page residency",
    reason: "mincore shows what the host has in its page cache (CVE-2019-5489), and \
             remap_file_pages is a deprecated special case of mmap; callers probe for both",
    rules: &[absent(RESIDENCY)],
};

pub(super) static UNMAPPED_MEMORY: Group = Group {
    name: "memory files",
    reason: "anonymous files for sharing between processes; where no memory cgroup counts them \
             they are a way around the limit, and under an exec allowlist a way to run any bytes",
    rules: &[
        refuse(&[memfd_create]).given(Given::DenyUnmappedMemory(true)),
        allow(&[memfd_create]).given(Given::DenyUnmappedMemory(false)),
    ],
};

const NUMA: &[Sysno] = &[get_mempolicy, set_mempolicy, mbind, set_mempolicy_home_node];

pub(super) static NUMA_BASIC: Group = Group {
    name: "NUMA policy",
    reason: "places the guest's own pages within its cpuset; moving pages of other processes \
             stays refused",
    rules: &[allow(NUMA)],
};

pub(super) static NUMA_STRICT: Group = Group {
    name: "NUMA policy",
    reason: "a tuning aid with a record of kernel memory leaks (CVE-2017-7616); numerical \
             libraries take ENOSYS as a machine without NUMA",
    rules: &[absent(NUMA)],
};
