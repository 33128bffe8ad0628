use std::path::Component;

use kavach::fuzzing::{cgroup, host, process};

use crate::input::Input;

/// Parts two files in one input.
const BETWEEN: &[u8] = b"\n%%\n";

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let which = input.below(6);
    let bytes = input.rest();
    let text = &*String::from_utf8_lossy(bytes);
    match which {
        0 => hierarchies(bytes),
        1 => mounts(text),
        2 => stat(text),
        3 => status(text),
        4 => control_files(text),
        _ => lists(text),
    }
}

fn hierarchies(bytes: &[u8]) {
    let at = bytes
        .windows(BETWEEN.len())
        .position(|part| part == BETWEEN);
    let (cgroup, mountinfo) = match at {
        Some(at) => (&bytes[..at], &bytes[at + BETWEEN.len()..]),
        None => (&[][..], bytes),
    };
    let points = cgroup::hierarchies(mountinfo);
    let Ok(places) = cgroup::layout(cgroup, mountinfo) else {
        return;
    };
    let points = points.expect("the same file was understood");
    for place in places {
        assert!(points.contains(&place.mount) && place.mount.is_absolute());
        let Some(own) = place.own else { continue };
        let below = own
            .strip_prefix(&place.mount)
            .expect("at or below the mount");
        let climbs = below.components().any(|part| part == Component::ParentDir);
        assert!(!climbs, "{own:?} leaves {:?}", place.mount);
    }
}

/// Two readers of one file, for two purposes: they must not differ.
fn mounts(text: &str) {
    for line in text.lines() {
        let Some(read) = process::mount_line(line) else {
            continue;
        };
        let fields: Vec<&str> = line.split(' ').take(6).collect();
        let regular = !fields.contains(&"-") && read.target.starts_with('/');
        let is_group = matches!(read.kind.as_str(), "cgroup" | "cgroup2");
        if let Ok(points) = cgroup::hierarchies(line.as_bytes())
            && regular
        {
            let points: Vec<_> = points.iter().map(|point| point.to_string_lossy()).collect();
            assert_eq!(points.len(), usize::from(is_group), "{line:?}");
            assert!(points.iter().all(|point| *point == read.target), "{line:?}");
        }
    }
    let field = text.as_bytes();
    let plain = cgroup::unescape(field);
    assert!(plain.len() <= field.len());
    assert!(field.contains(&b'\\') || plain == field);
}

/// A process names itself as it likes.
fn stat(name: &str) {
    let _ = cgroup::process_stat(name);
    let name: String = name.chars().take(15).collect();
    let line = format!("42 ({name}) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 0 0\n");
    assert_eq!(cgroup::process_stat(&line), Some(('S', 98_765)), "{line:?}");
}

fn status(text: &str) {
    let _ = process::status(text);
    let _ = process::memory(text, "VmRSS:");
    let _ = host::capability_set(text, "CapEff:");
    // The kernel writes a newline in a name as `\n`, and other bytes as they are.
    let name: String = text.replace('\\', "\\\\").replace('\n', "\\n");
    let name: String = name.chars().take(15).collect();
    let file = format!(
        "Name:\t{name}\nState:\tS (sleeping)\nVmRSS:\t    5 kB\nVmPTE:\t    2 kB\n\
         CapEff:\t0000000000000003\nNoNewPrivs:\t1\n"
    );
    assert_eq!(process::memory(&file, "VmRSS:"), Some(7 * 1024), "{file:?}");
    assert_eq!(host::capability_set(&file, "CapEff:"), 3, "{file:?}");
    let fields = process::status(&file);
    assert_eq!(fields.get("NoNewPrivs").map(String::as_str), Some("1"));
    assert_eq!(
        fields.get("State").map(String::as_str),
        Some("S (sleeping)")
    );
}

fn control_files(text: &str) {
    for key in ["max", "usage_usec", "rbytes", ""] {
        let _ = cgroup::counters(text, key);
    }
    let _ = cgroup::usage(text);
    let names = cgroup::controllers(text);
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    let (wrote, read) = text.split_once('\n').unwrap_or((text, text));
    for answer in cgroup::read_back(wrote, read) {
        // Equal is exact, and nothing else is.
        assert_eq!(answer == Some(true), wrote == read);
    }
    if let Some(spelt) = cgroup::owner(text) {
        assert_eq!(spelt, text, "one spelling for each owner");
    }
}

fn lists(text: &str) {
    let _ = process::interfaces(text);
    let _ = process::subordinate_ids(text);
    let _ = host::id_ranges(text);
    if let Some(count) = process::cpus(text) {
        assert!(count >= 1);
        assert!(text.split(',').count() <= count as usize, "{text:?}");
    }
}
