//! What will be done, before anything is done: plain data that can be read, compared and tested
//! for hosts that are not this one.

mod types;

pub use types::{
    FilterOptions, FilterPlan, Identity, LandlockPlan, LandlockRule, LimitMechanism, LimitsPlan,
    Mapping, MountStep, NamespacePlan, Owner, Plan, PlannedControl, PlannedLimit, Resource, Rlimit,
    ViewPlan,
};
