use crate::cli::terminal::{Neutraliser, plain};
use crate::input::Input;
use crate::text::assert_plain;

use super::terminal::understand;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let step = 1 + usize::from(input.byte());
    let bytes = input.rest();

    let (mut filter, mut out) = (Neutraliser::default(), String::new());
    filter.feed(bytes, &mut out);
    filter.finish(&mut out);
    understand(&out, false).assert_clean();
    assert!(out.len() <= bytes.len() * 8 + 8);

    let (mut filter, mut parts) = (Neutraliser::default(), String::new());
    for part in bytes.chunks(step) {
        filter.feed(part, &mut parts);
    }
    filter.finish(&mut parts);
    assert_eq!(parts, out, "how the bytes are cut says nothing");

    assert_plain(&plain(&String::from_utf8_lossy(bytes)));
}
