//! A place in the document, written out as an RFC 6901 pointer only when an error needs it.

use super::ConfigError;

/// One step from the root of the document; a chain of them lives on the stack, so that reading a good
/// config allocates nothing for errors that do not happen.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    key: Key<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Key<'a> {
    Name(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    /// The whole document.
    pub const ROOT: At<'static> = At { parent: None, key: Key::Index(0) };

    /// The member `name` of this object.
    pub fn key(&'a self, name: &'a str) -> At<'a> {
        At { parent: Some(self), key: Key::Name(name) }
    }

    /// The element `index` of this array.
    pub fn index(&'a self, index: usize) -> At<'a> {
        At { parent: Some(self), key: Key::Index(index) }
    }

    /// An error here.
    pub fn error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::new(self.pointer(), message)
    }

    /// The pointer.
    fn pointer(&self) -> String {
        let Some(parent) = self.parent else { return String::new() };
        let mut pointer = parent.pointer();
        match self.key {
            Key::Name(name) => push_name(&mut pointer, name),
            Key::Index(index) => pointer.push_str(&format!("/{index}")),
        }
        pointer
    }
}

/// Appends `/name`, escaped as RFC 6901 asks: `~` becomes `~0` and `/` becomes `~1`.
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
