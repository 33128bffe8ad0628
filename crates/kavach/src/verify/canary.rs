//! What is on the host for the probes to reach: two listening sockets, this process, its
//! namespaces and its files. Nothing of it stays, and nothing of it is a secret.

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU64, Ordering};

/// Alive as long as the probes run.
#[derive(Debug)]
pub(super) struct Canaries {
    /// Nobody accepts: a connection that the kernel has taken is one.
    pub(super) tcp: Result<(TcpListener, u16), String>,
    pub(super) socket: Result<(UnixListener, String), String>,
    pub(super) pid: u32,
    /// When this process was started, in the kernel's ticks: its number alone may be another's
    /// inside.
    pub(super) started: Option<u64>,
}

impl Canaries {
    pub(super) fn new() -> Self {
        let pid = std::process::id();
        Self {
            tcp: tcp().map_err(|e| format!("no TCP socket can listen on 127.0.0.1: {e}")),
            socket: abstract_socket(pid).map_err(|e| format!("no unix socket can listen: {e}")),
            pid,
            started: started(),
        }
    }
}

fn tcp() -> std::io::Result<(TcpListener, u16)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

fn abstract_socket(pid: u32) -> std::io::Result<(UnixListener, String)> {
    static SEQ: AtomicU64 = AtomicU64::new(0);
    let seq = SEQ.fetch_add(1, Ordering::Relaxed);
    let name = format!("kavach-verify-{pid}-{seq}");
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    Ok((listener, name))
}

/// Field 22 of proc_pid_stat(5), after a name in parentheses with anything in it.
fn started() -> Option<u64> {
    let stat = fs::read("/proc/self/stat").ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(19)?.parse().ok()
}

/// What `/proc/self/ns/NAME` links to: its kind and number.
pub(super) fn namespace(name: &str) -> Option<String> {
    let link = fs::read_link(format!("/proc/self/ns/{name}")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// Device and inode of a path.
pub(super) fn file(path: &str) -> Option<(u64, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_its_namespaces_are_seen() {
        let canaries = Canaries::new();
        assert!(canaries.started.unwrap() > 0);
        assert!(namespace("net").unwrap().starts_with("net:["));
        assert!(file("/").is_some() && file("/no/such/file").is_none());
        // Two at once do not meet.
        assert!(canaries.socket.is_ok() && Canaries::new().socket.is_ok());
    }
}
