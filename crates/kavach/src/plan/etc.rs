//! The `/etc` of the private view: made up where it says who is who, and a few public entries of
//! the host's, never the whole.
//!
//! The host's `/etc` is full of secrets that are readable to the caller: `shadow` and `ssh` for
//! root, and for anybody `machine-id` (it identifies the machine), `gitconfig`, `npmrc`,
//! `pip.conf`, `environment`, `profile`, `bash.bashrc`, `wgetrc`, `maven` (all of them hold
//! tokens and proxy passwords on some machine), `hosts` and `networks` (the inner network),
//! `passwd` (the other users). So entries are named one by one, with the reason.

use std::path::{Path, PathBuf};

use super::{Identity, MountStep, Owner};
use crate::host::{HostFacts, PathKind};
use crate::policy::Network;

/// Public entries that programs fail without, and why.
const ALLOWED: &[(&str, &str)] = &[
    (
        "alternatives",
        "links in /usr/bin lead through it: cc, editor, java, awk",
    ),
    ("ld.so.cache", "libraries outside the default directories"),
    ("ld.so.conf", "the same, for ldconfig -p"),
    ("ld.so.conf.d", "the same"),
    ("ssl/certs", "TLS trust anchors; never ssl/private"),
    ("ssl/cert.pem", "the same, on Alpine and Arch"),
    (
        "ssl/openssl.cnf",
        "libcrypto refuses to start where it is expected and missing",
    ),
    (
        "pki/tls/certs",
        "TLS trust anchors on Fedora; never pki/tls/private",
    ),
    ("pki/tls/openssl.cnf", "as ssl/openssl.cnf"),
    ("pki/ca-trust/extracted", "what pki/tls/certs links to"),
    ("crypto-policies", "included by Fedora's openssl.cnf"),
    ("ca-certificates", "what ssl/certs links to"),
    ("ca-certificates.conf", "the same"),
    ("localtime", "the time zone"),
    ("timezone", "the time zone's name"),
    ("mime.types", "file types by name"),
    ("magic", "file types by content"),
    ("terminfo", "terminals beside those in /usr"),
    ("protocols", "getprotobyname"),
    ("services", "getservbyname"),
    ("perl", "perl's module paths"),
    ("debian_version", "which system this is"),
    ("os-release", "the same"),
    ("lsb-release", "the same"),
    ("redhat-release", "the same"),
    ("alpine-release", "the same"),
    ("inputrc", "key bindings of readline"),
    ("locale.alias", "names of locales"),
    ("fonts", "fontconfig"),
    ("xml", "catalogues of XML schemas"),
    ("sgml", "the same for SGML"),
];

/// Beginnings of names that carry a version.
const ALLOWED_PREFIXES: &[(&str, &str)] = &[
    ("python3", "sitecustomize of Debian's pythons"),
    ("java-", "security and font settings of Debian's JREs"),
];

/// Whether an entry of the host's `/etc` may be shown, by its path below `/etc`.
#[must_use]
pub fn is_public_etc(below_etc: &str) -> bool {
    ALLOWED.iter().any(|(name, _)| *name == below_etc)
        || ALLOWED_PREFIXES
            .iter()
            .any(|(prefix, _)| below_etc.starts_with(prefix) && !below_etc.contains('/'))
}

/// The entries to look for beside those with a version in their name.
pub(crate) fn public_etc_names() -> impl Iterator<Item = &'static str> {
    ALLOWED.iter().map(|(name, _)| *name)
}

/// The steps that make `/etc`.
pub(super) fn steps(host: &HostFacts, identity: &Identity, network: Network) -> Vec<MountStep> {
    let mut out = vec![MountStep::Dir {
        target: "/etc".into(),
        mode: 0o755,
        owner: Owner::Root,
    }];
    for (name, contents) in made_up(identity, network) {
        out.push(MountStep::File {
            target: Path::new("/etc").join(name),
            mode: 0o644,
            owner: Owner::Root,
            contents: contents.into_bytes(),
        });
    }
    out.push(MountStep::Symlink {
        target: "/etc/mtab".into(),
        link: "/proc/self/mounts".into(),
    });
    for (path, kind) in &host.paths {
        let Ok(below) = path.strip_prefix("/etc") else {
            continue;
        };
        if below.to_str().is_some_and(is_public_etc) {
            out.extend(bind(path, kind));
        }
    }
    // The resolver's address is needed with a network and is the host's affair without one.
    if network == Network::On {
        out.extend(bind(Path::new("/etc/resolv.conf"), &PathKind::File));
    }
    out
}

pub(super) fn bind(path: &Path, kind: &PathKind) -> Option<MountStep> {
    let is_dir = match kind {
        PathKind::Directory => true,
        PathKind::File => false,
        _ => return None,
    };
    Some(MountStep::Bind {
        source: path.to_path_buf(),
        target: PathBuf::from(path),
        is_dir,
        read_only: true,
        allow_dev: false,
        recursive: true,
        // A package manager may replace one between the look and the mount.
        optional: true,
        pinned: None,
    })
}

/// The made-up files.
pub(super) fn made_up(identity: &Identity, network: Network) -> Vec<(&'static str, String)> {
    let name = identity.hostname.as_deref().unwrap_or("localhost");
    let (uid, gid, home) = (identity.uid, identity.gid, identity.home.display());
    let hosts_from = if network == Network::On {
        "files dns"
    } else {
        "files"
    };
    let mut passwd = String::from("root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n");
    let mut group = String::from("root:x:0:\ntty:x:5:\n");
    if uid != 0 {
        passwd.push_str(&format!("guest:x:{uid}:{gid}:guest:{home}:/bin/sh\n"));
    }
    if gid != 0 && gid != 5 {
        group.push_str(&format!("guest:x:{gid}:\n"));
    }
    passwd.push_str("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
    group.push_str("nogroup:x:65534:\n");
    let nsswitch = [
        "passwd",
        "group",
        "shadow",
        "protocols",
        "services",
        "networks",
        "ethers",
    ]
    .map(|database| format!("{database}: files\n"))
    .concat();
    let mut files = vec![
        ("passwd", passwd),
        ("group", group),
        ("hostname", format!("{name}\n")),
        (
            "hosts",
            format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {name}\n"),
        ),
        ("host.conf", "multi on\n".to_owned()),
        ("nsswitch.conf", format!("{nsswitch}hosts: {hosts_from}\n")),
        (
            "shells",
            "/bin/sh\n/bin/bash\n/usr/bin/sh\n/usr/bin/bash\n".to_owned(),
        ),
    ];
    if network == Network::Off {
        files.push(("resolv.conf", String::new()));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_etc_are_not_public() {
        let secrets = [
            "",
            "shadow",
            "gshadow",
            "passwd",
            "group",
            "ssh",
            "ssl",
            "ssl/private",
            "pki",
            "pki/tls/private",
            "machine-id",
            "environment",
            "gitconfig",
            "npmrc",
            "pip.conf",
            "profile",
            "profile.d",
            "bash.bashrc",
            "wgetrc",
            "maven",
            "hosts",
            "hostname",
            "resolv.conf",
            "sudoers",
            "fstab",
            "docker",
            "krb5.keytab",
            "python3/../shadow",
            "java-x/secret",
            "subuid",
        ];
        for name in secrets {
            assert!(!is_public_etc(name), "{name}");
        }
    }

    #[test]
    fn every_allowed_entry_has_a_reason_and_is_named_once() {
        let mut names: Vec<&str> = Vec::new();
        for (name, reason) in ALLOWED.iter().chain(ALLOWED_PREFIXES) {
            assert!(reason.len() > 5, "{name}");
            assert!(!name.starts_with('/') && !name.ends_with('/'), "{name}");
            assert!(!names.contains(name), "{name}");
            names.push(name);
        }
    }

    #[test]
    fn versioned_names_are_public_as_whole_entries() {
        assert!(is_public_etc("python3.11"));
        assert!(is_public_etc("java-17-openjdk"));
        assert!(is_public_etc("ssl/certs"));
    }
}
