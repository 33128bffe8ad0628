//! Where a symbolic link of the guest's may point.
//!
//! A target may begin with as many `..` as lead up to the workspace, and then names directories
//! and files only. That is stricter than to follow the path, on purpose: `d/../../x` stays inside
//! while `d` is a directory, and leaves once `d` becomes a link, in this apply or a later one.
//! A target of the accepted form means the same whatever else is applied: the directory that a
//! link is in is a real one, never moved by kavach, and each further link on the way has the same
//! form, or is the host's own. Those are asked for: a way that leaves the workspace through a
//! link of the host's is refused too.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::refusal::Refusal;

/// Checks the target of a link in the directory `dir` of the workspace `root`.
pub(super) fn check(root: impl AsFd, dir: &[u8], target: &[u8]) -> Result<(), Refusal> {
    let place = place(dir, target)?;
    if place.is_empty() {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    loop {
        return match openat2(&root, &*place, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => continue,
            // It leaves the workspace; or the way is too long to be followed.
            Err(Errno::XDEV | Errno::NAMETOOLONG) => Err(escaping(target)),
            // There, not there yet, or a circle: the links on the way stay inside.
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => Ok(()),
            Err(e) => Err(Refusal::host("follow the link")(io::Error::from(e))),
        };
    }
}

fn escaping(target: &[u8]) -> Refusal {
    Refusal::EscapingLink {
        target: target.to_vec(),
    }
}

/// The place below the workspace that a target names; empty for the workspace itself.
fn place(dir: &[u8], target: &[u8]) -> Result<Vec<u8>, Refusal> {
    if target.first() == Some(&b'/') {
        return Err(Refusal::AbsoluteLink {
            target: target.to_vec(),
        });
    }
    let mut place: Vec<&[u8]> = dir.split(|b| *b == b'/').collect();
    place.retain(|name| !name.is_empty());
    let mut down = false;
    for name in target.split(|b| *b == b'/') {
        match name {
            b"" | b"." => {}
            b".." if down || place.pop().is_none() => return Err(escaping(target)),
            b".." => {}
            name => {
                down = true;
                place.push(name);
            }
        }
    }
    Ok(place.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_leads_up_to_the_workspace_and_then_down() {
        let of = |dir: &str, target: &str| {
            place(dir.as_bytes(), target.as_bytes()).map(|p| String::from_utf8(p).unwrap())
        };
        for (dir, target, expected) in [
            ("", "a", "a"),
            ("", "./a//b/", "a/b"),
            ("a/b", "c", "a/b/c"),
            ("a/b", "../c", "a/c"),
            ("a/b", "../../c", "c"),
            ("a/b", "../..", ""),
            ("a", ".", "a"),
            ("", "...", "..."),
        ] {
            assert_eq!(of(dir, target).unwrap(), expected, "{dir:?} {target:?}");
        }
        for (dir, target) in [
            ("", ".."),
            ("", "../a"),
            ("a", "../.."),
            ("a/b", "../../../etc/passwd"),
            // Inside as long as `d` is no link.
            ("", "d/../a"),
            ("a", "d/../../b"),
            ("a", "../d/.."),
        ] {
            let refused = of(dir, target).unwrap_err();
            assert_eq!(refused.code(), "escaping_link", "{dir:?} {target:?}");
        }
        assert_eq!(of("a", "/etc").unwrap_err().code(), "absolute_link");
    }
}
