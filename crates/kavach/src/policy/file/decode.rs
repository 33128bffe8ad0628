//! A tree read into the types of a policy file, with the way to each mistake.
//!
//! Serde stops at the first mistake. To find the others, what is wrong is taken out of the tree and
//! the rest is read again.

use std::fmt;
use std::ops::Range;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};

use super::tree::{Entry, Node, Step, Value};

/// How many mistakes of one file are told.
const MOST_MISTAKES: usize = 20;

/// One mistake.
#[derive(Debug)]
pub(super) struct Mistake {
    /// The way to it; while the error travels outwards, from its end.
    pub(super) path: Vec<Step>,
    /// Where it stands.
    pub(super) span: Range<usize>,
    pub(super) what: What,
    /// What stands there, for people.
    pub(super) found: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    /// No such key here; these are.
    UnknownKey(&'static [&'static str]),
    /// No such name; these are.
    UnknownName(&'static [&'static str]),
    /// Another type than what this says.
    WrongType(String),
    /// The right type, but not a value of what this says.
    WrongValue(String),
    /// Something else.
    Other(String),
}

/// What could be read, with every mistake on the way.
pub(super) fn decode<T: DeserializeOwned + Default>(mut root: Node) -> (T, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    while mistakes.len() < MOST_MISTAKES {
        match T::deserialize(&root) {
            Ok(read) => return (read, mistakes),
            Err(Error(mut mistake)) => {
                mistake.path.reverse();
                let pruned = root.prune(&mistake.path);
                mistakes.push(*mistake);
                // The root itself is wrong: nothing is left to read.
                if !pruned {
                    break;
                }
            }
        }
    }
    (T::default(), mistakes)
}

/// A mistake on its way outwards. Boxed: it is the rare case.
#[derive(Debug)]
pub(super) struct Error(Box<Mistake>);

impl Error {
    fn new(what: What) -> Self {
        Self(Box::new(Mistake {
            path: Vec::new(),
            span: 0..0,
            what,
            found: String::new(),
        }))
    }

    /// The place of the mistake, known to the innermost value alone.
    fn at(mut self, node: &Node) -> Self {
        if self.0.found.is_empty() {
            self.0.found = node.described();
            self.0.span = node.span.clone();
        }
        self
    }

    /// One step further out.
    fn below(mut self, step: Step) -> Self {
        self.0.path.push(step);
        self
    }

    /// A mistake in the key itself.
    fn in_key(mut self, entry: &Entry) -> Self {
        self.0.found = crate::names::shown(&entry.key);
        self.0.span = entry.span.clone();
        // Keys of a map of names: to people, these are keys too.
        if let What::UnknownName(known) = self.0.what {
            self.0.what = What::UnknownKey(known);
        }
        self.below(Step::Key(entry.key.clone()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(What::Other(message.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(What::WrongType(expected.to_string()))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(What::WrongValue(expected.to_string()))
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownName(known))
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownKey(known))
    }
}

impl<'de> de::Deserializer<'de> for &'de Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let read = match &self.value {
            Value::Null | Value::Pruned => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(number) => integer(*number, visitor),
            Value::Float(number, _) => visitor.visit_f64(*number),
            Value::Text(text) | Value::Date(text) => visitor.visit_str(text),
            Value::List(nodes) => visitor.visit_seq(List { nodes, at: 0 }),
            Value::Table(entries) => visitor.visit_map(Table { entries, at: 0 }),
        };
        read.map_err(|error| error.at(self))
    }

    /// A key that stands there has a value: `null` is refused by the value's own type, as it might
    /// be meant as "no limit", or as "leave it as it is".
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Value::Text(text) = &self.value else {
            return Err(Error::new(What::UnknownName(known)).at(self));
        };
        let text: StrDeserializer<'_, Error> = text.as_str().into_deserializer();
        visitor.visit_enum(text).map_err(|error| error.at(self))
    }

    /// Derived types would also take a list of their values in order, which no policy means.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.value {
            Value::Table(_) => self.deserialize_any(visitor),
            _ => {
                let found = Unexpected::Other("another value");
                Err(<Error as de::Error>::invalid_type(found, &visitor).at(self))
            }
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// Numbers beyond 64 bits are for no key: what they are is said by the type that refuses them.
fn integer<'de, V: Visitor<'de>>(number: i128, visitor: V) -> Result<V::Value, Error> {
    if let Ok(number) = u64::try_from(number) {
        visitor.visit_u64(number)
    } else {
        visitor.visit_i64(i64::try_from(number).unwrap_or(i64::MIN))
    }
}

struct List<'de> {
    nodes: &'de [Node],
    at: usize,
}

impl<'de> de::SeqAccess<'de> for List<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let left = self.nodes.get(self.at..).unwrap_or_default();
        let found = left
            .iter()
            .position(|node| !matches!(node.value, Value::Pruned));
        let Some((skipped, node)) = found.and_then(|at| Some((at, left.get(at)?))) else {
            return Ok(None);
        };
        let step = Step::Index(self.at + skipped);
        self.at += skipped + 1;
        let read = seed.deserialize(node);
        read.map(Some).map_err(|error| error.at(node).below(step))
    }
}

struct Table<'de> {
    entries: &'de [Entry],
    at: usize,
}

impl<'de> de::MapAccess<'de> for Table<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some(entry) = self.entries.get(self.at) else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, Error> = entry.key.as_str().into_deserializer();
        let read = seed.deserialize(key);
        read.map(Some).map_err(|error| error.in_key(entry))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let Some(entry) = self.entries.get(self.at) else {
            return Err(de::Error::custom("a value was asked for behind the last"));
        };
        self.at += 1;
        seed.deserialize(&entry.node)
            .map_err(|error| error.at(&entry.node).below(Step::Key(entry.key.clone())))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::super::tree::written;
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(default)]
        number: u8,
        #[serde(default)]
        inner: Option<Inner>,
        #[serde(default)]
        names: BTreeMap<Name, bool>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        list: Option<Vec<Name>>,
    }

    #[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
    #[serde(rename_all = "snake_case")]
    enum Name {
        One,
    }

    #[test]
    fn every_mistake_is_found_with_its_way_and_the_rest_is_read() {
        let text = "number = 300\nbad = 1\n[inner]\nlist = [\"one\", \"two\", 3]\n\
                    [names]\none = 1\nthree = true\n";
        let root = super::super::toml::parse(text).unwrap();
        let (read, mistakes) = decode::<Outer>(root);
        assert_eq!(read.number, 0);
        assert_eq!(read.inner.unwrap().list.unwrap(), [Name::One]);
        assert!(read.names.is_empty());
        let found: Vec<_> = mistakes
            .iter()
            .map(|m| (written(&m.path), &text[m.span.clone()], &m.what))
            .collect();
        let names = &["one"][..];
        assert_eq!(
            found,
            [
                ("number".into(), "300", &What::WrongValue("u8".into())),
                (
                    "bad".into(),
                    "bad",
                    &What::UnknownKey(&["number", "inner", "names"])
                ),
                ("inner.list[1]".into(), "\"two\"", &What::UnknownName(names)),
                ("inner.list[2]".into(), "3", &What::UnknownName(names)),
                (
                    "names.one".into(),
                    "1",
                    &What::WrongType("a boolean".into())
                ),
                ("names.three".into(), "three", &What::UnknownKey(names)),
            ]
        );
    }
}
