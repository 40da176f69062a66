//! Lists of cpus and memory nodes in the format of cpuset(7): `0-3,7`, also with a stride (`0-15:2/4`).

/// Largest number in a list that is converted to bits or numbers: the maximum of `CONFIG_NR_CPUS`.
pub const MAX: u32 = 8191;

/// One part of a list: the first `used` numbers of every `group` numbers from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    first: u32,
    /// Upper bound of its numbers.
    pub last: u32,
    used: u32,
    group: u32,
}

impl Part {
    /// Parses one part; `None` if it is invalid.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
        let (range, stride) = match text.trim().split_once(':') {
            Some((range, stride)) => (range, stride.split_once('/')?),
            None => (text.trim(), ("1", "1")),
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let part = Part {
            first: number(first)?,
            last: number(last)?,
            used: number(stride.0)?,
            group: number(stride.1)?,
        };
        (part.first <= part.last && part.used <= part.group && part.group > 0).then_some(part)
    }

    /// Its numbers, up to [`MAX`].
    pub fn numbers(self) -> impl Iterator<Item = u32> {
        (self.first..=self.last.min(MAX)).filter(move |n| (n - self.first) % self.group < self.used)
    }
}

/// The numbers of a list; `None` if it is invalid or has a number above [`MAX`].
pub fn numbers(list: &str) -> Option<Vec<u32>> {
    let parts: Option<Vec<Part>> = list.trim().split(',').map(Part::parse).collect();
    let parts = parts.filter(|parts| parts.iter().all(|p| p.last <= MAX))?;
    Some(parts.into_iter().flat_map(Part::numbers).collect())
}

/// The numbers as a bit mask, lowest bits first.
pub fn bytes(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in numbers {
        let at = n as usize / 8;
        bytes.resize(bytes.len().max(at + 1), 0);
        bytes[at] |= 1 << (n % 8);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_strides_are_numbers() {
        assert_eq!(numbers("0-2, 7\n"), Some(vec![0, 1, 2, 7]));
        assert_eq!(numbers("0-7:2/4"), Some(vec![0, 1, 4, 5]));
        for bad in ["", "a", "3-1", "1-", "+1", "0-7:2", "0-7:0/0", "0-7:3/2", "8192", "4294967296"] {
            assert_eq!(numbers(bad), None, "{bad}");
        }
        assert_eq!(bytes([0, 9]), [1, 2]);
    }
}
