use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use kavach::fuzzing::agent::{Answer, Asked, hears};
use kavach_proto::{Header, Kind};
use rustix::fs::{Mode, OFlags, open};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::input::Input;

/// Most messages of one connection: what a socket holds without anybody reading.
const MESSAGES: usize = 48;

const SAID: [Kind; 11] = [
    Kind::Started,
    Kind::LaunchFailed,
    Kind::Exited,
    Kind::Idle,
    Kind::Ptmx,
    Kind::Upper,
    Kind::Cloned,
    Kind::Rehearsing,
    Kind::Ready,
    Kind::SetupFailed,
    Kind::Exec,
];

struct Message {
    bytes: Vec<u8>,
    fds: usize,
}

pub(crate) fn run(data: &[u8]) {
    // What the runtime opens once and keeps must not look like a leak.
    static WARM: OnceLock<()> = OnceLock::new();
    WARM.get_or_init(|| drop(conversation(&[], &[])));
    let before = lowest_free();

    let mut input = Input::new(data);
    let asked: Vec<Asked> = (0..input.below(8))
        .map(|_| input.of(&[Asked::Command, Asked::Terminal, Asked::Idle]))
        .collect();
    let mut messages = Vec::new();
    while !input.is_empty() && messages.len() < MESSAGES {
        messages.push(message(&mut input));
    }
    let answers = conversation(&asked, &messages);
    assert_eq!(answers.len(), asked.len());
    let with_descriptors = messages.iter().any(|message| message.fds > 0);
    for answer in &answers {
        if let Answer::Terminal(Some(Ok(fd))) = answer {
            assert!(with_descriptors, "a descriptor from nowhere");
            let flags = rustix::io::fcntl_getfd(fd).expect("it is open");
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
    }
    let said = format!("{answers:?}");
    drop(answers);
    assert_eq!(lowest_free(), before, "a descriptor is left open");

    if !with_descriptors {
        // How the bytes are cut says nothing.
        let bytes = messages.iter().flat_map(|message| message.bytes.clone());
        let whole = Message {
            bytes: bytes.collect(),
            fds: 0,
        };
        assert_eq!(format!("{:?}", conversation(&asked, &[whole])), said);
    }
}

fn message(input: &mut Input<'_>) -> Message {
    let shape = input.byte();
    let fds = match shape >> 6 {
        0 | 1 => 0,
        2 => 1,
        _ => usize::from(shape >> 4 & 3),
    };
    if shape & 0xf == 0xf {
        let length = usize::from(input.byte());
        let bytes = input.take(length).to_vec();
        return Message { bytes, fds };
    }
    // A frame, most often one that is right.
    let kind = SAID[usize::from(shape & 0xf) % SAID.len()];
    let id = u32::from(input.byte());
    let length = match kind {
        Kind::Started | Kind::Cloned | Kind::Rehearsing => 4,
        Kind::LaunchFailed | Kind::SetupFailed => 10,
        Kind::Exited => 28,
        _ => 0,
    };
    let length = match shape & 0x30 {
        0x30 => usize::from(input.byte()) * 18,
        _ => length,
    };
    let payload = input.take(length);
    let mut header = Header::new(kind, id, payload.len() as u32);
    header.fds = u8::try_from(fds).unwrap_or(0);
    let bytes = [header.encode().as_slice(), payload].concat();
    Message { bytes, fds }
}

/// What the host makes of these messages and the end of the connection.
fn conversation(asked: &[Asked], messages: &[Message]) -> Vec<Answer> {
    let (host, agent) = UnixStream::pair().expect("sockets can be made");
    agent.set_nonblocking(true).expect("it is a socket");
    let passed = passed();
    for message in messages.iter().filter(|message| !message.bytes.is_empty()) {
        let fds: Vec<BorrowedFd<'_>> = passed.iter().take(message.fds).map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(&fds)));
        let parts = [IoSlice::new(&message.bytes)];
        let sent = sendmsg(&agent, &parts, &mut control, SendFlags::NOSIGNAL);
        assert_eq!(sent, Ok(message.bytes.len()), "the socket has room");
    }
    agent.shutdown(Shutdown::Write).expect("it is connected");
    hears(asked, host).expect("everybody gets an answer")
}

/// Descriptors that an agent may pass on.
fn passed() -> &'static [OwnedFd; 3] {
    static FDS: OnceLock<[OwnedFd; 3]> = OnceLock::new();
    FDS.get_or_init(|| {
        ["/dev/null", "/", "/dev/zero"].map(|path| {
            open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect("every host has it")
        })
    })
}

/// The number that the next descriptor gets.
fn lowest_free() -> i32 {
    let next = rustix::io::dup(&passed()[0]).expect("descriptors are left");
    next.as_raw_fd()
}
