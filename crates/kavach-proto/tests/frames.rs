//! Every frame comes back as it was sent, and no bytes make a decoder panic or read past a bound.
#![cfg(feature = "alloc")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::ffi::CStr;

use kavach_proto::{
    Ended, ExecRequest, Failure, Fixed, HEADER_LEN, Header, HeaderError, Kind, MAX_FDS, MAX_MOUNTS,
    MAX_TO_AGENT, MAX_TO_HOST, MapKind, Mapping, MountKind, MountSpec, Reader, ReaperBase,
    ReaperOrder, Rlimit, SetupReader, SetupWriter, SignalRequest, Sink, Step, VERSION,
};
use proptest::collection::vec;
use proptest::prelude::*;

const KINDS: [Kind; 18] = [
    Kind::Setup,
    Kind::Continue,
    Kind::Exec,
    Kind::Signal,
    Kind::SignalAll,
    Kind::Reap,
    Kind::Join,
    Kind::AskPtmx,
    Kind::Cloned,
    Kind::Rehearsing,
    Kind::Ready,
    Kind::SetupFailed,
    Kind::Started,
    Kind::LaunchFailed,
    Kind::Exited,
    Kind::Idle,
    Kind::Ptmx,
    Kind::Upper,
];

const NOBODY: Mapping = Mapping {
    kind: MapKind::None,
    inside_uid: 0,
    inside_gid: 0,
    outside_uid: 0,
    outside_gid: 0,
    count: 0,
    uid: 0,
    gid: 0,
};

fn header(kind: Kind, len: u32, fds: u8) -> [u8; HEADER_LEN] {
    let mut header = Header::new(kind, 7, len);
    header.fds = fds;
    header.encode()
}

#[test]
fn each_kind_is_read_from_its_own_side_alone() {
    for kind in KINDS {
        let from_agent = kind.is_from_agent();
        let raw = header(kind, 0, 0);
        assert_eq!(Header::decode(raw, from_agent).unwrap().kind, kind);
        assert_eq!(
            Header::decode(raw, !from_agent),
            Err(HeaderError::Kind(kind as u8))
        );
    }
}

#[test]
fn a_payload_over_its_bound_is_refused() {
    for (kind, most) in [(Kind::Exec, MAX_TO_AGENT), (Kind::Exited, MAX_TO_HOST)] {
        let from_agent = kind.is_from_agent();
        assert!(Header::decode(header(kind, most, 0), from_agent).is_ok());
        for len in [most + 1, u32::MAX] {
            assert_eq!(
                Header::decode(header(kind, len, 0), from_agent),
                Err(HeaderError::TooLong(len))
            );
        }
    }
}

#[test]
fn too_many_descriptors_are_refused_and_an_agent_sends_one_at_most() {
    let most = u8::try_from(MAX_FDS).unwrap();
    assert!(Header::decode(header(Kind::Exec, 0, most), false).is_ok());
    assert_eq!(
        Header::decode(header(Kind::Exec, 0, most + 1), false),
        Err(HeaderError::Reserved)
    );
    assert_eq!(
        Header::decode(header(Kind::Exited, 0, 1), true),
        Err(HeaderError::Reserved)
    );
    for kind in [Kind::Ptmx, Kind::Upper] {
        assert!(Header::decode(header(kind, 0, 1), true).is_ok());
        assert_eq!(
            Header::decode(header(kind, 0, 2), true),
            Err(HeaderError::Reserved)
        );
    }
}

#[test]
fn another_version_and_other_bytes_are_refused() {
    let good = header(Kind::Ready, 0, 0);
    let with = |at: usize, byte: u8| {
        let mut raw = good;
        raw[at] = byte;
        Header::decode(raw, true)
    };
    assert_eq!(with(0, b'K'), Err(HeaderError::Magic));
    assert_eq!(with(2, VERSION + 1), Err(HeaderError::Version(VERSION + 1)));
    assert_eq!(with(3, 0), Err(HeaderError::Kind(0)));
    assert_eq!(with(3, 255), Err(HeaderError::Kind(255)));
    for reserved in 13..16 {
        assert_eq!(with(reserved, 1), Err(HeaderError::Reserved));
    }
}

#[test]
fn a_command_needs_a_program_and_descriptors_in_range() {
    let none: [&[u8]; 0] = [];
    let argv: [&[u8]; 1] = [b"true"];
    let write = |targets: &[u32], argv: &[&[u8]]| {
        let mut out = Vec::new();
        let (argv, env) = (argv.iter().copied(), none.iter().copied());
        ExecRequest::write(&mut out, b"/", false, targets, argv, env);
        out
    };
    assert!(ExecRequest::read(&write(&[0, 1, 2, 60], &argv)).is_ok());
    assert!(ExecRequest::read(&write(&[61], &argv)).is_err());
    assert!(ExecRequest::read(&write(&[0; MAX_FDS], &argv)).is_ok());
    assert!(ExecRequest::read(&write(&[0; MAX_FDS + 1], &argv)).is_err());
    assert!(ExecRequest::read(&write(&[], &none)).is_err());
    assert!(ExecRequest::read(&write(&[], &[b"tr\0ue"])).is_err());
}

#[test]
fn a_reaper_wants_a_prefix_that_selects() {
    let none: [(u8, &[u8]); 0] = [];
    let write = |prefix: &[u8], count: usize| {
        let mut out = Vec::new();
        let base: (u8, &[u8]) = (1, b"/sys/fs/cgroup");
        ReaperOrder::write(&mut out, prefix, std::iter::repeat_n(base, count));
        out
    };
    assert!(ReaperOrder::read(&write(b"kavach.1.2.", 3)).is_ok());
    assert!(
        ReaperOrder::read(&write(b"", 1)).is_err(),
        "it would select everything"
    );
    assert!(ReaperOrder::read(&write(b"kav", 1)).is_err());
    assert!(ReaperOrder::read(&write(b"kavach", 65)).is_err());
    let mut out = Vec::new();
    ReaperOrder::write(&mut out, b"kavach", none.into_iter());
    assert_eq!(ReaperOrder::read(&out).unwrap().count, 0);
}

fn setup_of(mounts: usize, rlimits: usize, filter: &[u8]) -> Vec<u8> {
    let mount = MountSpec {
        kind: MountKind::Dir,
        attrs: 0,
        mode: 0o755,
        size: 0,
        inodes: 0,
        target: b"/a",
        source: b"",
        data: b"",
    };
    let limit = Rlimit {
        resource: 7,
        soft: 1,
        hard: 2,
    };
    SetupWriter::new(0, &NOBODY, b"host", (1, 2))
        .mounts(vec![mount; mounts].into_iter())
        .limits(&vec![limit; rlimits], &[])
        .landlock((0, 0, 0), [].into_iter())
        .filter(filter)
}

#[test]
fn the_lists_of_a_setup_are_bounded() {
    assert!(SetupReader::read(&setup_of(MAX_MOUNTS, 16, &[0; 8])).is_ok());
    assert!(SetupReader::read(&setup_of(MAX_MOUNTS + 1, 0, &[])).is_err());
    assert!(SetupReader::read(&setup_of(0, 17, &[])).is_err());
    assert!(
        SetupReader::read(&setup_of(0, 0, &[0; 7])).is_err(),
        "half an instruction"
    );
    assert!(SetupReader::read(&setup_of(0, 0, &[0; 4096 * 8])).is_ok());
    assert!(SetupReader::read(&setup_of(0, 0, &[0; 4096 * 8 + 8])).is_err());
}

#[test]
fn every_step_has_a_number_and_words_of_its_own() {
    for (index, step) in Step::ALL.iter().enumerate() {
        assert_eq!(Step::from_number(*step as u16), Some(*step));
        for other in &Step::ALL[..index] {
            assert_ne!(other.text(), step.text());
        }
    }
    for number in [0, 49, 99, u16::MAX] {
        assert_eq!(Step::from_number(number), None);
    }
}

#[test]
fn a_full_sink_keeps_whole_values_only() {
    let mut sink = Fixed::<6>::new();
    sink.u32(1);
    sink.u32(2);
    sink.u16(3);
    assert_eq!(sink.as_bytes(), [1, 0, 0, 0, 3, 0]);
}

#[test]
fn wait_statuses_are_taken_apart_as_wait_does() {
    let ended = |status| Ended {
        status,
        user_us: 0,
        system_us: 0,
        max_rss_kb: 0,
    };
    assert_eq!(
        (ended(7 << 8).exit_code(), ended(7 << 8).signal()),
        (Some(7), None)
    );
    assert_eq!((ended(9).exit_code(), ended(9).signal()), (None, Some(9)));
    const CORE_DUMPED: u32 = 0x80;
    assert_eq!(ended(11 | CORE_DUMPED).signal(), Some(11));
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    vec(1..=255u8, 0..40)
}

fn plain(reader: &mut Reader<'_>, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|_| reader.cstr().unwrap().to_bytes().to_vec())
        .collect()
}

/// A sound payload of some kind, to be damaged.
fn sound() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (
            (text(), any::<bool>()),
            vec(0..=60u32, 0..8),
            vec(text(), 1..6),
            vec(text(), 0..6)
        )
            .prop_map(|((cwd, terminal), targets, args, env)| {
                let mut out = Vec::new();
                let (args, env) = (
                    args.iter().map(Vec::as_slice),
                    env.iter().map(Vec::as_slice),
                );
                ExecRequest::write(&mut out, &cwd, terminal, &targets, args, env);
                out
            }),
        (0..5usize, 0..5usize).prop_map(|(mounts, limits)| setup_of(mounts, limits, &[0; 16])),
        vec(text(), 0..4).prop_map(|paths| {
            let mut out = Vec::new();
            let bases = paths.iter().map(|path| (2, path.as_slice()));
            ReaperOrder::write(&mut out, b"kavach.", bases);
            out
        }),
    ]
}

/// Every decoder of a payload, on both sides; everything that a good payload refers to is read.
fn decode_all(bytes: &[u8]) {
    let _ = Failure::read(bytes);
    let _ = Ended::read(bytes);
    let _ = SignalRequest::read(bytes);
    if let Ok(request) = ExecRequest::read(bytes) {
        let (mut args, mut env) = (request.args, request.env);
        plain(&mut args, request.argc);
        plain(&mut env, request.envc);
    }
    if let Ok(order) = ReaperOrder::read(bytes) {
        let mut bases = order.bases;
        for _ in 0..order.count {
            ReaperBase::read(&mut bases).unwrap();
        }
    }
    if let Ok(setup) = SetupReader::read(bytes) {
        assert_eq!(setup.mounts().count(), setup.mount_count);
        assert_eq!(setup.rules().count(), setup.rule_count);
        let _ = setup.rlimits();
    }
}

proptest! {
    #[test]
    fn headers_round_trip(kind in 0..KINDS.len(), id: u32, len in 0..=MAX_TO_HOST, fds in 0..=32u8) {
        let kind = KINDS[kind];
        let mut header = Header::new(kind, id, len);
        header.fds = fds.min(u8::try_from(kind.most_fds()).unwrap());
        prop_assert_eq!(Header::decode(header.encode(), kind.is_from_agent()), Ok(header));
    }

    #[test]
    fn what_is_read_as_a_header_is_written_as_the_same_bytes(raw: [u8; HEADER_LEN], from_agent: bool) {
        if let Ok(header) = Header::decode(raw, from_agent) {
            prop_assert_eq!(header.encode(), raw);
        }
    }

    #[test]
    fn almost_headers_never_panic(at in 0..HEADER_LEN, byte: u8, kind in 0..KINDS.len(), from_agent: bool) {
        let mut raw = Header::new(KINDS[kind], 1, 2).encode();
        raw[at] = byte;
        if let Ok(header) = Header::decode(raw, from_agent) {
            let most = if from_agent { MAX_TO_HOST } else { MAX_TO_AGENT };
            prop_assert!(header.len <= most);
            prop_assert_eq!(header.encode(), raw);
        }
    }

    #[test]
    fn small_payloads_round_trip(step: u16, errno: u32, index: u32, a: u64, b: u64, c: u64, group: bool) {
        let failure = Failure { step, errno, index };
        let mut out = Vec::new();
        failure.write(&mut out);
        prop_assert_eq!(Failure::read(&out), Ok(failure));
        // The agent's own sink says the same.
        let mut fixed = Fixed::<64>::new();
        failure.write(&mut fixed);
        prop_assert_eq!(fixed.as_bytes(), &*out);

        let ended = Ended { status: errno, user_us: a, system_us: b, max_rss_kb: c };
        let mut out = Vec::new();
        ended.write(&mut out);
        prop_assert_eq!(Ended::read(&out), Ok(ended));

        let signal = SignalRequest { signal: errno, group };
        let mut out = Vec::new();
        signal.write(&mut out);
        prop_assert_eq!(SignalRequest::read(&out), Ok(signal));
    }

    #[test]
    fn commands_round_trip(
        cwd in text(),
        terminal: bool,
        targets in vec(0..=60u32, 0..=MAX_FDS),
        args in vec(text(), 1..8),
        env in vec(text(), 0..8),
    ) {
        let mut out = Vec::new();
        let (a, e) = (args.iter().map(Vec::as_slice), env.iter().map(Vec::as_slice));
        ExecRequest::write(&mut out, &cwd, terminal, &targets, a, e);
        let request = ExecRequest::read(&out).unwrap();
        prop_assert_eq!(request.cwd.to_bytes(), &*cwd);
        prop_assert_eq!(request.terminal, terminal);
        prop_assert_eq!(&request.targets[..request.target_count], &*targets);
        let (mut a, mut e) = (request.args, request.env);
        prop_assert_eq!(plain(&mut a, request.argc), args);
        prop_assert_eq!(plain(&mut e, request.envc), env);
    }

    #[test]
    fn reaper_orders_round_trip(prefix in vec(any::<u8>(), 4..40), bases in vec((0..3u8, text()), 0..16)) {
        let mut out = Vec::new();
        ReaperOrder::write(&mut out, &prefix, bases.iter().map(|(f, path)| (*f, path.as_slice())));
        let order = ReaperOrder::read(&out).unwrap();
        prop_assert_eq!(order.prefix, &*prefix);
        let mut reader = order.bases;
        for (freezer, path) in &bases {
            let base = ReaperBase::read(&mut reader).unwrap();
            prop_assert_eq!((base.freezer, base.path.to_bytes()), (*freezer, &**path));
        }
        prop_assert_eq!(order.count, bases.len());
    }

    #[test]
    fn setups_round_trip(
        flags: u32,
        ids: [u32; 7],
        hostname in text(),
        root: (u64, u64),
        mounts in vec((text(), text(), vec(any::<u8>(), 0..60), any::<(u32, u32, u64, u64)>()), 0..12),
        limits in vec(any::<(u32, u64, u64)>(), 0..=16),
        cpus in vec(any::<u8>(), 0..32),
        handled: (u64, u64, u64),
        rules in vec((any::<u64>(), text()), 0..12),
        instructions in vec(any::<[u8; 8]>(), 0..32),
    ) {
        let [inside_uid, inside_gid, outside_uid, outside_gid, count, uid, gid] = ids;
        let mapping = Mapping {
            kind: MapKind::Range, inside_uid, inside_gid, outside_uid, outside_gid, count, uid, gid,
        };
        let specs: Vec<_> = mounts.iter().map(|(target, source, data, (attrs, mode, size, inodes))| MountSpec {
            kind: MountKind::Bind, attrs: *attrs, mode: *mode, size: *size, inodes: *inodes,
            target, source, data,
        }).collect();
        let rlimits: Vec<_> = limits.iter().map(|(resource, soft, hard)| Rlimit {
            resource: *resource, soft: *soft, hard: *hard,
        }).collect();
        let filter = instructions.concat();
        let bytes = SetupWriter::new(flags, &mapping, &hostname, root)
            .mounts(specs.into_iter())
            .limits(&rlimits, &cpus)
            .landlock(handled, rules.iter().map(|(access, path)| (*access, path.as_slice())))
            .filter(&filter);

        let setup = SetupReader::read(&bytes).unwrap();
        prop_assert_eq!(setup.flags, flags);
        prop_assert_eq!(setup.mapping, mapping);
        prop_assert_eq!(setup.hostname.to_bytes(), &*hostname);
        prop_assert_eq!((setup.root_size, setup.root_inodes), root);
        prop_assert_eq!(setup.rlimits(), &*rlimits);
        prop_assert_eq!(setup.cpus, &*cpus);
        prop_assert_eq!((setup.landlock_fs, setup.landlock_net, setup.landlock_scoped), handled);
        prop_assert_eq!(setup.filter, &*filter);
        let read: Vec<_> = setup.mounts().map(|m| (
            m.target.to_bytes().to_vec(), m.source.to_bytes().to_vec(), m.data.to_vec(),
            (m.attrs, m.mode, m.size, m.inodes),
        )).collect();
        prop_assert_eq!(read, mounts);
        let owned = |path: &CStr| path.to_bytes().to_vec();
        let read: Vec<_> = setup.rules().map(|r| (r.access, owned(r.path))).collect();
        prop_assert_eq!(read, rules);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..600)) {
        decode_all(&bytes);
    }

    #[test]
    fn damaged_payloads_never_panic(
        sound in sound(),
        at in any::<prop::sample::Index>(),
        byte: u8,
        keep in any::<prop::sample::Index>(),
    ) {
        decode_all(&sound);
        let mut damaged = sound.clone();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        decode_all(&damaged);
        decode_all(&sound[..keep.index(sound.len())]);
    }

    #[test]
    fn a_cut_payload_is_refused_whatever_its_kind(cut in 1..30usize) {
        let mut out = Vec::new();
        Ended { status: 1, user_us: 2, system_us: 3, max_rss_kb: 4 }.write(&mut out);
        out.truncate(out.len().saturating_sub(cut));
        prop_assert!(Ended::read(&out).is_err());
        let setup = setup_of(2, 2, &[0; 8]);
        prop_assert!(SetupReader::read(&setup[..setup.len() - cut]).is_err());
    }

    #[test]
    fn trailing_bytes_are_refused(sound in sound(), more in vec(any::<u8>(), 1..9)) {
        let mut long = sound;
        long.extend(more);
        prop_assert!(ExecRequest::read(&long).is_err());
        prop_assert!(SetupReader::read(&long).is_err());
        prop_assert!(ReaperOrder::read(&long).is_err());
    }
}
