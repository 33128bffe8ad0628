//! Sockets.
//!
//! A unix socket's name is a path, and paths ignore network namespaces, so
//! `strict` makes none that could be named or could name another. A
//! `socketpair` of type SOCK_DGRAM could: it may be connected anew and may send
//! to any path (unix(7)). Stream and seqpacket pairs answer `EISCONN` to the one
//! and ignore or refuse the address of the other.

use syscalls::x86_64::Sysno::*;

use crate::seccomp::abi::*;
use crate::seccomp::profile::{Condition, Given, Group, allow, int, long, refuse};

/// Argument 1 of socket(2) and socketpair(2), without its flags.
const fn socket_type(types: &'static [u64]) -> Condition {
    int(1).masked(SOCK_TYPE_MASK).any_of(types)
}

const INTERNET: &[u64] = &[AF_INET, AF_INET6];
/// The 0 is "the default of the type": TCP or UDP.
const INTERNET_PROTOCOLS: &[u64] = &[
    IPPROTO_IP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
];

pub(super) static SOCKET_BASIC: Group = Group {
    name: "socket",
    reason: "unix sockets, TCP and UDP (inside the sandbox's network namespace, where loopback \
             works), ping sockets, and the route netlink that getifaddrs needs; not packet, vsock, \
             crypto and other families with their record of bugs (CVE-2017-7308, CVE-2021-26708, \
             CVE-2019-8912), raw sockets, or protocols loaded as modules on demand (DCCP, SCTP)",
    rules: &[
        allow(&[socket])
            .when(&[
                int(0).any_of(&[AF_UNIX]),
                socket_type(&[SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET]),
            ])
            .given(Given::DenyUnixSockets(false)),
        allow(&[socket]).when(&[
            int(0).any_of(INTERNET),
            socket_type(&[SOCK_STREAM, SOCK_DGRAM]),
            int(2).any_of(INTERNET_PROTOCOLS),
        ]),
        allow(&[socket]).when(&[
            int(0).any_of(&[AF_NETLINK]),
            socket_type(&[SOCK_RAW, SOCK_DGRAM]),
            int(2).any_of(&[NETLINK_ROUTE]),
        ]),
    ],
};

pub(super) static SOCKET_STRICT: Group = Group {
    name: "socket",
    reason: "none without a network, TCP and UDP with one; never a unix socket, whose path leads \
             to the host's services, and no netlink. Python's multiprocessing managers and its \
             forkserver start method listen on one and so need basic; fork and spawn run",
    rules: &[allow(&[socket])
        .when(&[
            int(0).any_of(INTERNET),
            socket_type(&[SOCK_STREAM, SOCK_DGRAM]),
            int(2).any_of(&[IPPROTO_IP, IPPROTO_TCP, IPPROTO_UDP]),
        ])
        .given(Given::Network(true))],
};

pub(super) static SOCKETPAIR_BASIC: Group = Group {
    name: "socketpair",
    reason: "two ends inside the guest; only unix sockets come in pairs worth having. Datagram \
             pairs can be aimed at a path after the fact and go with the unix sockets",
    rules: &[
        allow(&[socketpair]).when(&[
            int(0).any_of(&[AF_UNIX]),
            socket_type(&[SOCK_STREAM, SOCK_SEQPACKET]),
        ]),
        allow(&[socketpair])
            .when(&[int(0).any_of(&[AF_UNIX]), socket_type(&[SOCK_DGRAM])])
            .given(Given::DenyUnixSockets(false)),
    ],
};

pub(super) static SOCKETPAIR_STRICT: Group = Group {
    name: "socketpair",
    reason: "stream and seqpacket pairs for multiprocessing and Node's children; not datagram \
             pairs, which can be aimed at a path of the host after the fact",
    rules: &[allow(&[socketpair]).when(&[
        int(0).any_of(&[AF_UNIX]),
        socket_type(&[SOCK_STREAM, SOCK_SEQPACKET]),
    ])],
};

pub(super) static ADDRESSED_BASIC: Group = Group {
    name: "socket addresses",
    reason: "where they lead is for the network namespace and the filesystem view to say",
    rules: &[allow(&[connect, bind, listen, accept, accept4])],
};

pub(super) static ADDRESSED_STRICT: Group = Group {
    name: "socket addresses",
    reason: "with a network, as in basic; without one the guest has only socketpairs, and naming \
             one would put a socket into a writable path",
    rules: &[
        refuse(&[connect, bind, listen, accept, accept4]).given(Given::Network(false)),
        allow(&[connect, bind, listen, accept, accept4]).given(Given::Network(true)),
    ],
};

pub(super) static SEND_BASIC: Group = Group {
    name: "sending to an address",
    reason: "as for socket addresses",
    rules: &[allow(&[sendto])],
};

pub(super) static SEND_STRICT: Group = Group {
    name: "sending to an address",
    reason: "without a network nothing has an address: send(2) is sendto without one",
    rules: &[
        allow(&[sendto]).given(Given::Network(true)),
        allow(&[sendto])
            .when(&[long(4).any_of(&[0])])
            .given(Given::Network(false)),
    ],
};

pub(super) static CONNECTED: Group = Group {
    name: "connected sockets",
    reason: "act on sockets that the rules above let be made",
    rules: &[allow(&[
        recvfrom,
        sendmsg,
        recvmsg,
        sendmmsg,
        recvmmsg,
        shutdown,
        getsockname,
        getpeername,
        getsockopt,
    ])],
};

pub(super) static OPTIONS_BASIC: Group = Group {
    name: "socket options",
    reason: "all but attaching eBPF programs, which only bpf(2) could have made; netfilter's need \
             a capability",
    rules: &[
        refuse(&[setsockopt]).when(&[
            int(1).any_of(&[SOL_SOCKET]),
            int(2).any_of(&[SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_EBPF]),
        ]),
        allow(&[setsockopt]),
    ],
};

pub(super) static OPTIONS_STRICT: Group = Group {
    name: "socket options",
    reason: "options of sockets, IP, TCP and UDP; not socket filters, which put guest-chosen \
             code through the kernel's BPF compiler, nor TCP upper layers, which load modules",
    rules: &[
        refuse(&[setsockopt]).when(&[
            int(1).any_of(&[SOL_SOCKET]),
            int(2).any_of(&[
                SO_ATTACH_FILTER,
                SO_ATTACH_BPF,
                SO_ATTACH_REUSEPORT_CBPF,
                SO_ATTACH_REUSEPORT_EBPF,
            ]),
        ]),
        refuse(&[setsockopt]).when(&[int(1).any_of(&[IPPROTO_TCP]), int(2).any_of(&[TCP_ULP])]),
        allow(&[setsockopt]).when(&[int(1).any_of(&[
            SOL_SOCKET,
            IPPROTO_IP,
            IPPROTO_TCP,
            IPPROTO_UDP,
            IPPROTO_IPV6,
        ])]),
    ],
};
