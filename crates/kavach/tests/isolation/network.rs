//! No way to the host's network, nor to its unix sockets.

use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::time::Duration;

use crate::harness::{Setting, Suite};
use crate::world::{ISOLATING, TempDir, World, act, config, mark};

pub(crate) fn add(suite: &mut Suite) {
    suite.subject("network");
    suite.each("control_tcp", &["noop"], |s| tcp(s, "EFFECT"));
    suite.each("tcp", &ISOLATING, |s| {
        tcp(s, no_way(s, "errno ECONNREFUSED"))
    });
    suite.each("control_udp", &["noop"], |s| udp(s, "EFFECT"));
    suite.each("udp", &ISOLATING, udp_unheard);
    suite.each("control_abstract_socket", &["noop"], |s| {
        abstract_socket(s, "EFFECT")
    });
    suite.each("abstract_socket", &ISOLATING, |s| {
        abstract_socket(s, "errno EPERM")
    });
    suite.each("control_path_socket", &["noop"], |s| {
        path_socket(s, "EFFECT")
    });
    suite.each("path_socket_below_a_read_path", &ISOLATING, |s| {
        path_socket(s, "refused")
    });
    suite.each("control_path_datagram", &["noop"], |s| {
        path_datagram(s, "EFFECT")
    });
    suite.each("path_datagram_below_a_read_path", &ISOLATING, |s| {
        path_datagram(s, "refused")
    });
    suite.each("no_address_outside_is_reachable", &ISOLATING, unreachable);
    suite.each("loopback_works_inside", &["basic"], loopback);
}

fn tcp(s: Setting, expected: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    assert_eq!(
        World::of(s.policy).said(act("net", &["tcp", "127.0.0.1", &port])),
        expected
    );
    listener.set_nonblocking(true).unwrap();
    assert_eq!(
        listener.accept().is_ok(),
        expected == "EFFECT",
        "what the host has seen"
    );
}

fn udp(s: Setting, expected: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    assert_eq!(
        World::of(s.policy).said(act("net", &["udp", "127.0.0.1", &port])),
        expected
    );
    socket.set_nonblocking(true).unwrap();
    let mut heard = [0; 16];
    assert_eq!(
        socket.recv(&mut heard).is_ok(),
        s.policy == "noop",
        "what the host has heard"
    );
}

/// `strict` makes no socket at all; `basic` makes one in an empty network.
fn no_way(s: Setting, in_an_empty_network: &'static str) -> &'static str {
    if s.policy == "strict" {
        "errno EPERM"
    } else {
        in_an_empty_network
    }
}

/// The datagram goes to the sandbox's own loopback, where nobody listens.
fn udp_unheard(s: Setting) {
    udp(s, no_way(s, "EFFECT"));
}

fn abstract_socket(s: Setting, expected: &str) {
    let name = mark();
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    assert_eq!(
        World::of(s.policy).said(act("net", &["abstract", &name])),
        expected
    );
    took(&listener, expected == "EFFECT");
}

fn took(listener: &UnixListener, expected: bool) {
    listener.set_nonblocking(true).unwrap();
    let heard = listener.accept().ok().map(|(mut stream, _)| {
        let mut text = String::new();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(
        heard.as_deref(),
        expected.then_some("kavach"),
        "what the host has heard"
    );
}

/// Everybody may connect, as far as the file's mode goes.
fn open_to_all(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
}

fn path_socket(s: Setting, expected: &str) {
    let host = TempDir::new();
    let path = host.0.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    open_to_all(&path);
    let said = shown(s, &host).said(act("net", &["path", path.to_str().unwrap()]));
    assert_eq!(expected == "EFFECT", said == "EFFECT", "{said}");
    took(&listener, expected == "EFFECT");
}

fn path_datagram(s: Setting, expected: &str) {
    let host = TempDir::new();
    let path = host.0.join("socket");
    let socket = UnixDatagram::bind(&path).unwrap();
    open_to_all(&path);
    let said = shown(s, &host).said(act("net", &["path_dgram", path.to_str().unwrap()]));
    assert_eq!(expected == "EFFECT", said == "EFFECT", "{said}");
    socket.set_nonblocking(true).unwrap();
    assert_eq!(socket.recv(&mut [0; 16]).is_ok(), expected == "EFFECT");
}

fn shown(s: Setting, host: &TempDir) -> World {
    let config = config(s.policy);
    World::new(if s.policy == "noop" {
        config
    } else {
        config.read(&host.0)
    })
}

fn unreachable(s: Setting) {
    let world = World::of(s.policy);
    for address in ["192.0.2.1", "169.254.169.254", "8.8.8.8"] {
        for way in ["tcp", "udp"] {
            let said = world.said(act("net", &[way, address, "53"]));
            assert_eq!(said, no_way(s, "errno ENETUNREACH"), "{way} {address}");
        }
    }
    let devices = world.sh("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '");
    assert_eq!(devices, "lo");
}

fn loopback(s: Setting) {
    let script = "import socket, threading
a = socket.create_server(('127.0.0.1', 0))
threading.Thread(target=lambda: a.accept()[0].sendall(b'heard')).start()
print(socket.create_connection(a.getsockname()).recv(5).decode())";
    let world = World::of(s.policy);
    assert_eq!(
        world.said(kavach::Command::new("/usr/bin/python3").args(["-c", script])),
        "heard"
    );
}
