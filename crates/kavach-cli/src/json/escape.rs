//! JSON that a terminal can be shown.

/// serde_json escapes what is below U+0020 and leaves the rest as it is, also C1 controls and
/// bidirectional overrides. They occur inside strings alone, where an escape means the same, and
/// a terminal does not act on an escape.
pub(crate) fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\x7f'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_escaped_and_means_the_same() {
        let value = "a\u{9b}\x1b\x7f\u{202e}b";
        let text = escaped(&serde_json::to_string(value).unwrap());
        assert_eq!(text, r#""a\u009b\u001b\u007f\u202eb""#);
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
    }
}
