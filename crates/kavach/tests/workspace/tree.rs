//! Trees as values, and random things that are done to them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::common::Random;
use crate::overlay::shown;

/// What a path holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Node {
    Directory { mode: u32 },
    File { mode: u32, content: String },
    Link(String),
    Other,
}

/// Each path below a directory.
pub(crate) type Tree = BTreeMap<String, Node>;

/// What is there. Content longer than a line is told by its length and a sum.
pub(crate) fn tree(root: &Path) -> Tree {
    fn walk(root: &Path, dir: &Path, found: &mut Tree) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let mode = meta.mode() & 0o7777;
            let node = if meta.is_symlink() {
                Node::Link(shown(&fs::read_link(&path).unwrap()))
            } else if meta.is_dir() {
                walk(root, &path, found);
                Node::Directory { mode }
            } else if meta.is_file() {
                let content = fs::read(&path).map_or("unreadable".into(), |c| digest(&c));
                Node::File { mode, content }
            } else {
                Node::Other
            };
            found.insert(shown(path.strip_prefix(root).unwrap()), node);
        }
    }
    let mut found = Tree::new();
    walk(root, root, &mut found);
    found
}

fn digest(content: &[u8]) -> String {
    match str::from_utf8(content) {
        Ok(text) if text.len() < 80 => text.to_owned(),
        _ => {
            let sum = content.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
                (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
            });
            format!("{} bytes, {sum:016x}", content.len())
        }
    }
}

/// One thing that is done to a tree. What cannot be done (no such directory) is left.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Op {
    Write { path: String, content: String },
    Append { path: String, content: String },
    Truncate { path: String, len: u64 },
    Remove { path: String },
    MakeDirectory { path: String },
    Rename { from: String, to: String },
    Link { path: String, target: String },
    HardLink { from: String, to: String },
    Chmod { path: String, mode: u32 },
}

pub(crate) fn perform(root: &Path, ops: &[Op]) {
    for op in ops {
        // That many cannot be done is as it should be.
        let _ = perform_one(root, op);
    }
}

fn perform_one(root: &Path, op: &Op) -> std::io::Result<()> {
    match op {
        Op::Write { path, content } => fs::write(root.join(path), content),
        Op::Append { path, content } => fs::File::options()
            .append(true)
            .open(root.join(path))?
            .write_all(content.as_bytes()),
        Op::Truncate { path, len } => {
            let file = fs::File::options().write(true).open(root.join(path))?;
            file.set_len(*len)
        }
        Op::Remove { path } => {
            let path = root.join(path);
            if path.symlink_metadata()?.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }
        }
        Op::MakeDirectory { path } => fs::create_dir(root.join(path)),
        Op::Rename { from, to } => fs::rename(root.join(from), root.join(to)),
        Op::Link { path, target } => std::os::unix::fs::symlink(target, root.join(path)),
        Op::HardLink { from, to } => fs::hard_link(root.join(from), root.join(to)),
        Op::Chmod { path, mode } => {
            let path = root.join(path);
            let meta = path.symlink_metadata()?;
            // A directory that its owner cannot use any more would end the game.
            let mode = if meta.is_dir() {
                mode | 0o700
            } else {
                mode | 0o400
            };
            if meta.is_symlink() {
                return Ok(());
            }
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
        }
    }
}

/// Things to do, in few places, so that they meet.
pub(crate) fn random_ops(random: &mut Random, count: usize) -> Vec<Op> {
    (0..count).map(|_| random_op(random)).collect()
}

fn random_path(random: &mut Random) -> String {
    let depth = 1 + random.below(3);
    let names: Vec<&str> = (0..depth)
        .map(|_| ["a", "b", "c", "d"][usize::try_from(random.below(4)).unwrap()])
        .collect();
    names.join("/")
}

fn random_op(random: &mut Random) -> Op {
    let path = random_path(random);
    let content = "x".repeat(usize::try_from(random.below(20)).unwrap());
    match random.below(13) {
        0..=2 => Op::Write {
            content: format!("{content}{}", random.below(1000)),
            path,
        },
        3 => Op::Append { path, content },
        4 => Op::Truncate {
            path,
            len: random.below(30),
        },
        5 | 6 => Op::Remove { path },
        7 | 8 => Op::MakeDirectory { path },
        9 => Op::Rename {
            from: random_path(random),
            to: path,
        },
        // Without `..`: a link that is moved up could lead out, and would rightly be refused.
        10 => Op::Link {
            path,
            target: random_path(random),
        },
        11 => Op::HardLink {
            from: random_path(random),
            to: path,
        },
        _ => Op::Chmod {
            path,
            mode: [0o644, 0o600, 0o755, 0o444, 0o777, 0o750]
                [usize::try_from(random.below(6)).unwrap()],
        },
    }
}
