use crate::cli::screen::Screen;
use crate::input::Input;

use super::terminal::understand;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let step = 1 + usize::from(input.byte());
    let bytes = input.rest();

    let mut screen = Screen::default();
    let mut out = String::new();
    screen.feed(bytes, &mut out);
    // In the middle: what a stop of the whole command does, and its continuation.
    let paused = format!("{out}{}", screen.undo());
    understand(&paused, true).assert_clean();
    understand(&format!("{paused}{}", screen.redo()), true);
    screen.finish(&mut out);
    understand(&out, true).assert_clean();
    assert!(out.len() <= bytes.len() * 3 + 256);

    let mut again = String::new();
    Screen::default().feed(out.as_bytes(), &mut again);
    assert_eq!(again, out, "what passed passes");

    let (mut screen, mut parts) = (Screen::default(), String::new());
    for part in bytes.chunks(step) {
        screen.feed(part, &mut parts);
    }
    screen.finish(&mut parts);
    assert_eq!(parts, out, "how the bytes are cut says nothing");
}
