use std::sync::OnceLock;

use kavach::seccomp::{Options, Profile, compile};

use crate::bpf::{Call, Filter};
use crate::input::Input;
use crate::reference::{X86_64, all_options, boundaries, decide};

struct Compiled {
    profile: &'static Profile,
    options: Options,
    filter: Filter,
    /// Values that its rules compare with, and their neighbours.
    values: Vec<u64>,
}

fn compiled() -> &'static [Compiled] {
    static ALL: OnceLock<Vec<Compiled>> = OnceLock::new();
    ALL.get_or_init(|| {
        let names = Profile::NAMES.iter();
        names
            .flat_map(|name| all_options().map(move |options| (name, options)))
            .map(|(name, options)| {
                let profile = Profile::by_name(name).expect("it is one of the names");
                let program = compile(profile, &options).expect("profiles compile");
                let rules = profile.groups.iter().flat_map(|group| group.rules);
                Compiled {
                    profile,
                    options,
                    filter: Filter::load(&program.to_bytes()).expect("the kernel takes it"),
                    values: rules
                        .flat_map(|rule| rule.when)
                        .flat_map(boundaries)
                        .collect(),
                }
            })
            .collect()
    })
}

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    while !input.is_empty() {
        let one = &compiled()[input.below(32)];
        let kind = input.byte();
        let call = Call {
            nr: match kind % 4 {
                0 | 1 => input.u32() % 512,
                2 => (input.u32() % 512) | (1 << 30),
                _ => input.u32(),
            },
            arch: if kind & 0x30 == 0x30 {
                input.u32()
            } else {
                X86_64
            },
            args: std::array::from_fn(|_| argument(&mut input, &one.values)),
        };
        let expected = decide(one.profile, &one.options, &call);
        assert_eq!(
            one.filter.run(&call),
            expected,
            "{} {:?} {call:x?}",
            one.profile.name,
            one.options
        );
    }
}

fn argument(input: &mut Input<'_>, values: &[u64]) -> u64 {
    match input.byte() % 4 {
        0 => 0,
        1 => input.u64(),
        2 => values[input.u32() as usize % values.len()],
        _ => values[input.u32() as usize % values.len()] ^ 1 << input.below(64),
    }
}
