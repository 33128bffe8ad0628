use kavach_proto::{
    Ended, ExecRequest, Failure, HEADER_LEN, Header, MAX_FDS, MAX_TO_AGENT, MAX_TO_HOST, MountSpec,
    Reader, ReaperBase, ReaperOrder, SetupReader, SetupWriter, SignalRequest, Source,
};

use crate::input::Input;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.below(8);
    let payload = input.rest();
    match kind {
        0 => header(payload),
        1 => setup(payload),
        2 => exec(payload),
        3 => reaper(payload),
        4 => source(payload),
        5 => {
            if let Ok(read) = Failure::read(payload) {
                let mut out = Vec::new();
                read.write(&mut out);
                assert_eq!(out, payload);
            }
        }
        6 => {
            if let Ok(read) = Ended::read(payload) {
                let mut out = Vec::new();
                read.write(&mut out);
                assert_eq!(out, payload);
                assert!(read.exit_code().is_some() != read.signal().is_some());
            }
        }
        _ => {
            if let Ok(read) = SignalRequest::read(payload) {
                let mut out = Vec::new();
                read.write(&mut out);
                // Any byte but 0 says "the group".
                assert_eq!(SignalRequest::read(&out), Ok(read));
            }
        }
    }
}

fn header(bytes: &[u8]) {
    for raw in bytes.as_chunks::<HEADER_LEN>().0 {
        for (from_agent, most) in [(false, MAX_TO_AGENT), (true, MAX_TO_HOST)] {
            let Ok(header) = Header::decode(*raw, from_agent) else {
                continue;
            };
            assert_eq!(header.encode(), *raw, "there is one way to say it");
            assert_eq!(header.kind.is_from_agent(), from_agent);
            assert!(header.len <= most && usize::from(header.fds) <= MAX_FDS);
        }
    }
}

fn setup(payload: &[u8]) {
    let Ok(setup) = SetupReader::read(payload) else {
        return;
    };
    let mounts: Vec<_> = setup.mounts().collect();
    let rules: Vec<_> = setup.rules().collect();
    assert_eq!(
        (mounts.len(), rules.len()),
        (setup.mount_count, setup.rule_count)
    );
    assert!(setup.filter.len().is_multiple_of(8));
    for op in &mounts {
        let _ = Source::read(op.data);
    }
    let written = SetupWriter::new(
        setup.flags,
        &setup.mapping,
        setup.hostname.to_bytes(),
        (setup.root_size, setup.root_inodes),
    )
    .mounts(mounts.iter().map(|op| MountSpec {
        kind: op.kind,
        attrs: op.attrs,
        mode: op.mode,
        size: op.size,
        inodes: op.inodes,
        target: op.target.to_bytes(),
        source: op.source.to_bytes(),
        data: op.data,
    }))
    .limits(setup.rlimits(), setup.cpus)
    .landlock(
        (setup.landlock_fs, setup.landlock_net, setup.landlock_scoped),
        rules.iter().map(|rule| (rule.access, rule.path.to_bytes())),
    )
    .filter(setup.filter);
    assert_eq!(written, payload, "there is one way to say it");
}

fn exec(payload: &[u8]) {
    let Ok(request) = ExecRequest::read(payload) else {
        return;
    };
    let strings = |mut reader: Reader<'_>, count: usize| -> Vec<Vec<u8>> {
        // The agent reserves room for as many: each must be there.
        (0..count)
            .map(|_| reader.cstr().expect("it was checked").to_bytes().to_vec())
            .collect()
    };
    assert!(request.argc > 0);
    let args = strings(request.args, request.argc);
    let env = strings(request.env, request.envc);
    let targets = &request.targets[..request.target_count];
    let mut out = Vec::new();
    ExecRequest::write(
        &mut out,
        request.cwd.to_bytes(),
        request.terminal,
        targets,
        args.iter().map(Vec::as_slice),
        env.iter().map(Vec::as_slice),
    );
    assert_eq!(out, payload, "there is one way to say it");
}

fn reaper(payload: &[u8]) {
    let Ok(order) = ReaperOrder::read(payload) else {
        return;
    };
    assert!(order.prefix.len() >= 4, "it must not mean every group");
    let mut list = order.bases;
    let bases: Vec<_> = (0..order.count)
        .map(|_| ReaperBase::read(&mut list).expect("it was checked"))
        .collect();
    let mut out = Vec::new();
    let bases = bases
        .iter()
        .map(|base| (base.freezer, base.path.to_bytes()));
    ReaperOrder::write(&mut out, order.prefix, bases);
    assert_eq!(out, payload, "there is one way to say it");
}

fn source(payload: &[u8]) {
    let Ok(source) = Source::read(payload) else {
        return;
    };
    if payload.is_empty() {
        assert_eq!(source, Source::ANY);
    } else {
        assert_eq!(source.encode(), payload, "there is one way to say it");
    }
    assert!(source.is(source.device, source.inode));
}
