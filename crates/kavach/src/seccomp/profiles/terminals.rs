//! ioctl. The kernel reads the request as 32 bits: so do the rules.

use syscalls::x86_64::Sysno::ioctl;

use crate::seccomp::profile::{Given, Group, allow, int, refuse};

/// asm-generic/ioctls.h, asm/sockios.h, linux/fs.h
mod request {
    pub(super) const TCGETS: u64 = 0x5401;
    pub(super) const TCSETS: u64 = 0x5402;
    pub(super) const TCSETSW: u64 = 0x5403;
    pub(super) const TCSETSF: u64 = 0x5404;
    pub(super) const TCGETA: u64 = 0x5405;
    pub(super) const TCSBRK: u64 = 0x5409;
    pub(super) const TCXONC: u64 = 0x540a;
    pub(super) const TCFLSH: u64 = 0x540b;
    pub(super) const TIOCSCTTY: u64 = 0x540e;
    pub(super) const TIOCGPGRP: u64 = 0x540f;
    pub(super) const TIOCSPGRP: u64 = 0x5410;
    pub(super) const TIOCOUTQ: u64 = 0x5411;
    pub(super) const TIOCSTI: u64 = 0x5412;
    pub(super) const TIOCGWINSZ: u64 = 0x5413;
    pub(super) const TIOCSWINSZ: u64 = 0x5414;
    pub(super) const FIONREAD: u64 = 0x541b;
    pub(super) const TIOCLINUX: u64 = 0x541c;
    pub(super) const TIOCCONS: u64 = 0x541d;
    pub(super) const TIOCPKT: u64 = 0x5420;
    pub(super) const FIONBIO: u64 = 0x5421;
    pub(super) const TIOCNOTTY: u64 = 0x5422;
    pub(super) const TIOCSETD: u64 = 0x5423;
    pub(super) const TCSBRKP: u64 = 0x5425;
    pub(super) const TIOCGSID: u64 = 0x5429;
    pub(super) const TCGETS2: u64 = 0x802c_542a;
    pub(super) const TCSETS2: u64 = 0x402c_542b;
    pub(super) const TCSETSW2: u64 = 0x402c_542c;
    pub(super) const TCSETSF2: u64 = 0x402c_542d;
    pub(super) const TIOCGPTN: u64 = 0x8004_5430;
    pub(super) const TIOCSPTLCK: u64 = 0x4004_5431;
    pub(super) const TIOCGPTLCK: u64 = 0x8004_5439;
    pub(super) const TIOCGPTPEER: u64 = 0x5441;
    pub(super) const FIONCLEX: u64 = 0x5450;
    pub(super) const FIOCLEX: u64 = 0x5451;
    pub(super) const FIOASYNC: u64 = 0x5452;
    pub(super) const FIOQSIZE: u64 = 0x5460;
    pub(super) const FIOSETOWN: u64 = 0x8901;
    pub(super) const SIOCSPGRP: u64 = 0x8902;
    pub(super) const SIOCATMARK: u64 = 0x8905;
    pub(super) const SIOCGIFNAME: u64 = 0x8910;
    pub(super) const SIOCGIFCONF: u64 = 0x8912;
    pub(super) const SIOCGIFFLAGS: u64 = 0x8913;
    pub(super) const SIOCGIFADDR: u64 = 0x8915;
    pub(super) const SIOCGIFBRDADDR: u64 = 0x8919;
    pub(super) const SIOCGIFNETMASK: u64 = 0x891b;
    pub(super) const SIOCGIFMTU: u64 = 0x8921;
    pub(super) const SIOCGIFINDEX: u64 = 0x8933;
    pub(super) const FICLONE: u64 = 0x4004_9409;
    pub(super) const FICLONERANGE: u64 = 0x4020_940d;
    pub(super) const FIDEDUPERANGE: u64 = 0xc018_9436;
    pub(super) const FS_IOC_GETFLAGS: u64 = 0x8008_6601;
    pub(super) const FS_IOC_FIEMAP: u64 = 0xc020_660b;
    pub(super) const FS_IOC_FSSETXATTR: u64 = 0x401c_5820;
}
use request::*;

const OUTWARD: &[u64] = &[
    TIOCSTI,
    TIOCLINUX,
    TIOCCONS,
    TIOCSETD,
    FIOASYNC,
    FIOSETOWN,
    SIOCSPGRP,
    FS_IOC_FSSETXATTR,
];

pub(super) static IOCTL_BASIC: Group = Group {
    name: "ioctl",
    reason: "all but those that act on others: typing into the caller's terminal (TIOCSTI, \
             CVE-2017-5226), pasting into a console (TIOCLINUX, CVE-2023-28100), taking the \
             console's output (TIOCCONS), loading line disciplines (TIOCSETD), signals through \
             a shared descriptor (FIOASYNC, FIOSETOWN, SIOCSPGRP), quota project ids \
             (FS_IOC_FSSETXATTR). A denylist, because the devices in /dev are the allowlist \
             here: what has no node (KVM, TUN, disks) cannot be asked",
    rules: &[
        refuse(&[ioctl]).when(&[int(1).any_of(OUTWARD)]),
        allow(&[ioctl]),
    ],
};

const ORDINARY: &[u64] = &[
    TCGETS,
    TCSETS,
    TCSETSW,
    TCSETSF,
    TCGETA,
    TCSBRK,
    TCXONC,
    TCFLSH,
    TIOCSCTTY,
    TIOCGPGRP,
    TIOCSPGRP,
    TIOCOUTQ,
    TIOCGWINSZ,
    TIOCSWINSZ,
    FIONREAD,
    TIOCPKT,
    FIONBIO,
    TIOCNOTTY,
    TCSBRKP,
    TIOCGSID,
    TCGETS2,
    TCSETS2,
    TCSETSW2,
    TCSETSF2,
    TIOCGPTN,
    TIOCSPTLCK,
    TIOCGPTLCK,
    TIOCGPTPEER,
    FIONCLEX,
    FIOCLEX,
    FIOQSIZE,
    SIOCATMARK,
    FICLONE,
    FICLONERANGE,
    FIDEDUPERANGE,
    FS_IOC_GETFLAGS,
    FS_IOC_FIEMAP,
];

const INTERFACE_QUERIES: &[u64] = &[
    SIOCGIFNAME,
    SIOCGIFCONF,
    SIOCGIFFLAGS,
    SIOCGIFADDR,
    SIOCGIFBRDADDR,
    SIOCGIFNETMASK,
    SIOCGIFMTU,
    SIOCGIFINDEX,
];

pub(super) static IOCTL_STRICT: Group = Group {
    name: "ioctl",
    reason: "an allowlist: terminal settings and job control, pseudo-terminals for script and \
             expect, readable bytes and descriptor flags, reflinks and extents for cp, and with a \
             network the interface queries without the hardware address. Every driver and \
             filesystem adds requests of its own, so a denylist could not be complete",
    rules: &[
        allow(&[ioctl]).when(&[int(1).any_of(ORDINARY)]),
        allow(&[ioctl])
            .when(&[int(1).any_of(INTERFACE_QUERIES)])
            .given(Given::Network(true)),
    ],
};
