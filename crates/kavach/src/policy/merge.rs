//! Two policies in one: the stricter wins, key by key.

use std::collections::{BTreeMap, BTreeSet};

use super::order::profile_rank;
use super::section::{Pair, Section as _};
use super::validate::MAX_NAME;
use super::value::Value as _;
use super::{Links, SandboxPolicy, SyscallFilter};
use crate::control::Control;

impl SandboxPolicy {
    /// A policy that allows nothing that either of the two denies.
    ///
    /// For each control the higher requirement wins, a weaker mechanism is accepted only where
    /// every policy that asks for the control accepts it, and of two limits the lower wins. A
    /// value counts only where its policy makes use of it: a limit whose requirement is `off`
    /// does not lower another. Of the read paths, what both show is left; a path counts as shown
    /// by another above it. As that is judged by their names, a merge of different lists refuses
    /// read paths that lead through symbolic links.
    ///
    /// The order of policies does not matter, nor which two are merged first, and a policy
    /// merged with itself stays as it is; but the name says in which order they came, and read
    /// paths come out sorted. Two valid policies make a valid one.
    ///
    /// It decides what is asked. Whether a host can hold more than either alone demands, the
    /// plan says.
    #[must_use]
    pub fn merge(&self, other: &SandboxPolicy) -> SandboxPolicy {
        let Self {
            name,
            syscall_filter,
            filesystem,
            landlock,
            network,
            namespaces,
            limits,
            // Both are what a control's demand is made of.
            requirements: _,
            accept_approximate: _,
        } = self;
        let pair = Pair {
            from: self,
            to: other,
        };
        let mut requirements = BTreeMap::new();
        let mut accept_approximate = BTreeSet::new();
        for control in Control::ALL {
            let demand = self.demand(control).max(other.demand(control));
            let said = [self, other].map(|policy| policy.requirements.contains_key(&control));
            if said != [false, false] {
                requirements.insert(control, demand.requirement());
            }
            if demand.accepts_approximate() {
                accept_approximate.insert(control);
            }
        }
        let mut filesystem = filesystem.stricter(&other.filesystem, pair);
        if self.asks_for(Control::FilesystemView)
            && other.asks_for(Control::FilesystemView)
            && differ(&self.filesystem.read, &other.filesystem.read)
        {
            filesystem.read_links = Links::Refuse;
        }
        SandboxPolicy {
            name: joined(name, &other.name),
            syscall_filter: stricter_filter(syscall_filter, &other.syscall_filter, pair),
            filesystem,
            landlock: landlock.stricter(&other.landlock),
            network: network.stricter(&other.network),
            namespaces: namespaces.stricter(&other.namespaces, pair),
            limits: limits.stricter(&other.limits, pair),
            requirements,
            accept_approximate,
        }
    }
}

fn stricter_filter(from: &SyscallFilter, to: &SyscallFilter, pair: Pair<'_>) -> SyscallFilter {
    let filter = Control::SyscallFilter;
    match (pair.from.asks_for(filter), pair.to.asks_for(filter)) {
        (true, false) => from.clone(),
        (false, true) => to.clone(),
        _ if profile_rank(from.profile.as_deref()) >= profile_rank(to.profile.as_deref()) => {
            from.clone()
        }
        _ => to.clone(),
    }
}

/// Whether two lists do not name the same paths.
fn differ(a: &[std::path::PathBuf], b: &[std::path::PathBuf]) -> bool {
    a.iter().collect::<BTreeSet<_>>() != b.iter().collect::<BTreeSet<_>>()
}

/// `a + b`, as long as a name may be.
fn joined(a: &str, b: &str) -> String {
    if a == b {
        return a.to_owned();
    }
    let mut name = format!("{a} + {b}");
    if name.len() > MAX_NAME {
        const CUT: &str = "…";
        let most = MAX_NAME - CUT.len();
        let end = name
            .char_indices()
            .map(|(at, _)| at)
            .take_while(|at| *at <= most);
        name.truncate(end.last().unwrap_or(0));
        name.push_str(CUT);
    }
    name
}
