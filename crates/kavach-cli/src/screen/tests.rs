use proptest::prelude::*;

use super::*;

fn passed(input: &str) -> String {
    let mut out = String::new();
    Screen::default().feed(input.as_bytes(), &mut out);
    out
}

/// What is written at the end of a stream.
fn undone(input: &str) -> String {
    let (mut out, mut end) = (String::new(), String::new());
    let mut screen = Screen::default();
    screen.feed(input.as_bytes(), &mut out);
    screen.finish(&mut end);
    end
}

#[test]
fn what_editors_and_pagers_draw_with_passes() {
    for text in [
        "plain\ttext naïve 日本\r\n\x08\x07",
        "\x1b[H\x1b[2J\x1b[J\x1b[1K",
        "\x1b[12;40H\x1b[5A\x1b[B\x1b[3C\x1b[D\x1b[10G\x1b[4d",
        "\x1b[2;23r\x1b[L\x1b[2M\x1b[3P\x1b[@\x1b[4X\x1b[S\x1b[2T\x1bM\x1bD",
        "\x1b7\x1b8\x1b[s\x1b[u\x1b=\x1b>",
        "\x1b[?1049h\x1b[?25l\x1b[?1h\x1b[?2004h\x1b[?12;25h",
        "\x1b[1;38;5;200;48:2::1:2:3m\x1b[m",
        "\x1b(0lqk\x1b(B\x0elqk\x0f",
        "\x1b[2 q\x1b[!p\x1b[6n\x1b[c\x1b[>c\x1b[0c",
        "\x1b[?1000;1006h\x1b[4h\x1b[4l\x1b[3g\x1bH\x1b%G",
    ] {
        assert_eq!(passed(text), text, "{text:?}");
    }
}

#[test]
fn what_reaches_past_the_screen_does_not() {
    for (name, input) in [
        ("clipboard", "\x1b]52;c;aGk=\x07"),
        ("clipboard, ended otherwise", "\x1b]52;c;aGk=\x1b\\"),
        ("title", "\x1b]0;t\x07"),
        ("title of screen", "\x1bkt\x1b\\"),
        ("asking for a colour", "\x1b]11;?\x07"),
        ("asking for the title", "\x1b[21t"),
        ("moving the window", "\x1b[3;0;0t"),
        ("saving the title", "\x1b[22;2t"),
        ("answerback", "\x05"),
        ("identify", "\x1bZ"),
        ("asking for a setting", "\x1bP$qm\x1b\\"),
        ("asking for termcap", "\x1bP+q544e\x1b\\"),
        ("programmable keys", "\x1bP1;1|17/41\x1b\\"),
        ("application command", "\x1b_Gf=24;AAAA\x1b\\"),
        ("private message", "\x1b^x\x1b\\"),
        ("start of string", "\x1bXx\x1b\\"),
        ("asking for a mode", "\x1b[?2026$p"),
        ("keyboard protocol", "\x1b[>1u\x1b[=1u\x1b[<u\x1b[?u"),
        ("keys with modifiers", "\x1b[>4;2m\x1b[?4m"),
        ("locking the keyboard", "\x1b[2h"),
        ("132 columns", "\x1b[?3h"),
        ("one of them unknown", "\x1b[?25;3l"),
        ("erasing the scrollback", "\x1b[3J"),
        ("full reset", "\x1bc"),
        ("printing", "\x1b[5i\x1b[?5i\x1b[i"),
        ("the mouse by scrolling", "\x1b[1;2;3;4;5T"),
        ("saving modes", "\x1b[?1049s\x1b[?1049r"),
        ("report of parameters", "\x1b[x\x1b[1x"),
        ("another question", "\x1b[15n\x1b[?6n\x1b[?15n"),
        ("lights", "\x1b[1q\x1b[\"q"),
        ("shifts", "\x1bN\x1bO\x1bn\x1bo"),
        ("other encodings", "\x1b%@\x1b(U\x1b*B"),
        ("control set 1", "\u{9b}\u{9d}\u{90}\u{85}"),
        ("reordering", "\u{202e}\u{2066}"),
        ("a private sign too late", "\x1b[1?25l"),
        ("a number too large", "\x1b[99999999A"),
        ("a sign", "\x1b[+1A\x1b[-1A"),
        ("not begun with a sign", "\x1b[?1A"),
        ("nothing", "\x00\x7f\x18\x1a"),
    ] {
        assert_eq!(passed(input), "", "{name}");
    }
}

#[test]
fn text_around_what_is_left_out_stays() {
    assert_eq!(passed("a\x1b]0;title\x07b\x1b[21tc"), "abc");
    assert_eq!(passed("a\x1b[31\x18mb"), "amb");
    assert_eq!(passed("\x1b[1\x1b[2Ax"), "\x1b[2Ax");
    // A control character within a sequence acts, as it does on a terminal.
    assert_eq!(passed("\x1b[1\n2A"), "\n\x1b[12A");
    // The Linux console's palette does not end as others do.
    assert_eq!(passed("\x1b]P0123456after\x1b]Rmore"), "aftermore");
    assert_eq!(passed(&format!("\x1b[{}mx", "1;".repeat(10_000))), "x");
    assert_eq!(passed("\x1b(((Bx"), "x");
}

#[test]
fn bytes_that_are_not_utf_8_are_marked() {
    let mut out = String::new();
    Screen::default().feed(b"a\x9b31mb\xff", &mut out);
    assert_eq!(out, "a\u{fffd}31mb\u{fffd}");
    let mut screen = Screen::default();
    screen.feed(b"\xe6\x97", &mut out);
    out.clear();
    screen.finish(&mut out);
    assert_eq!(out, "\u{fffd}");
}

#[test]
fn what_a_killed_editor_has_set_is_undone() {
    let vi = "\x1b[?1049h\x1b[?2004h\x1b[?1h\x1b=\x1b[1;23r\x1b[?25l\x1b[31mtext";
    assert_eq!(
        undone(vi),
        "\x1b[?1l\x1b[?25h\x1b[?2004l\x1b>\x1b7\x1b[r\x1b8\x1b[0m\x1b[?1049l"
    );
    let mouse = "\x1b[?1000;1002;1006h\x1b[?1004h\x1b[4h\x1b(0\x0e\x1b[4 q\x1b[?7l";
    assert_eq!(
        undone(mouse),
        "\x1b[?7h\x1b[?1000l\x1b[?1002l\x1b[?1004l\x1b[?1006l\x1b[4l\x1b(B\x0f\x1b[0 q"
    );
}

#[test]
fn what_a_program_has_undone_itself_is_not_undone_again() {
    let less = "\x1b[?1049h\x1b[?1h\x1b=text\x1b[?1l\x1b>\x1b[?1049l";
    assert_eq!(undone(less), "");
    assert_eq!(undone("\x1b[1mbold\x1b[0m\x1b[?25l\x1b[?25h"), "");
    assert_eq!(undone("text\n"), "");
}

#[test]
fn a_pause_undoes_and_sets_again() {
    let mut screen = Screen::default();
    let mut out = String::new();
    screen.feed(b"\x1b[?1049h\x1b[?25l\x1b[?1h\x1b=\x1b[2;9r", &mut out);
    let before = screen.undo();
    assert_eq!(before, "\x1b[?1l\x1b[?25h\x1b>\x1b7\x1b[r\x1b8\x1b[?1049l");
    assert_eq!(
        screen.redo(),
        "\x1b[?1049h\x1b[?25l\x1b[?1h\x1b=\x1b7\x1b[2;9r\x1b8"
    );
    assert_eq!(screen.undo(), before, "neither of them forgets");
}

/// Everything that came out is understood by a filter of its own as the same.
fn harmless(out: &str) -> bool {
    passed(out) == out
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<Vec<u8>>(),
        "\\PC*".prop_map(String::into_bytes),
        "(\x1b|\\[|[0-9;:?>!]|[A-Za-z]|\u{9b}|\u{9c}|\\]|\x07|\x18| |\\$)*"
            .prop_map(String::into_bytes),
        "(\x1b\\[\\??[0-9;]{0,6}[a-zA-Z])*".prop_map(String::into_bytes),
        "(\x1b[()][B0]|\x1b\\[[0-6]? q|\x0e|\x0f|\x1b[=>]|\x1b\\[[24]?[hlr]|\x1b\\[[01]?m)*"
            .prop_map(String::into_bytes),
        "(\x1b\\[\\?(1|7|25|1049|1000|2004)[hl])*".prop_map(String::into_bytes),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_passes_would_pass_again(input in hostile()) {
        let mut out = String::new();
        let mut screen = Screen::default();
        screen.feed(&input, &mut out);
        screen.finish(&mut out);
        prop_assert!(harmless(&out), "{out:?}");
        prop_assert!(out.len() <= input.len() * 3 + 256);
    }

    #[test]
    fn the_end_leaves_nothing_set(input in hostile()) {
        let mut out = String::new();
        let mut screen = Screen::default();
        screen.feed(&input, &mut out);
        screen.finish(&mut out);
        prop_assert_eq!(undone(&out), "");
    }

    #[test]
    fn where_the_chunks_are_cut_changes_nothing(
        input in hostile(),
        cuts in prop::collection::vec(0usize..64, 0..64),
    ) {
        let (mut whole, mut parts) = (String::new(), String::new());
        let mut screen = Screen::default();
        screen.feed(&input, &mut whole);
        screen.finish(&mut whole);
        let mut screen = Screen::default();
        let mut rest = input.as_slice();
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            screen.feed(now, &mut parts);
            rest = later;
        }
        screen.feed(rest, &mut parts);
        screen.finish(&mut parts);
        prop_assert_eq!(parts, whole);
    }
}
