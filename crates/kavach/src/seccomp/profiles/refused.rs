//! What both profiles refuse, by subject. Some of it would also fail for want of
//! a capability: the filter closes the code path before the kernel's own checks,
//! which is where exploits live.

use syscalls::x86_64::Sysno::*;

use crate::seccomp::profile::{Group, absent, refuse};

pub(super) static NAMESPACES: Group = Group {
    name: "namespaces",
    reason: "new namespaces hand out capabilities inside themselves (CVE-2022-0185, \
             CVE-2021-22555), and setns or chroot moves out of the ones made for the guest",
    rules: &[refuse(&[unshare, setns, chroot, pivot_root])],
};

pub(super) static MOUNTS: Group = Group {
    name: "mounts",
    reason: "would change the filesystem view, by the old interface or the new",
    rules: &[refuse(&[
        mount,
        umount2,
        open_tree,
        open_tree_attr,
        move_mount,
        fsopen,
        fsconfig,
        fsmount,
        fspick,
        mount_setattr,
        swapon,
        swapoff,
        quotactl,
        quotactl_fd,
    ])],
};

pub(super) static OTHER_PROCESSES: Group = Group {
    name: "other processes",
    reason: "reading, steering or robbing another process, the agent first of all; also kernel \
             address leaks (kcmp, move_pages: CVE-2017-14140). Debuggers and \
             LeakSanitizer do not run inside",
    rules: &[refuse(&[
        ptrace,
        process_vm_readv,
        process_vm_writev,
        process_madvise,
        process_mrelease,
        kcmp,
        pidfd_getfd,
        move_pages,
        migrate_pages,
    ])],
};

pub(super) static KERNEL_CODE: Group = Group {
    name: "code in the kernel",
    reason: "modules, another kernel, bpf programs and performance counters run or instrument \
             code with the host's rights, and their verifiers fail often (CVE-2023-2163, \
             CVE-2013-2094)",
    rules: &[refuse(&[
        init_module,
        finit_module,
        delete_module,
        create_module,
        query_module,
        get_kernel_syms,
        kexec_load,
        kexec_file_load,
        bpf,
        perf_event_open,
        uprobe,
        lookup_dcookie,
    ])],
};

pub(super) static KERNEL_KEYS: Group = Group {
    name: "kernel keys",
    reason: "keyrings belong to the uid, not to a namespace of the sandbox, so they reach the \
             caller's keys; and they have been an exploit path (CVE-2016-0728)",
    rules: &[refuse(&[add_key, request_key, keyctl])],
};

pub(super) static HOST_STATE: Group = Group {
    name: "state of the host",
    reason: "clocks, names, power, accounting, consoles and the kernel log belong to the whole \
             machine; adjtimex could be read alone, but its mode is in memory",
    rules: &[refuse(&[
        settimeofday,
        clock_settime,
        clock_adjtime,
        adjtimex,
        sethostname,
        setdomainname,
        reboot,
        acct,
        vhangup,
        syslog,
        sysfs,
        ustat,
    ])],
};

pub(super) static FILE_HANDLES: Group = Group {
    name: "file handles and filesystem watches",
    reason: "opening by handle leaves any mount namespace (the \"shocker\" escape), taking a \
             handle serves only that; fanotify sees and delays the host's opens of shared files",
    rules: &[refuse(&[
        name_to_handle_at,
        open_by_handle_at,
        fanotify_init,
        fanotify_mark,
    ])],
};

pub(super) static HARDWARE: Group = Group {
    name: "hardware and segments",
    reason: "I/O ports and hand-made segments; modify_ldt complicates every return to user \
             space for the sake of 16-bit programs",
    rules: &[refuse(&[
        iopl,
        ioperm,
        modify_ldt,
        set_thread_area,
        get_thread_area,
    ])],
};

pub(super) static USERFAULTFD: Group = Group {
    name: "userfaultfd",
    reason: "stops kernel threads in the middle of a copy, which turns narrow kernel races into \
             sure wins",
    rules: &[refuse(&[userfaultfd])],
};

pub(super) static OTHER_MEMORY: Group = Group {
    name: "secret memory and page cache queries",
    reason: "memfd_secret hides memory from every sum and audit and counts nowhere but in a \
             cgroup; cachestat shows the host's page cache as mincore did; callers probe for both",
    rules: &[absent(&[memfd_secret, cachestat])],
};

pub(super) static LSM: Group = Group {
    name: "LSM attributes",
    reason: "changes or shows the host's security labels",
    rules: &[refuse(&[
        lsm_get_self_attr,
        lsm_set_self_attr,
        lsm_list_modules,
    ])],
};

pub(super) static REMOVED: Group = Group {
    name: "removed calls",
    reason: "no kernel of today has them on x86_64; the answer is the kernel's own",
    rules: &[absent(&[
        uselib,
        _sysctl,
        nfsservctl,
        getpmsg,
        putpmsg,
        afs_syscall,
        tuxcall,
        security,
        vserver,
        epoll_ctl_old,
        epoll_wait_old,
    ])],
};

pub(super) static FALL_BACK: Group = Group {
    name: "calls with their arguments in memory",
    reason: "a filter cannot see what it may not follow: clone3 hides namespace flags, openat2 \
             the setuid bits, file_setattr inode flags, io_uring whole system calls; callers fall \
             back to calls that can be checked",
    rules: &[absent(&[
        clone3,
        openat2,
        file_setattr,
        io_uring_setup,
        io_uring_enter,
        io_uring_register,
    ])],
};

pub(super) static PROBED: Group = Group {
    name: "mount queries",
    reason: "new ways to list mounts that nothing needs yet; tools fall back to \
             /proc/self/mountinfo, which the sandbox controls",
    rules: &[absent(&[statmount, listmount])],
};
