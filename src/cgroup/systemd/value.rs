//! D-Bus values: how they look on the wire, and the GVariant text that annotations write them in.

use crate::sys::Errno;

/// One value of the D-Bus type system, as far as systemd's properties use it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BusValue {
    Byte(u8),
    Bool(bool),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    /// A double, as its bits.
    Double(u64),
    Text(String),
    ObjectPath(String),
    Signature(String),
    /// Signature of the elements, elements.
    Array(String, Vec<BusValue>),
    Struct(Vec<BusValue>),
    Variant(Box<BusValue>),
}

impl BusValue {
    /// An array of strings.
    pub fn texts<S: Into<String>>(items: impl IntoIterator<Item = S>) -> BusValue {
        BusValue::Array("s".into(), items.into_iter().map(|s| BusValue::Text(s.into())).collect())
    }

    /// The text of a string or an object path.
    pub fn text(&self) -> Option<&str> {
        match self {
            BusValue::Text(s) | BusValue::ObjectPath(s) => Some(s),
            BusValue::Variant(v) => v.text(),
            _ => None,
        }
    }

    /// The type, in D-Bus's letters.
    pub fn signature(&self) -> String {
        match self {
            BusValue::Byte(_) => "y".into(),
            BusValue::Bool(_) => "b".into(),
            BusValue::I16(_) => "n".into(),
            BusValue::U16(_) => "q".into(),
            BusValue::I32(_) => "i".into(),
            BusValue::U32(_) => "u".into(),
            BusValue::I64(_) => "x".into(),
            BusValue::U64(_) => "t".into(),
            BusValue::Double(_) => "d".into(),
            BusValue::Text(_) => "s".into(),
            BusValue::ObjectPath(_) => "o".into(),
            BusValue::Signature(_) => "g".into(),
            BusValue::Array(of, _) => format!("a{of}"),
            BusValue::Struct(fields) => {
                format!("({})", fields.iter().map(BusValue::signature).collect::<String>())
            }
            BusValue::Variant(_) => "v".into(),
        }
    }

    /// A number of seconds as microseconds, for properties whose D-Bus name ends in `USec`.
    pub fn seconds_as_micros(&self) -> Option<BusValue> {
        const M: u64 = 1_000_000;
        let seconds = match *self {
            BusValue::Byte(n) => n.into(),
            BusValue::U16(n) => n.into(),
            BusValue::U32(n) => n.into(),
            BusValue::U64(n) => n,
            BusValue::I16(n) => u64::try_from(n).ok()?,
            BusValue::I32(n) => u64::try_from(n).ok()?,
            BusValue::I64(n) => u64::try_from(n).ok()?,
            BusValue::Double(bits) => {
                let seconds = f64::from_bits(bits);
                return (seconds >= 0.0).then_some(BusValue::U64((seconds * M as f64) as u64));
            }
            _ => return None,
        };
        seconds.checked_mul(M).map(BusValue::U64)
    }
}

impl std::fmt::Display for BusValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |f: &mut std::fmt::Formatter<'_>, items: &[BusValue]| {
            items.iter().enumerate().try_for_each(|(i, v)| {
                if i > 0 {
                    f.write_str(" ")?;
                }
                v.fmt(f)
            })
        };
        match self {
            BusValue::Byte(n) => n.fmt(f),
            BusValue::Bool(b) => f.write_str(if *b { "yes" } else { "no" }),
            BusValue::I16(n) => n.fmt(f),
            BusValue::U16(n) => n.fmt(f),
            BusValue::I32(n) => n.fmt(f),
            BusValue::U32(n) => n.fmt(f),
            BusValue::I64(n) => n.fmt(f),
            BusValue::U64(u64::MAX) => f.write_str("infinity"),
            BusValue::U64(n) => n.fmt(f),
            BusValue::Double(bits) => f64::from_bits(*bits).fmt(f),
            BusValue::Text(s) | BusValue::ObjectPath(s) | BusValue::Signature(s) => f.write_str(s),
            BusValue::Array(_, items) | BusValue::Struct(items) => list(f, items),
            BusValue::Variant(v) => v.fmt(f),
        }
    }
}

/// Where values of a type begin on the wire: a multiple of this (D-Bus specification, "Marshaling").
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'y' | b'g' | b'v') => 1,
        Some(b'n' | b'q') => 2,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 4,
    }
}

/// Appends values, little-endian; positions count from the beginning of the buffer.
#[derive(Debug, Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    /// Zeros up to the next multiple of `n`.
    pub fn align(&mut self, n: usize) {
        self.0.resize(self.0.len().next_multiple_of(n), 0);
    }

    fn text(&mut self, s: &str) {
        self.put(&BusValue::U32(s.len() as u32));
        self.0.extend_from_slice(s.as_bytes());
        self.0.push(0);
    }

    /// Appends one value.
    pub fn put(&mut self, value: &BusValue) {
        let bytes = |w: &mut Self, b: &[u8]| {
            w.align(b.len());
            w.0.extend_from_slice(b);
        };
        match value {
            BusValue::Byte(n) => self.0.push(*n),
            BusValue::Bool(b) => bytes(self, &u32::from(*b).to_le_bytes()),
            BusValue::I16(n) => bytes(self, &n.to_le_bytes()),
            BusValue::U16(n) => bytes(self, &n.to_le_bytes()),
            BusValue::I32(n) => bytes(self, &n.to_le_bytes()),
            BusValue::U32(n) => bytes(self, &n.to_le_bytes()),
            BusValue::I64(n) => bytes(self, &n.to_le_bytes()),
            BusValue::U64(n) | BusValue::Double(n) => bytes(self, &n.to_le_bytes()),
            BusValue::Text(s) | BusValue::ObjectPath(s) => self.text(s),
            BusValue::Signature(s) => {
                self.0.push(s.len() as u8);
                self.0.extend_from_slice(s.as_bytes());
                self.0.push(0);
            }
            BusValue::Array(of, items) => {
                self.put(&BusValue::U32(0));
                let length = self.0.len() - 4;
                // The padding before the first element is not part of the length.
                self.align(alignment(of));
                let start = self.0.len();
                items.iter().for_each(|v| self.put(v));
                let n = (self.0.len() - start) as u32;
                self.0[length..length + 4].copy_from_slice(&n.to_le_bytes());
            }
            BusValue::Struct(fields) => {
                self.align(8);
                fields.iter().for_each(|v| self.put(v));
            }
            BusValue::Variant(v) => {
                self.put(&BusValue::Signature(v.signature()));
                self.put(v);
            }
        }
    }
}

/// Takes values from a little-endian message; anything odd is `EPROTO`.
#[derive(Debug)]
pub struct BusReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BusReader<'a> {
    /// At the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        BusReader { bytes, at: 0 }
    }

    /// Skips to the next multiple of `n`.
    pub fn align(&mut self, n: usize) {
        self.at = self.at.next_multiple_of(n);
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Errno> {
        let end = self.at.checked_add(n).ok_or(Errno::EPROTO)?;
        let part = self.bytes.get(self.at..end).ok_or(Errno::EPROTO)?;
        self.at = end;
        Ok(part)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Errno> {
        self.align(N);
        self.take(N)?.try_into().map_err(|_| Errno::EPROTO)
    }

    fn text(&mut self, length: usize) -> Result<String, Errno> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| Errno::EPROTO)?.to_string();
        self.take(1)?;
        Ok(text)
    }

    /// The next value, whose type is the first complete one of `signature`; the rest of the signature.
    pub fn get<'s>(&mut self, signature: &'s str, depth: u8) -> Result<(BusValue, &'s str), Errno> {
        let (kind, rest) = signature.split_at_checked(1).ok_or(Errno::EPROTO)?;
        if depth > 32 {
            return Err(Errno::EPROTO);
        }
        let value = match kind {
            "y" => BusValue::Byte(self.take(1)?[0]),
            "b" => BusValue::Bool(u32::from_le_bytes(self.number()?) != 0),
            "n" => BusValue::I16(i16::from_le_bytes(self.number()?)),
            "q" => BusValue::U16(u16::from_le_bytes(self.number()?)),
            "i" => BusValue::I32(i32::from_le_bytes(self.number()?)),
            "u" | "h" => BusValue::U32(u32::from_le_bytes(self.number()?)),
            "x" => BusValue::I64(i64::from_le_bytes(self.number()?)),
            "t" => BusValue::U64(u64::from_le_bytes(self.number()?)),
            "d" => BusValue::Double(u64::from_le_bytes(self.number()?)),
            "s" | "o" => {
                let length = u32::from_le_bytes(self.number()?) as usize;
                let text = self.text(length)?;
                if kind == "s" { BusValue::Text(text) } else { BusValue::ObjectPath(text) }
            }
            "g" => {
                let length = self.take(1)?[0].into();
                BusValue::Signature(self.text(length)?)
            }
            "v" => {
                let (signature, _) = self.get("g", depth)?;
                let BusValue::Signature(of) = signature else { return Err(Errno::EPROTO) };
                BusValue::Variant(Box::new(self.get(&of, depth + 1)?.0))
            }
            "a" => return self.array(rest, depth),
            "(" | "{" => return self.fields(rest, depth),
            _ => return Err(Errno::EPROTO),
        };
        Ok((value, rest))
    }

    fn array<'s>(&mut self, of: &'s str, depth: u8) -> Result<(BusValue, &'s str), Errno> {
        let length = u32::from_le_bytes(self.number()?) as usize;
        self.align(alignment(of));
        let end = self.at.checked_add(length).filter(|e| *e <= self.bytes.len()).ok_or(Errno::EPROTO)?;
        let rest = &of[complete(of)?..];
        let mut items = Vec::new();
        while self.at < end {
            items.push(self.get(of, depth + 1)?.0);
        }
        Ok((BusValue::Array(of[..of.len() - rest.len()].into(), items), rest))
    }

    fn fields<'s>(&mut self, mut of: &'s str, depth: u8) -> Result<(BusValue, &'s str), Errno> {
        self.align(8);
        let mut fields = Vec::new();
        while !of.starts_with([')', '}']) {
            let (value, rest) = self.get(of, depth + 1)?;
            fields.push(value);
            of = rest;
        }
        Ok((BusValue::Struct(fields), &of[1..]))
    }
}

/// Length of the first complete type of a signature.
fn complete(signature: &str) -> Result<usize, Errno> {
    let mut open = 0;
    for (i, c) in signature.bytes().enumerate() {
        match c {
            b'(' | b'{' => open += 1,
            b')' | b'}' => open -= 1,
            b'a' => continue,
            _ => {}
        }
        if open <= 0 {
            return Ok(i + 1);
        }
    }
    Err(Errno::EPROTO)
}

/// GVariant text: `true`, `-5`, `uint64 7`, `@t 7`, `1.5`, `'text'`, `"text"`, `['a', 'b']`, `[byte 1, 2]`.
pub fn parse(text: &str) -> Result<BusValue, String> {
    let mut parser = Parser { rest: text.trim_start() };
    let value = parser.value(None)?;
    if parser.rest.is_empty() { Ok(value) } else { Err(format!("unexpected {:?} at the end", parser.rest)) }
}

/// Type keywords of GVariant's text format.
const KEYWORDS: [(&str, char); 9] = [
    ("boolean", 'b'),
    ("byte", 'y'),
    ("int16", 'n'),
    ("uint16", 'q'),
    ("int32", 'i'),
    ("uint32", 'u'),
    ("int64", 'x'),
    ("uint64", 't'),
    ("double", 'd'),
];

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn eat(&mut self, c: char) -> bool {
        let found = self.rest.strip_prefix(c).map(str::trim_start);
        if let Some(rest) = found {
            self.rest = rest;
        }
        found.is_some()
    }

    /// A value; `kind` is the type that a prefix has given it.
    fn value(&mut self, kind: Option<char>) -> Result<BusValue, String> {
        if self.rest.starts_with(['\'', '"']) {
            let text = self.quoted()?;
            return if kind.is_none_or(|k| k == 's') {
                Ok(BusValue::Text(text))
            } else {
                Err(format!("{text:?} is not a number"))
            };
        }
        if self.eat('[') {
            return self.array(kind);
        }
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && !"+-.@".contains(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        if let Some((_, letter)) = KEYWORDS.iter().find(|(name, _)| *name == word) {
            return self.value(Some(*letter));
        }
        if word == "string" {
            return self.value(Some('s'));
        }
        if let Some(signature) = word.strip_prefix('@') {
            // `@as` is about the array, whose elements are `s`.
            return match signature.trim_start_matches('a').chars().next() {
                Some(letter) if "bynqiuxtds".contains(letter) => self.value(Some(letter)),
                _ => Err(format!("unknown type {word:?}")),
            };
        }
        scalar(word, kind)
    }

    fn array(&mut self, kind: Option<char>) -> Result<BusValue, String> {
        let mut items = Vec::new();
        let mut kind = kind;
        while !self.eat(']') {
            if !items.is_empty() && !self.eat(',') {
                return Err("a comma or ] is missing in the array".into());
            }
            let item = self.value(kind)?;
            // The first element's type holds for all.
            kind = item.signature().chars().next();
            items.push(item);
        }
        let of = match (items.first(), kind) {
            (Some(first), _) => first.signature(),
            (None, Some(letter)) => letter.to_string(),
            (None, None) => return Err("the type of an empty array is unknown: write @as []".into()),
        };
        if items.iter().any(|v| v.signature() != of) {
            return Err("the elements of an array must be of one type".into());
        }
        Ok(BusValue::Array(of, items))
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut chars = self.rest.char_indices();
        let quote = chars.next().map_or('"', |(_, c)| c);
        let mut text = String::new();
        while let Some((i, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = self.rest[i + c.len_utf8()..].trim_start();
                    return Ok(text);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, c)) if !c.is_ascii_alphanumeric() => text.push(c),
                    _ => return Err("unknown escape in the string".into()),
                },
                c => text.push(c),
            }
        }
        Err("the string has no end".into())
    }
}

fn scalar(word: &str, kind: Option<char>) -> Result<BusValue, String> {
    let bad = |_| format!("{word:?} is not a value of this type");
    let float = |w: &str| w.parse::<f64>().map(|n| BusValue::Double(n.to_bits())).map_err(|_| bad(()));
    match (word, kind) {
        ("true", None | Some('b')) => Ok(BusValue::Bool(true)),
        ("false", None | Some('b')) => Ok(BusValue::Bool(false)),
        (w, None) if w.contains('.') && w.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
            float(w)
        }
        (w, None | Some('i')) => w.parse().map(BusValue::I32).map_err(|_| bad(())),
        (w, Some('y')) => w.parse().map(BusValue::Byte).map_err(|_| bad(())),
        (w, Some('n')) => w.parse().map(BusValue::I16).map_err(|_| bad(())),
        (w, Some('q')) => w.parse().map(BusValue::U16).map_err(|_| bad(())),
        (w, Some('u')) => w.parse().map(BusValue::U32).map_err(|_| bad(())),
        (w, Some('x')) => w.parse().map(BusValue::I64).map_err(|_| bad(())),
        (w, Some('t')) => w.parse().map(BusValue::U64).map_err(|_| bad(())),
        (w, Some('d')) => float(w),
        _ => Err(bad(())),
    }
}

#[cfg(test)]
mod tests;
