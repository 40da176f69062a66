//! Things with a number that is used again, and a generation that tells whether it was.

/// A number and the generation of what it stood for when it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlabKey {
    /// The number.
    pub index: u32,
    /// How often the number was given before.
    pub generation: u32,
}

/// At most so many things.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    most: usize,
}

impl<T> Slab<T> {
    /// An empty one.
    pub fn new(most: usize) -> Self {
        Slab { entries: Vec::new(), free: Vec::new(), most }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// No more can be added.
    pub fn is_full(&self) -> bool {
        self.len() >= self.most
    }

    /// Adds what `make` returns for its key; `None` where there is no room.
    pub fn add(&mut self, value: T) -> Option<SlabKey> {
        if self.is_full() {
            return None;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push((0, None));
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[index as usize];
        entry.1 = Some(value);
        Some(SlabKey { index, generation: entry.0 })
    }

    /// What has this key, if it is still there.
    pub fn get(&mut self, key: SlabKey) -> Option<&mut T> {
        let (generation, value) = self.entries.get_mut(key.index as usize)?;
        value.as_mut().filter(|_| *generation == key.generation)
    }

    /// Removes it; its number has another generation from now on.
    pub fn remove(&mut self, key: SlabKey) -> Option<T> {
        let (generation, value) = self.entries.get_mut(key.index as usize)?;
        if *generation != key.generation {
            return None;
        }
        let value = value.take()?;
        // The generation has 24 bits in a token.
        *generation = (*generation + 1) & 0x00ff_ffff;
        self.free.push(key.index);
        Some(value)
    }

    /// All keys.
    pub fn keys(&self) -> Vec<SlabKey> {
        let used = self.entries.iter().enumerate().filter(|(_, (_, value))| value.is_some());
        used.map(|(index, (generation, _))| SlabKey { index: index as u32, generation: *generation })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_again_and_its_old_key_is_not() {
        let mut slab = Slab::new(2);
        let (a, b) = (slab.add('a').unwrap(), slab.add('b').unwrap());
        assert_eq!((slab.add('c'), slab.len()), (None, 2));
        assert_eq!(slab.remove(a), Some('a'));
        let c = slab.add('c').unwrap();
        assert_eq!((c.index, slab.get(a)), (a.index, None));
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.get(c), Some(&mut 'c'));
        assert_eq!(slab.keys().len(), 2);
        assert_eq!(slab.get(b), Some(&mut 'b'));
    }
}
