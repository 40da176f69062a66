//! Key matching of Go's encoding/json, between the JSON and the raw structs.
//!
//! Most configs are written and read by Go programs. Go's encoding/json matches keys without regard to case
//! (`NoNewPrivileges`, `readOnly`), and for duplicate keys the last value wins. A parser that accepts only
//! the exact spelling would silently drop such keys, and the container would be weaker than the one that runc
//! makes from the same file. So an unknown key of a struct is matched again without regard to case. Keys of
//! maps (annotations, sysctl, unified) are data and stay unchanged.

use std::fmt;

use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde_json::{Map, Value};

/// Members whose text is never passed to the kernel, so it may contain a NUL.
const OPAQUE: [&str; 2] = ["annotations", "listenerMetadata"];

/// Parser mode.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FoldMode {
    /// Collect the members of an object before parsing them, so that duplicate keys are allowed.
    pub gather: bool,
    /// Texts may contain a NUL.
    nul: bool,
}

/// A deserializer (or a seed, or a visitor) with its mode.
pub(super) struct Fold<T> {
    inner: T,
    mode: FoldMode,
}

/// A visitor, and the member names of its struct.
struct FoldVisitor<V> {
    inner: V,
    mode: FoldMode,
    fields: Option<&'static [&'static str]>,
}

impl<D> Fold<D> {
    pub fn new(inner: D, gather: bool) -> Self {
        Self { inner, mode: FoldMode { gather, nul: false } }
    }

    fn visit<V>(&self, inner: V) -> FoldVisitor<V> {
        FoldVisitor { inner, mode: self.mode, fields: None }
    }
}

macro_rules! pass_on {
    ($($method:ident($($arg:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($arg: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = self.visit(visitor);
            self.inner.$method($($arg,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Fold<D> {
    type Error = D::Error;

    pass_on! {
        deserialize_any(); deserialize_bool(); deserialize_char(); deserialize_unit();
        deserialize_i8(); deserialize_i16(); deserialize_i32(); deserialize_i64();
        deserialize_u8(); deserialize_u16(); deserialize_u32(); deserialize_u64();
        deserialize_f32(); deserialize_f64();
        deserialize_str(); deserialize_string(); deserialize_bytes(); deserialize_byte_buf();
        deserialize_option(); deserialize_seq(); deserialize_map();
        deserialize_identifier(); deserialize_ignored_any();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let visitor = FoldVisitor { inner: visitor, mode: self.mode, fields: Some(fields) };
        self.inner.deserialize_struct(name, fields, visitor)
    }
}

/// Scalars are passed on unchanged.
macro_rules! as_they_are {
    ($($method:ident($type:ty);)*) => {$(
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<V> FoldVisitor<V> {
    /// For the kernel a NUL ends a path, argument or option early; for Rust it does not.
    fn checked<E: Error>(self, text: &str) -> Result<V, E> {
        match !self.mode.nul && text.contains('\0') {
            true => Err(E::custom("contains a NUL byte; no kernel interface takes one")),
            false => Ok(self.inner),
        }
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for FoldVisitor<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    as_they_are! { visit_bool(bool); visit_i64(i64); visit_u64(u64); visit_f64(f64); visit_char(char); }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        self.checked(text)?.visit_str(text)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<V::Value, E> {
        self.checked(text)?.visit_borrowed_str(text)
    }

    fn visit_string<E: Error>(self, text: String) -> Result<V::Value, E> {
        self.checked(&text)?.visit_string(text)
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Fold { inner: value, mode: self.mode })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Fold { inner: value, mode: self.mode })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, value: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<V::Value, A::Error> {
        match self.fields {
            // serde would assign the elements in the order of declaration.
            Some(_) => Err(A::Error::invalid_type(Unexpected::Seq, &self)),
            None => self.inner.visit_seq(Fold { inner: values, mode: self.mode }),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<V::Value, A::Error> {
        let mode = self.mode;
        match self.fields {
            Some(fields) if mode.gather => {
                let gathered = gathered(&mut members, fields)?;
                let members = MapDeserializer::<_, serde_json::Error>::new(gathered.into_iter());
                let members = Members { inner: members, mode, fields: Some(fields), opaque: false };
                self.inner.visit_map(members).map_err(A::Error::custom)
            }
            fields => self.inner.visit_map(Members { inner: members, mode, fields, opaque: false }),
        }
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Fold<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(Fold { inner: seed, mode: self.mode })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Fold<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Fold { inner: value, mode: self.mode })
    }
}

/// The members of an object; of a struct if `fields` is set.
struct Members<A> {
    inner: A,
    mode: FoldMode,
    fields: Option<&'static [&'static str]>,
    /// The next value belongs to an [`OPAQUE`] member.
    opaque: bool,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        match self.fields {
            Some(fields) => {
                let key = KeySeed { seed, fields, opaque: &mut self.opaque };
                self.inner.next_key_seed(key)
            }
            None => self.inner.next_key_seed(Fold { inner: seed, mode: self.mode }),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let nul = self.mode.nul || self.opaque;
        self.inner.next_value_seed(Fold { inner: seed, mode: FoldMode { nul, ..self.mode } })
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

/// A struct key that is normalised before the seed, which knows only the exact spelling, sees it.
struct KeySeed<'a, S> {
    seed: S,
    fields: &'static [&'static str],
    opaque: &'a mut bool,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for KeySeed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<S::Value, D::Error> {
        key.deserialize_identifier(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for KeySeed<'_, S> {
    type Value = S::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<S::Value, E> {
        let key = canonical(self.fields, key);
        *self.opaque = OPAQUE.contains(&key);
        let key: StrDeserializer<'_, E> = key.into_deserializer();
        self.seed.deserialize(key)
    }
}

/// The entry of `fields` that `key` matches under Go's rules, else `key`.
fn canonical<'a>(fields: &[&'static str], key: &'a str) -> &'a str {
    if fields.contains(&key) {
        return key;
    }
    fields.iter().find(|field| same(field, key)).copied().unwrap_or(key)
}

/// Whether two keys are equal under Go's rules. Go folds case by Unicode: the lower case of two non-ASCII
/// letters, the long s and the kelvin sign, is an ASCII letter.
fn same(a: &str, b: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    a.chars().map(fold).eq(b.chars().map(fold))
}

/// The members of a struct under their exact names, each once.
fn gathered<'de, A: MapAccess<'de>>(
    members: &mut A,
    fields: &'static [&'static str],
) -> Result<Map<String, Value>, A::Error> {
    let mut all = Map::new();
    while let Some(key) = members.next_key::<String>()? {
        match fields.contains(&canonical(fields, &key)) {
            true => put(&mut all, canonical(fields, &key), members.next_value_seed(Whole)?),
            false => drop(members.next_value::<IgnoredAny>()?),
        }
    }
    Ok(all)
}

/// Adds a member. The last `value` of a key wins; objects are merged, because Go reads both into the same
/// struct.
fn put(members: &mut Map<String, Value>, key: &str, value: Value) {
    let value = match (members.shift_remove(key), value) {
        (Some(Value::Object(mut before)), Value::Object(after)) => {
            after.into_iter().for_each(|(key, value)| put(&mut before, &key, value));
            Value::Object(before)
        }
        // For Go, `null` leaves a text, number or boolean unchanged. Dropping the earlier value could drop a
        // limit.
        (Some(before), Value::Null) => before,
        (_, value) => value,
    };
    members.insert(key.to_owned(), value);
}

/// A JSON value; duplicate keys in it are merged by [`put`].
pub(super) struct Whole;

impl<'de> DeserializeSeed<'de> for Whole {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Value, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Whole {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = values.next_element_seed(Whole)? {
            all.push(value);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            put(&mut all, &key, members.next_value_seed(Whole)?);
        }
        Ok(all.into())
    }
}
