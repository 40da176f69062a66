//! The subset of protocol buffers that criu's requests need: numbers, strings, nested messages.
//!
//! A message is a sequence of fields. Each starts with a varint key, `number << 3 | type`; type 0 is a
//! Types 1 and 5 (fixed 64 and 32 bits) are skipped when reading. This needs no code generator.

/// A message being written.
#[derive(Debug, Clone, Default)]
pub struct WireMessage(Vec<u8>);

impl WireMessage {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// The encoded bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Appends a number. A negative one takes ten bytes, as for `int32`.
    pub fn int(&mut self, field: u32, value: i64) -> &mut Self {
        self.varint(u64::from(field) << 3);
        // The format requires two's complement in 64 bits.
        self.varint(value as u64);
        self
    }

    /// Appends a boolean. `false` is the default and is left out.
    pub fn switch(&mut self, field: u32, on: bool) -> &mut Self {
        if on {
            self.int(field, 1);
        }
        self
    }

    /// Appends a text.
    pub fn text(&mut self, field: u32, value: &str) -> &mut Self {
        self.block(field, value.as_bytes())
    }

    /// Appends a nested message.
    pub fn nested(&mut self, field: u32, value: &WireMessage) -> &mut Self {
        self.block(field, &value.0)
    }

    fn block(&mut self, field: u32, bytes: &[u8]) -> &mut Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// The value of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireValue<'a> {
    /// A number or a boolean.
    Int(u64),
    /// A text or a nested message.
    Block(&'a [u8]),
}

impl<'a> WireValue<'a> {
    /// The number; 0 for a block.
    pub fn int(self) -> u64 {
        match self {
            WireValue::Int(n) => n,
            WireValue::Block(_) => 0,
        }
    }

    /// The number as `int32`.
    pub fn signed(self) -> i32 {
        self.int() as u32 as i32
    }

    /// The bytes; empty for a number.
    pub fn block(self) -> &'a [u8] {
        match self {
            WireValue::Block(bytes) => bytes,
            WireValue::Int(_) => &[],
        }
    }

    /// The text of a block; invalid UTF-8 is replaced.
    pub fn text(self) -> String {
        String::from_utf8_lossy(self.block()).into_owned()
    }
}

/// Parses the fields of a message: (number, value). `None` if it is truncated or malformed.
pub fn fields(mut bytes: &[u8]) -> Option<Vec<(u32, WireValue<'_>)>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let field = u32::try_from(key >> 3).ok()?;
        match key & 7 {
            0 => out.push((field, WireValue::Int(varint(&mut bytes)?))),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                out.push((field, WireValue::Block(take(&mut bytes, length)?)));
            }
            1 => drop(take(&mut bytes, 8)?),
            5 => drop(take(&mut bytes, 4)?),
            _ => return None,
        }
    }
    Some(out)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_format() {
        // The examples of protobuf.dev's "Encoding", and an int32 of -1.
        let mut m = WireMessage::new();
        m.int(1, 150).text(2, "testing").switch(3, false);
        assert_eq!(m.bytes(), b"\x08\x96\x01\x12\x07testing");
        let mut negative = WireMessage::new();
        negative.int(1, -1);
        assert_eq!(negative.bytes(), b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
        assert_eq!(fields(negative.bytes()).unwrap()[0].1.signed(), -1);
    }

    #[test]
    fn what_was_written_is_read_and_what_is_cut_short_is_refused() {
        let mut inner = WireMessage::new();
        inner.text(1, "post-restore").int(2, 4711);
        let mut m = WireMessage::new();
        m.int(51, 6).nested(5, &inner);
        let read = fields(m.bytes()).unwrap();
        assert_eq!(read[0], (51, WireValue::Int(6)));
        let inside = fields(read[1].1.block()).unwrap();
        assert_eq!((inside[0].1.text().as_str(), inside[1].1.signed()), ("post-restore", 4711));
        // A message that is cut between fields is a shorter valid message; cut anywhere else it is malformed.
        let first = 3;
        for end in (1..m.bytes().len()).filter(|n| *n != first) {
            assert_eq!(fields(&m.bytes()[..end]), None, "{end}");
        }
        assert_eq!(fields(&[0x0b]), None, "a group, which criu does not use");
    }
}
