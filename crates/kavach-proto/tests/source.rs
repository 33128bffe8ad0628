//! What a mount operation says of its source comes back as it was written, and nothing else does.
#![cfg(feature = "alloc")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use kavach_proto::Source;
use proptest::collection::vec;
use proptest::prelude::*;

const PINNED: Source<'_> = Source {
    device: 1,
    inode: 2,
    uid_map: b"0 7000 1\n",
    gid_map: b"0 7000 1\n",
};

#[test]
fn no_data_stands_for_any_source() {
    assert_eq!(Source::read(&[]).unwrap(), Source::ANY);
    assert!(Source::ANY.is(1, 2));
    assert!(PINNED.is(1, 2));
    assert!(!PINNED.is(1, 3) && !PINNED.is(0, 2));
}

#[test]
fn one_map_alone_and_maps_over_a_page_are_refused() {
    let long = vec![b'0'; 4097];
    let wrong = [
        Source {
            gid_map: &[],
            ..PINNED
        },
        Source {
            uid_map: &[],
            ..PINNED
        },
        Source {
            uid_map: &long,
            ..PINNED
        },
    ];
    for source in wrong {
        assert!(Source::read(&source.encode()).is_err());
    }
    assert!(Source::read(&PINNED.encode()).is_ok());
}

proptest! {
    #[test]
    fn a_source_comes_back(device: u64, inode: u64, map in vec(any::<u8>(), 0..4096)) {
        let source = Source { device, inode, uid_map: &map, gid_map: &map };
        let encoded = source.encode();
        prop_assert_eq!(Source::read(&encoded).unwrap(), source);
    }

    #[test]
    fn a_source_cut_short_or_made_longer_is_refused(cut in 1usize..50, more in 1usize..50) {
        let whole = PINNED.encode();
        let short = &whole[..whole.len().saturating_sub(cut).max(1)];
        prop_assert!(Source::read(short).is_err());
        let long = [whole.as_slice(), &vec![0; more]].concat();
        prop_assert!(Source::read(&long).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(data in vec(any::<u8>(), 0..200)) {
        let _ = Source::read(&data);
    }
}
