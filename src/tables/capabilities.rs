//! The capabilities of capabilities(7) and a set of them.

use std::fmt;

/// A set of capabilities: bit N is capability N, as in `/proc/PID/status` and capset(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapSet(pub u64);

impl CapSet {
    /// No capability.
    pub const EMPTY: CapSet = CapSet(0);

    /// The set with `bit` added.
    pub fn with(self, bit: u8) -> Self {
        CapSet(self.0 | 1 << bit)
    }

    /// Whether `bit` is in the set.
    pub fn has(self, bit: u8) -> bool {
        self.0 & 1 << bit != 0
    }

    /// Whether nothing is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}
