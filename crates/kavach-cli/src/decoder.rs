//! Text from bytes that come in chunks.

/// Decodes UTF-8, wherever the chunks are cut; what is not UTF-8 becomes U+FFFD.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The beginning of a character whose rest has not come: at most three bytes.
    partial: Vec<u8>,
}

impl Decoder {
    /// Hands on the characters of `input`.
    pub(crate) fn feed(&mut self, input: &[u8], mut each: impl FnMut(&str)) {
        let joined;
        let mut rest = if self.partial.is_empty() {
            input
        } else {
            joined = [self.partial.as_slice(), input].concat();
            self.partial.clear();
            joined.as_slice()
        };
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    each(text);
                    return;
                }
                Err(error) => {
                    let (valid, bad) = rest.split_at(error.valid_up_to());
                    each(&String::from_utf8_lossy(valid));
                    let Some(length) = error.error_len() else {
                        self.partial.extend_from_slice(bad);
                        return;
                    };
                    each("\u{fffd}");
                    rest = bad.get(length..).unwrap_or_default();
                }
            }
        }
    }

    /// Whether the stream ends within a character.
    pub(crate) fn finish(&mut self) -> bool {
        let cut = !self.partial.is_empty();
        self.partial.clear();
        cut
    }
}
