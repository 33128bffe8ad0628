//! What the agent is told of host paths beside their names: which files they must be, and under
//! which ids their owners show inside.

use kavach_proto::Source;

use super::ids::IdRange;
use crate::host::FileId;
use crate::plan::{HostDirectory, Identity, MountStep, Plan, UpperPlan};

/// One operation of the agent's list.
pub(super) struct Operation<'p> {
    pub(super) step: &'p MountStep,
    /// Whether it is the first of a step's two: the place for the writes.
    pub(super) is_upper: bool,
    /// What it carries beside its paths.
    pub(super) data: Vec<u8>,
}

/// The operations of a plan, in order: one for each step, and two for a workspace that writes to
/// the host's disk.
pub(super) fn operations<'p>(plan: &'p Plan, range: Option<&IdRange>) -> Vec<Operation<'p>> {
    let mut out = Vec::with_capacity(plan.view.mounts.len() + 1);
    let shown = |directory: &HostDirectory, others| {
        let ids = &plan.identity;
        let maps = directory.owner.zip(range).map(|(owner, range)| {
            let map = |owner, guest| id_map(owner, guest, range.first(), range.count(), others);
            (map(owner.uid, ids.uid), map(owner.gid, ids.gid))
        });
        let (uids, gids) = maps.unwrap_or_default();
        source(directory.id, uids.as_bytes(), gids.as_bytes())
    };
    for step in &plan.view.mounts {
        let mut add = |is_upper, data| {
            out.push(Operation {
                step,
                is_upper,
                data,
            });
        };
        match step {
            MountStep::Bind {
                pinned: Some(id), ..
            } => add(false, source(*id, &[], &[])),
            MountStep::WriteThrough { directory } => add(false, shown(directory, Others::Nobody)),
            MountStep::Workspace {
                lower,
                upper: UpperPlan::Directory(upper),
            } => {
                add(true, shown(upper, Others::Nobody));
                add(false, shown(lower, Others::Themselves));
            }
            MountStep::Workspace { lower, .. } => add(false, shown(lower, Others::Themselves)),
            _ => add(false, Vec::new()),
        }
    }
    out
}

/// The step of an operation by its number.
pub(super) fn step_of(plan: &Plan, index: usize) -> Option<&MountStep> {
    operations(plan, None).get(index).map(|op| op.step)
}

/// The guest's ids on the host.
pub(super) fn guest_ids(identity: &Identity, range: &IdRange) -> (u32, u32) {
    (range.first() + identity.uid, range.first() + identity.gid)
}

fn source(id: FileId, uid_map: &[u8], gid_map: &[u8]) -> Vec<u8> {
    Source {
        device: id.device,
        inode: id.inode,
        uid_map,
        gid_map,
    }
    .encode()
}

/// Who other owners than the directory's are inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    /// Nobody: where something is written, no id of the host's but the owner's can be used.
    Nobody,
    /// The ids of the same numbers, of the sandbox's own range: where nothing is written.
    Themselves,
}

/// The map of an idmapped mount: `on disk`, `outside`, `how many` on each line. The owner shows as
/// the guest; where the others show too, the owner's number stands for who has the guest's.
fn id_map(owner: u32, guest: u32, first: u32, count: u32, others: Others) -> String {
    let mut lines = String::new();
    let mut line = |on_disk: u32, inside: u32, count: u32| {
        if count > 0 {
            let outside = first + inside;
            lines.push_str(&format!("{on_disk} {outside} {count}\n"));
        }
    };
    if others == Others::Nobody {
        line(owner, guest, 1);
        return lines;
    }
    let (low, high) = (owner.min(guest), owner.max(guest));
    line(0, 0, low.min(count));
    line(owner, guest, 1);
    if high == low {
        line(low + 1, low + 1, count - low - 1);
    } else if high < count {
        line(guest, owner, 1);
        line(low + 1, low + 1, high - low - 1);
        line(high + 1, high + 1, count - high - 1);
    } else {
        // The owner's number is in nobody's range, so nobody takes its place.
        line(guest + 1, guest + 1, count - guest - 1);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(owner: u32) -> Vec<[u32; 3]> {
        let text = id_map(owner, 1000, 7_000_000, 65_536, Others::Themselves);
        let number = |word: &str| word.parse().unwrap();
        text.lines()
            .map(|line| {
                let words: Vec<u32> = line.split(' ').map(number).collect();
                [words[0], words[1] - 7_000_000, words[2]]
            })
            .collect()
    }

    #[test]
    fn the_owner_shows_as_the_guest_and_changes_places_with_it() {
        assert_eq!(
            map(1000),
            [[0, 0, 1000], [1000, 1000, 1], [1001, 1001, 64_535]]
        );
        let of_root = [
            [0, 1000, 1],
            [1000, 0, 1],
            [1, 1, 999],
            [1001, 1001, 64_535],
        ];
        assert_eq!(map(0), of_root);
        let of_another = [
            [0, 0, 1000],
            [1001, 1000, 1],
            [1000, 1001, 1],
            [1002, 1002, 64_534],
        ];
        assert_eq!(map(1001), of_another);
        let of_far = [[0, 0, 1000], [100_000, 1000, 1], [1001, 1001, 64_535]];
        assert_eq!(map(100_000), of_far);
    }

    /// The kernel refuses a map in which a range overlaps another, on either side.
    #[test]
    fn no_two_lines_overlap() {
        for owner in [0, 1, 999, 1000, 1001, 65_535, 65_536, u32::MAX - 1] {
            let lines = map(owner);
            for side in 0..2 {
                let mut taken: Vec<(u64, u64)> = lines
                    .iter()
                    .map(|line| {
                        (
                            line[side].into(),
                            u64::from(line[side]) + u64::from(line[2]),
                        )
                    })
                    .collect();
                taken.sort_unstable();
                assert!(
                    taken.windows(2).all(|w| w[0].1 <= w[1].0),
                    "{owner}: {lines:?}"
                );
            }
        }
    }

    #[test]
    fn where_something_is_written_only_the_owner_shows() {
        let text = id_map(0, 1000, 7_000_000, 65_536, Others::Nobody);
        assert_eq!(text, "0 7001000 1\n");
    }
}
