//! The names that were asked for, and the addresses inside that stand for them.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use crate::config::network::{MOST_NAMES, inside, number};

/// Names by number and numbers by name. A name keeps its number for as long as the container lives.
#[derive(Debug, Default)]
pub struct NameTable {
    names: Vec<Rc<str>>,
    numbers: HashMap<Rc<str>, u32>,
}

impl NameTable {
    /// The addresses of a name; `None` where there are too many.
    pub fn addresses(&mut self, name: &str) -> Option<(Ipv4Addr, Ipv6Addr)> {
        if let Some(number) = self.numbers.get(name) {
            return Some(inside(*number));
        }
        let number = u32::try_from(self.names.len()).ok()? + 1;
        if number > MOST_NAMES {
            return None;
        }
        let name: Rc<str> = name.into();
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        Some(inside(number))
    }

    /// The name that an address stands for.
    pub fn name(&self, address: IpAddr) -> Option<Rc<str>> {
        let number = number(address)? as usize;
        self.names.get(number - 1).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_addresses_and_there_are_so_many() {
        let mut names = NameTable::default();
        let (v4, v6) = names.addresses("a.test").unwrap();
        assert_eq!(names.addresses("a.test"), Some((v4, v6)));
        assert_eq!(names.name(v4.into()).as_deref(), Some("a.test"));
        assert_eq!(names.name(v6.into()).as_deref(), Some("a.test"));
        assert_eq!(names.name("198.18.0.2".parse().unwrap()), None);
        for i in 1..MOST_NAMES {
            assert!(names.addresses(&format!("{i}.test")).is_some());
        }
        assert_eq!(names.addresses("one.more"), None);
        assert!(names.addresses("7.test").is_some());
    }
}
