//! The size of a terminal.

/// Rows and columns of a terminal, in characters. 0 is what the kernel says where nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PtySize {
    /// Lines of text.
    pub rows: u16,
    /// Characters in a line.
    pub cols: u16,
}

impl PtySize {
    /// A terminal of this size.
    #[must_use]
    pub const fn new(rows: u16, cols: u16) -> Self {
        Self { rows, cols }
    }
}

/// 24 rows of 80 columns: what programs fall back to.
impl Default for PtySize {
    fn default() -> Self {
        Self::new(24, 80)
    }
}

impl From<PtySize> for rustix::termios::Winsize {
    fn from(size: PtySize) -> Self {
        Self {
            ws_row: size.rows,
            ws_col: size.cols,
            ws_xpixel: 0,
            ws_ypixel: 0,
        }
    }
}
