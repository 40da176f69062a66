//! A position in the document. It becomes an RFC 6901 pointer only when an error needs it.

use super::ConfigError;

/// One segment of the path from the root of the document. The chain of segments is on the stack, so parsing a
/// valid config allocates nothing for pointers.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    key: PointerKey<'a>,
}

#[derive(Debug, Clone, Copy)]
enum PointerKey<'a> {
    Name(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    /// The root of the document.
    pub const ROOT: At<'static> = At { parent: None, key: PointerKey::Index(0) };

    /// The position of the member `name` of this object.
    pub fn key(&'a self, name: &'a str) -> At<'a> {
        At { parent: Some(self), key: PointerKey::Name(name) }
    }

    /// The position of the element `index` of this array.
    pub fn index(&'a self, index: usize) -> At<'a> {
        At { parent: Some(self), key: PointerKey::Index(index) }
    }

    /// An error at this position.
    pub fn error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::new(self.pointer(), message)
    }

    /// The RFC 6901 pointer.
    fn pointer(&self) -> String {
        let Some(parent) = self.parent else { return String::new() };
        let mut pointer = parent.pointer();
        match self.key {
            PointerKey::Name(name) => push_name(&mut pointer, name),
            PointerKey::Index(index) => pointer.push_str(&format!("/{index}")),
        }
        pointer
    }
}

/// Appends `/name`, escaped as RFC 6901 requires: `~` becomes `~0` and `/` becomes `~1`.
pub(super) fn push_name(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_escaped() {
        let (linux, key) = (At::ROOT.key("linux"), "net/a~b");
        assert_eq!(linux.key("sysctl").key(key).index(3).pointer(), "/linux/sysctl/net~1a~0b/3");
        assert_eq!(At::ROOT.pointer(), "");
    }
}
