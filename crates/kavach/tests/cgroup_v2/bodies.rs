//! What is run in each setting, by name.

use crate::{containment, life, limits};

/// The bodies that hold in every setting.
pub(crate) const BODIES: [(&str, fn()); 10] = [
    ("the_report_quotes_the_control_files", limits::report),
    (
        "past_the_memory_limit_the_whole_command_dies",
        limits::memory,
    ),
    ("past_the_pids_limit_forks_are_refused", limits::pids),
    ("past_the_cpu_quota_it_is_throttled", limits::cpu),
    ("usage_is_what_the_files_say", limits::usage),
    ("a_pause_freezes_the_guest_and_not_the_agent", life::pause),
    ("a_timeout_kills_the_commands_own_tree", life::timeout),
    ("nothing_is_left_after_destroy", life::destroyed),
    ("nothing_outlives_a_killed_host", life::killed),
    ("what_a_killed_reaper_left_is_collected", life::collected),
];

/// Those that others start.
const PARTS: [(&str, fn()); 5] = [
    ("host", life::host),
    ("session", containment::session),
    ("crowd", containment::crowd),
    ("unit_limit", containment::unit_limit),
    ("own_group", containment::own_group),
];

pub(crate) fn run(name: &str) {
    // As the command line does, before anything else is started.
    let body = BODIES.iter().chain(&PARTS).find(|(body, _)| *body == name);
    let (_, body) = body.unwrap_or_else(|| panic!("no body {name}"));
    kavach::host::step_aside().unwrap();
    body();
}
