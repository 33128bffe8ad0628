//! Numbers of the kernel's interface on x86_64, named as its headers name them.
//! Each list of values keeps to one header.

// linux/audit.h, asm/unistd.h
pub(crate) const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
pub(crate) const X32_SYSCALL_BIT: u32 = 0x4000_0000;
/// The two top bits part the number space: native, x32, and negative numbers,
/// which no table has.
pub(crate) const NR_SPACE_MASK: u32 = 0xc000_0000;

// asm-generic/errno-base.h, asm-generic/errno.h
pub(crate) const EPERM: u16 = 1;
pub(crate) const ENOSYS: u16 = 38;

// linux/seccomp.h
pub(crate) const SECCOMP_RET_KILL_PROCESS: u32 = 0x8000_0000;
pub(crate) const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;
pub(crate) const SECCOMP_RET_ALLOW: u32 = 0x7fff_0000;
pub(crate) const SECCOMP_SET_MODE_STRICT: u64 = 0;
pub(crate) const SECCOMP_SET_MODE_FILTER: u64 = 1;
pub(crate) const SECCOMP_GET_ACTION_AVAIL: u64 = 2;
pub(crate) const SECCOMP_FILTER_FLAG_NEW_LISTENER: u64 = 1 << 3;
pub(crate) const SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: u64 = 1 << 5;

// linux/sched.h. CLONE_NEWTIME (0x80) is missing on purpose: in clone(2) that bit
// is part of the exit signal and makes no namespace (clone3 and unshare only).
pub(crate) const CLONE_NEWNS: u64 = 0x0002_0000;
pub(crate) const CLONE_NEWCGROUP: u64 = 0x0200_0000;
pub(crate) const CLONE_NEWUTS: u64 = 0x0400_0000;
pub(crate) const CLONE_NEWIPC: u64 = 0x0800_0000;
pub(crate) const CLONE_NEWUSER: u64 = 0x1000_0000;
pub(crate) const CLONE_NEWPID: u64 = 0x2000_0000;
pub(crate) const CLONE_NEWNET: u64 = 0x4000_0000;
pub(crate) const CLONE_NAMESPACES: u64 = CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET;

// asm-generic/fcntl.h
pub(crate) const O_CREAT: u64 = 0o100;
pub(crate) const O_TMPFILE_BIT: u64 = 0o20_000_000;
pub(crate) const O_ASYNC: u64 = 0o20_000;
pub(crate) const F_SETFL: u64 = 4;
pub(crate) const F_SETOWN: u64 = 8;
pub(crate) const F_SETSIG: u64 = 10;
pub(crate) const F_SETOWN_EX: u64 = 15;
pub(crate) const F_SETLEASE: u64 = 1024;
pub(crate) const F_NOTIFY: u64 = 1026;

// linux/stat.h
pub(crate) const S_ISUID_ISGID: u64 = 0o6_000;
pub(crate) const S_IFMT: u64 = 0o170_000;
pub(crate) const S_IFREG: u64 = 0o100_000;
pub(crate) const S_IFIFO: u64 = 0o010_000;

// bits/socket.h, linux/net.h, linux/in.h, linux/netlink.h
pub(crate) const AF_UNIX: u64 = 1;
pub(crate) const AF_INET: u64 = 2;
pub(crate) const AF_INET6: u64 = 10;
pub(crate) const AF_NETLINK: u64 = 16;
/// The flags SOCK_NONBLOCK and SOCK_CLOEXEC lie above the type.
pub(crate) const SOCK_TYPE_MASK: u64 = 0xf;
pub(crate) const SOCK_STREAM: u64 = 1;
pub(crate) const SOCK_DGRAM: u64 = 2;
pub(crate) const SOCK_RAW: u64 = 3;
pub(crate) const SOCK_SEQPACKET: u64 = 5;
pub(crate) const IPPROTO_IP: u64 = 0;
pub(crate) const IPPROTO_ICMP: u64 = 1;
pub(crate) const IPPROTO_TCP: u64 = 6;
pub(crate) const IPPROTO_UDP: u64 = 17;
pub(crate) const IPPROTO_IPV6: u64 = 41;
pub(crate) const IPPROTO_ICMPV6: u64 = 58;
pub(crate) const IPPROTO_UDPLITE: u64 = 136;
pub(crate) const NETLINK_ROUTE: u64 = 0;
pub(crate) const SOL_SOCKET: u64 = 1;
pub(crate) const SO_ATTACH_FILTER: u64 = 26;
pub(crate) const SO_ATTACH_BPF: u64 = 50;
pub(crate) const SO_ATTACH_REUSEPORT_CBPF: u64 = 51;
pub(crate) const SO_ATTACH_REUSEPORT_EBPF: u64 = 52;
pub(crate) const TCP_ULP: u64 = 31;

// linux/personality.h
pub(crate) const PER_LINUX: u64 = 0;
pub(crate) const PER_LINUX32: u64 = 8;
pub(crate) const UNAME26: u64 = 0x0002_0000;
pub(crate) const ADDR_NO_RANDOMIZE: u64 = 0x0004_0000;
pub(crate) const PERSONALITY_QUERY: u64 = 0xffff_ffff;

// linux/prctl.h
pub(crate) const PR_SET_PDEATHSIG: u64 = 1;
pub(crate) const PR_GET_PDEATHSIG: u64 = 2;
pub(crate) const PR_GET_DUMPABLE: u64 = 3;
pub(crate) const PR_SET_DUMPABLE: u64 = 4;
pub(crate) const PR_GET_KEEPCAPS: u64 = 7;
pub(crate) const PR_SET_KEEPCAPS: u64 = 8;
pub(crate) const PR_GET_TIMING: u64 = 13;
pub(crate) const PR_SET_NAME: u64 = 15;
pub(crate) const PR_GET_NAME: u64 = 16;
pub(crate) const PR_GET_SECCOMP: u64 = 21;
pub(crate) const PR_SET_SECCOMP: u64 = 22;
pub(crate) const PR_CAPBSET_READ: u64 = 23;
pub(crate) const PR_CAPBSET_DROP: u64 = 24;
pub(crate) const PR_GET_TSC: u64 = 25;
pub(crate) const PR_GET_SECUREBITS: u64 = 27;
pub(crate) const PR_SET_TIMERSLACK: u64 = 29;
pub(crate) const PR_GET_TIMERSLACK: u64 = 30;
pub(crate) const PR_SET_CHILD_SUBREAPER: u64 = 36;
pub(crate) const PR_GET_CHILD_SUBREAPER: u64 = 37;
pub(crate) const PR_SET_NO_NEW_PRIVS: u64 = 38;
pub(crate) const PR_GET_NO_NEW_PRIVS: u64 = 39;
pub(crate) const PR_GET_TID_ADDRESS: u64 = 40;
pub(crate) const PR_SET_THP_DISABLE: u64 = 41;
pub(crate) const PR_GET_THP_DISABLE: u64 = 42;
pub(crate) const PR_CAP_AMBIENT: u64 = 47;
pub(crate) const PR_GET_SPECULATION_CTRL: u64 = 52;
pub(crate) const PR_SET_SPECULATION_CTRL: u64 = 53;
pub(crate) const PR_SPEC_ENABLE: u64 = 1 << 1;
pub(crate) const PR_SET_MDWE: u64 = 65;
pub(crate) const PR_GET_MDWE: u64 = 66;
pub(crate) const PR_GET_AUXV: u64 = 0x4155_5856;
pub(crate) const PR_SET_VMA: u64 = 0x5356_4d41;

// asm/prctl.h
pub(crate) const ARCH_SET_GS: u64 = 0x1001;
pub(crate) const ARCH_SET_FS: u64 = 0x1002;
pub(crate) const ARCH_GET_FS: u64 = 0x1003;
pub(crate) const ARCH_GET_GS: u64 = 0x1004;
pub(crate) const ARCH_GET_CPUID: u64 = 0x1011;
pub(crate) const ARCH_GET_XCOMP_SUPP: u64 = 0x1021;
pub(crate) const ARCH_GET_XCOMP_PERM: u64 = 0x1022;
pub(crate) const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
pub(crate) const ARCH_SHSTK_ENABLE: u64 = 0x5001;
pub(crate) const ARCH_SHSTK_DISABLE: u64 = 0x5002;
pub(crate) const ARCH_SHSTK_LOCK: u64 = 0x5003;
pub(crate) const ARCH_SHSTK_STATUS: u64 = 0x5005;
