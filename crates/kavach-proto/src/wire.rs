//! Bounded little-endian reading and writing.

/// The payload does not say what its kind promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Where in the payload reading stopped, in bytes.
    pub offset: usize,
    /// What was expected there.
    pub expected: &'static str,
}

/// Reads a payload front to back; never past its end, never panics.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    buf: &'a [u8],
    pos: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the front of `buf`.
    pub const fn new(buf: &'a [u8]) -> Self {
        Self { buf, pos: 0 }
    }

    const fn malformed(&self, expected: &'static str) -> Malformed {
        Malformed {
            offset: self.pos,
            expected,
        }
    }

    fn take(&mut self, len: usize, expected: &'static str) -> Result<&'a [u8], Malformed> {
        let end = self.pos.checked_add(len).ok_or(self.malformed(expected))?;
        let part = self
            .buf
            .get(self.pos..end)
            .ok_or(self.malformed(expected))?;
        self.pos = end;
        Ok(part)
    }

    fn array<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], Malformed> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, expected)?);
        Ok(out)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>("u8")?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array("u16")?))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array("u32")?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array("u64")?))
    }

    /// A `u32` count that must be at most `max`.
    pub fn count(&mut self, max: usize) -> Result<usize, Malformed> {
        let n = self.u32()? as usize;
        if n > max {
            Err(self.malformed("a smaller count"))
        } else {
            Ok(n)
        }
    }

    /// A `u32` length and that many bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u32()? as usize;
        self.take(len, "bytes")
    }

    /// A string as the kernel wants it: ends in its only NUL, which is part of the slice.
    pub fn cstr(&mut self) -> Result<&'a core::ffi::CStr, Malformed> {
        let at = self.malformed("a string with one NUL, at its end");
        core::ffi::CStr::from_bytes_with_nul(self.bytes()?).map_err(|_| at)
    }

    /// Succeeds only when everything was read.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.pos == self.buf.len() {
            Ok(())
        } else {
            Err(self.malformed("the end"))
        }
    }
}

/// Something bytes can be appended to.
pub trait Sink {
    /// Appends all of `bytes`, or nothing and remembers that it overflowed.
    fn put(&mut self, bytes: &[u8]);

    /// One byte.
    fn u8(&mut self, v: u8) {
        self.put(&[v]);
    }
    /// Two bytes, little-endian.
    fn u16(&mut self, v: u16) {
        self.put(&v.to_le_bytes());
    }
    /// Four bytes, little-endian.
    fn u32(&mut self, v: u32) {
        self.put(&v.to_le_bytes());
    }
    /// Eight bytes, little-endian.
    fn u64(&mut self, v: u64) {
        self.put(&v.to_le_bytes());
    }
    /// A length and bytes. Lengths over `u32::MAX` cannot occur: frames are bounded far below.
    fn bytes(&mut self, v: &[u8]) {
        self.u32(v.len() as u32);
        self.put(v);
    }
    /// A string and its closing NUL. The caller has refused strings that hold a NUL; one that
    /// slips through is refused by the reader.
    fn cstr(&mut self, v: &[u8]) {
        self.u32(v.len() as u32 + 1);
        self.put(v);
        self.put(&[0]);
    }
}

/// A sink without an allocator, for the agent's small frames.
#[derive(Debug)]
pub struct Fixed<const N: usize> {
    buf: [u8; N],
    len: usize,
}

impl<const N: usize> Fixed<N> {
    /// Empty.
    pub const fn new() -> Self {
        Self {
            buf: [0; N],
            len: 0,
        }
    }

    /// What was put so far.
    pub fn as_bytes(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or(&[])
    }
}

impl<const N: usize> Default for Fixed<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Sink for Fixed<N> {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        if let Some(room) = self.buf.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
            self.len = end;
        }
    }
}

#[cfg(feature = "alloc")]
impl Sink for alloc::vec::Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
