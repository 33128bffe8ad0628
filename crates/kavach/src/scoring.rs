//! How strong a sandbox is, as a number from 0 to 100.
//!
//! Three numbers on one scale: [`base_score`] is what a backend is by nature;
//! [`score_backend`] what a policy would make of it if all of it held; [`strength`] what one
//! sandbox on one host really has, from its enforcement report. The number compares sandboxes;
//! it does not promise that a kernel or hypervisor has no fault.

use std::fmt;

use serde::Serialize;

use crate::backend::Backend;
use crate::control::{Control, ControlState};
use crate::enforcement::EnforcementReport;
use crate::policy::SandboxPolicy;

/// Points of a system call filter.
const FILTER_POINTS: u8 = 5;
/// Points of each other modifier.
const MODIFIER_POINTS: u8 = 2;
/// What a missing jailer, or an emulated processor, costs a microVM.
const MICROVM_WEAKNESS: u8 = 5;
/// Why points are lost of what was asked for and is absent.
pub(crate) const NOT_HELD: &str = "not held";
/// Ceiling of a guest that is the host's root: one kernel fault away from everything.
const HOST_ROOT_CEILING: u8 = 29;
/// What a virtual machine without memory encryption is worth.
const PLAIN_VM_BASE: u8 = 75;
/// What a verified, hardened OS image in a container is worth.
const SY_AGNOS_BASE: u8 = 80;
/// Ceiling of the band `hardened`.
const HARDENED_CEILING: u8 = 84;

/// A strength from 0 to 100, shown with its label: `63 (standard)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct StrengthScore(u8);

impl StrengthScore {
    /// This many points; more than 100 count as 100.
    #[must_use]
    pub const fn new(points: u8) -> Self {
        Self(if points > 100 { 100 } else { points })
    }

    /// The points.
    #[must_use]
    pub const fn value(self) -> u8 {
        self.0
    }

    /// The band: minimal (0–29), basic (30–49), standard (50–69), hardened (70–84), fortress
    /// (85–100).
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self.0 {
            0..=29 => "minimal",
            30..=49 => "basic",
            50..=69 => "standard",
            70..=84 => "hardened",
            _ => "fortress",
        }
    }
}

impl fmt::Display for StrengthScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.label())
    }
}

impl PartialEq<u8> for StrengthScore {
    fn eq(&self, points: &u8) -> bool {
        self.0 == *points
    }
}

/// What a backend is worth by nature, without any policy.
///
/// A plain number, so that it can be compared and computed with.
#[must_use]
pub const fn base_score(backend: Backend) -> u8 {
    match backend {
        Backend::Noop => 0,
        Backend::Process => 50,
        Backend::Oci => 55,
        Backend::Wasm => 65,
        Backend::GVisor => 70,
        Backend::Sgx => 80,
        Backend::Sev => 82,
        Backend::Firecracker => 90,
    }
}

/// The highest score a backend can have: no policy lifts it out of its band.
#[must_use]
pub const fn ceiling(backend: Backend) -> u8 {
    match backend {
        Backend::Noop => 0,
        Backend::Process | Backend::Oci | Backend::Wasm => 69,
        Backend::GVisor | Backend::Sgx | Backend::Sev => HARDENED_CEILING,
        Backend::Firecracker => 100,
    }
}

/// What a backend that shares the host's kernel loses without a system call filter.
const fn unfiltered_penalty(backend: Backend) -> u8 {
    match backend {
        Backend::Process => 10,
        Backend::Oci => 5,
        // Nothing is enforced, so there is nothing to lose.
        Backend::Noop => 0,
        // Their guests do not speak to the host's kernel.
        Backend::Wasm | Backend::GVisor | Backend::Sgx | Backend::Sev | Backend::Firecracker => 0,
    }
}

/// What `policy` would give on `backend` if all of it held.
#[must_use]
pub fn score_backend(backend: Backend, policy: &SandboxPolicy) -> StrengthScore {
    by_policy(base_score(backend), ceiling(backend), backend, policy).score()
}

/// What a verified, hardened OS image (sy-agnos) is worth in a container, without any policy.
#[must_use]
pub const fn base_score_sy_agnos() -> u8 {
    SY_AGNOS_BASE
}

/// Like [`score_backend`], for a container whose root is a sy-agnos image.
///
/// The tier counts where the image was `verified` and `container` is a container backend (OCI or
/// gVisor); else the backend's own score stands. A container on the host's kernel still loses
/// its points without a filter.
#[must_use]
pub fn score_sy_agnos(policy: &SandboxPolicy, verified: bool, container: Backend) -> StrengthScore {
    if !verified || !matches!(container, Backend::Oci | Backend::GVisor) {
        return score_backend(container, policy);
    }
    by_policy(SY_AGNOS_BASE, HARDENED_CEILING, container, policy).score()
}

/// One line of a score: points and what they are for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Item {
    /// What the points are for, or why they are lost.
    pub what: &'static str,
    /// The control that they belong to, where it is one.
    pub control: Option<Control>,
    /// The points; negative where they are lost.
    pub points: i16,
}

/// A score and what it is made of: the points of the items add up to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Breakdown {
    /// The lines, in the order in which they are counted.
    pub items: Vec<Item>,
}

impl Breakdown {
    /// The sum.
    #[must_use]
    pub fn score(&self) -> StrengthScore {
        let points = self.total().clamp(0, 100);
        StrengthScore::new(u8::try_from(points).unwrap_or(0))
    }

    /// The points that a control brings or costs; of memory and pids, which are one modifier, the
    /// first has them.
    #[must_use]
    pub fn points_of(&self, control: Control) -> i16 {
        let own = self.items.iter();
        let own = own.filter(|item| item.control == Some(control));
        own.map(|item| item.points).sum()
    }

    fn total(&self) -> i16 {
        self.items.iter().map(|item| item.points).sum()
    }

    fn add(&mut self, what: &'static str, control: Option<Control>, points: i16) {
        self.items.push(Item {
            what,
            control,
            points,
        });
    }

    fn cut_to(&mut self, what: &'static str, ceiling: u8) {
        let above = self.total() - i16::from(ceiling);
        if above > 0 {
            self.add(what, None, -above);
        }
    }
}

/// Base, modifiers and penalty, cut to the ceiling.
fn by_policy(base: u8, ceiling: u8, backend: Backend, policy: &SandboxPolicy) -> Breakdown {
    let mut score = Breakdown { items: Vec::new() };
    score.add("the backend", None, base.into());
    let modifiers = [
        (
            Control::SyscallFilter,
            "a system call filter",
            FILTER_POINTS,
        ),
        (Control::Landlock, "Landlock's path rules", MODIFIER_POINTS),
        (Control::Network, "no network", MODIFIER_POINTS),
        (Control::ReadOnlyRoot, "a read-only root", MODIFIER_POINTS),
    ];
    for (control, what, points) in modifiers {
        if policy.asks_for(control) {
            score.add(what, Some(control), points.into());
        }
    }
    if asks_for_limits(policy) {
        let what = "limits of memory and pids";
        score.add(what, Some(Control::Memory), MODIFIER_POINTS.into());
    }
    let penalty = unfiltered_penalty(backend);
    if penalty > 0 && !policy.asks_for(Control::SyscallFilter) {
        let what = "a shared kernel and no system call filter";
        score.add(what, Some(Control::SyscallFilter), -i16::from(penalty));
    }
    score.cut_to("the backend's ceiling", ceiling);
    score
}

/// Whether both limits of the modifier "resource limits" are asked for.
fn asks_for_limits(policy: &SandboxPolicy) -> bool {
    policy.asks_for(Control::Memory) && policy.asks_for(Control::Pids)
}

/// What a sandbox loses when `control`, asked for by `policy`, is absent.
///
/// Memory and pids are one modifier; each is named here with the points of both, and they are
/// lost once.
#[must_use]
pub fn points_if_absent(backend: Backend, policy: &SandboxPolicy, control: Control) -> u8 {
    match control {
        Control::SyscallFilter => FILTER_POINTS + unfiltered_penalty(backend),
        Control::Landlock | Control::Network | Control::ReadOnlyRoot => MODIFIER_POINTS,
        Control::Memory | Control::Pids if asks_for_limits(policy) => MODIFIER_POINTS,
        // Without a modifier of their own: one point, so that a loss always shows.
        _ => 1,
    }
}

/// Whether the scale has points for a control that is asked for and holds.
pub(crate) const fn has_points(control: Control) -> bool {
    matches!(
        control,
        Control::SyscallFilter
            | Control::Landlock
            | Control::Network
            | Control::ReadOnlyRoot
            | Control::Memory
            | Control::Pids
    )
}

/// What is known of one sandbox beside its report. Collected by the host side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Circumstances {
    /// The guest is the host's root, without a user namespace.
    pub guest_is_host_root: bool,
    /// The processor does what SGX or SEV are for. False under gramine-direct, or in a virtual
    /// machine whose memory is not encrypted.
    pub hardware_protects: bool,
    /// The microVM's own process is confined by its jailer.
    pub jailed: bool,
    /// The virtual machine's processor is emulated (TCG).
    pub emulated: bool,
}

/// Nothing that weakens.
impl Default for Circumstances {
    fn default() -> Self {
        Self {
            guest_is_host_root: false,
            hardware_protects: true,
            jailed: true,
            emulated: false,
        }
    }
}

/// The strength of one sandbox: [`score_backend`] after its ceiling, less the points of every
/// control that was asked for and does not hold.
///
/// An absent control costs all its points, an approximate one a single point; memory and pids
/// count as one. A control that was asked for and has no row in the report is absent.
#[must_use]
pub fn strength(
    backend: Backend,
    policy: &SandboxPolicy,
    report: &EnforcementReport,
    circumstances: Circumstances,
) -> StrengthScore {
    breakdown(backend, policy, report, circumstances).score()
}

/// What the [`strength`] of one sandbox is made of.
#[must_use]
pub fn breakdown(
    backend: Backend,
    policy: &SandboxPolicy,
    report: &EnforcementReport,
    circumstances: Circumstances,
) -> Breakdown {
    // A backend without its defining protection falls to what remains of it.
    let (base, top, backend) = match backend {
        Backend::Sgx if !circumstances.hardware_protects => (
            base_score(Backend::Process),
            ceiling(Backend::Process),
            Backend::Process,
        ),
        Backend::Sev if !circumstances.hardware_protects => {
            (PLAIN_VM_BASE, HARDENED_CEILING, Backend::Sev)
        }
        other => (base_score(other), ceiling(other), other),
    };
    let mut score = by_policy(base, top, backend, policy);
    let weakness = -i16::from(MICROVM_WEAKNESS);
    if backend == Backend::Firecracker && !circumstances.jailed {
        score.add("no jailer around the microVM", None, weakness);
    }
    if matches!(backend, Backend::Firecracker | Backend::Sev) && circumstances.emulated {
        score.add("an emulated processor", None, weakness);
    }
    add_losses(&mut score, backend, policy, report);
    if circumstances.guest_is_host_root {
        score.cut_to("the guest is the host's root", HOST_ROOT_CEILING);
    }
    let below = score.total();
    if below < 0 {
        score.add("no score is below 0", None, -below);
    }
    score
}

/// The points of everything that was asked for and does not hold.
fn add_losses(
    score: &mut Breakdown,
    backend: Backend,
    policy: &SandboxPolicy,
    report: &EnforcementReport,
) {
    let loss_of = |control: Control| {
        let asked =
            policy.asks_for(control) || report.get(control).is_some_and(|row| row.is_requested());
        match report.state(control) {
            _ if !asked => None,
            ControlState::Enforced | ControlState::Inherent => None,
            ControlState::Approximate => Some(("held approximately", 1)),
            ControlState::Absent => Some((NOT_HELD, points_if_absent(backend, policy, control))),
        }
    };
    // Memory and pids are one modifier, lost once: by the one that loses more.
    let pair = [Control::Memory, Control::Pids];
    let cheaper = |control: Control| {
        let points = pair.map(|one| loss_of(one).map_or(0, |(_, points)| points));
        let [memory, pids] = points;
        asks_for_limits(policy)
            && (control == Control::Memory && memory < pids
                || control == Control::Pids && pids <= memory)
    };
    for control in Control::ALL {
        if let Some((what, points)) = loss_of(control)
            && !cheaper(control)
        {
            score.add(what, Some(control), -i16::from(points));
        }
    }
}

#[cfg(test)]
mod tests;
