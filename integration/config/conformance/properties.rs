//! The properties of a type, found through its `Deserialize`.
//!
//! A deserializer without data: it leads the type along a path and records the names that the type at its end
//! accepts. Every other request is an error, which ends only that lookup.
//! end would take. Every other answer is an error, which ends that one question and nothing else.

use std::cell::RefCell;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    Visitor, value::Error,
};
use serde::forward_to_deserialize_any;

/// The path element for an item of a list or a map.
const ITEM: &str = "*";

/// Every property of `T` and of its member types, as JSON pointers with `*` for items of lists and maps.
pub fn of<T: DeserializeOwned>() -> Vec<String> {
    let (mut found, mut ask) = (Vec::new(), vec![Vec::new()]);
    while let Some(path) = ask.pop() {
        let names = RefCell::new(Vec::new());
        // The result is in `names`; there is no value.
        drop(T::deserialize(Question { path: &path, names: &names }));
        for name in names.into_inner() {
            let path = [path.as_slice(), &[name]].concat();
            if name != ITEM {
                found.push(path.iter().map(|part| format!("/{part}")).collect());
            }
            ask.push(path);
        }
    }
    found.sort();
    found
}

#[derive(Clone, Copy)]
struct Question<'a> {
    path: &'a [&'static str],
    names: &'a RefCell<Vec<&'static str>>,
}

impl<'a> Question<'a> {
    /// Advances one element; at the end of the path, `names` is the result.
    fn step(self, names: &[&'static str]) -> Result<(&'static str, Question<'a>), Error> {
        match self.path.split_first() {
            Some((first, rest)) => Ok((first, Question { path: rest, ..self })),
            None => {
                self.names.borrow_mut().extend(names);
                Err(Error::custom("the end of the path"))
            }
        }
    }
}

impl<'de> Deserializer<'de> for Question<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("a value"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let (_, next) = self.step(&[ITEM])?;
        visitor.visit_seq(One { key: None, value: Some(next) })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let (key, next) = self.step(&[ITEM])?;
        visitor.visit_map(One { key: Some(key), value: Some(next) })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (key, next) = self.step(fields)?;
        visitor.visit_map(One { key: Some(key), value: Some(next) })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct tuple tuple_struct enum identifier ignored_any
    }
}

/// A list or map with one item.
struct One<'a> {
    key: Option<&'static str>,
    value: Option<Question<'a>>,
}

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        self.value.take().map(|value| seed.deserialize(value)).transpose()
    }
}

impl<'de> MapAccess<'de> for One<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let key: Option<StrDeserializer<'_, Error>> =
            self.key.take().map(IntoDeserializer::into_deserializer);
        key.map(|key| seed.deserialize(key)).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        match self.value.take() {
            Some(value) => seed.deserialize(value),
            None => Err(Error::custom("one item only")),
        }
    }
}
