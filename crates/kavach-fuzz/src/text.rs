//! What may stand in text that a terminal is shown.

/// Characters that a terminal acts on or that reorder what is read, lines and tabs apart.
pub(crate) fn is_dangerous(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Fails where text of kavach's own carries what a name in it smuggled in.
#[track_caller]
pub(crate) fn assert_plain(text: &str) {
    let bad = text.chars().find(|c| is_dangerous(*c));
    assert!(bad.is_none(), "{bad:?} in {text:?}");
}
