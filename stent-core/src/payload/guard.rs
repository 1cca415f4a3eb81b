//! A serializer around a codec's serializer. It refuses values that the codec would write but could not read, or would read as
//! another value.
//!
//! | Value | Would come back as |
//! |---|---|
//! | `Some(None)`, `Some(())`, `Some` of a unit struct | `None` |
//! | NaN and infinities, in JSON | nothing: JSON has no such numbers |
//! | nested deeper than the codec reads | nothing |
//! | a map that has a key twice | one entry, or nothing |
//!
//! Some values can be read by some types only: serde buffers values under `#[serde(flatten)]`, a tag, or an untagged enum, and
//! that buffer has no 128-bit integers. A serializer cannot recognize such types, so the guard only notes the value as a
//! [`Doubt`], and the caller reads it back or refuses it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use serde::ser::{self, Serialize, Serializer};

use super::Codec;

/// Nested values of any kind per level of nesting that the codec counts: a struct, in a `Box` of a newtype, in an `Option`.
const NESTED_PER_LEVEL: u16 = 4;

/// Segments of a path that are shown at each end.
const SEGMENTS_SHOWN: usize = 5;

/// A suspicion that its type cannot read a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The value has a construct that some types write and cannot read. Most types can read it.
    Slight,
    /// The value has this construct, which only some types can read.
    Serious(&'static str),
}

/// The rules of a codec, and the guard's findings.
#[derive(Debug)]
pub(super) struct Rules {
    codec: Codec,
    doubt: Cell<Option<Doubt>>,
    is_deep: Cell<bool>,
}

impl Rules {
    pub(super) fn of(codec: Codec) -> Self {
        Self { codec, doubt: Cell::new(None), is_deep: Cell::new(false) }
    }

    pub(super) fn doubt(&self) -> Option<Doubt> {
        self.doubt.get()
    }

    /// Whether the value was refused because of its depth.
    pub(super) fn is_deep(&self) -> bool {
        self.is_deep.get()
    }

    fn note(&self, doubt: Doubt) {
        if !matches!(self.doubt.get(), Some(Doubt::Serious(_))) {
            self.doubt.set(Some(doubt));
        }
    }
}

/// A value that passes through the guard.
pub(super) struct Guarded<'a, T: ?Sized> {
    value: &'a T,
    at: Position<'a>,
}

impl<'a, T: ?Sized> Guarded<'a, T> {
    pub(super) fn new(value: &'a T, rules: &'a Rules) -> Self {
        Self {
            value,
            at: Position { rules, place: None, depth: 0, nested: 0, in_some: false, is_key: false },
        }
    }
}

impl<T: Serialize + ?Sized> Serialize for Guarded<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Guard { inner: serializer, at: self.at })
    }
}

/// The position of a value.
#[derive(Clone, Copy)]
struct Position<'a> {
    rules: &'a Rules,
    place: Option<&'a Place<'a>>,
    /// Levels around it, as the codec counts them when it reads.
    depth: u16,
    /// Values around it.
    nested: u16,
    /// Whether it is the content of a `Some`.
    in_some: bool,
    /// Whether it is the key of a map, or inside such a key.
    is_key: bool,
}

impl<'a> Position<'a> {
    /// The position inside a value that takes this many levels.
    fn inside<E: ser::Error>(self, levels: u16) -> Result<Self, E> {
        let max = self.rules.codec.depth_max();
        let (depth, nested) = (self.depth + levels, self.nested + 1);
        if depth > max || nested > max * NESTED_PER_LEVEL {
            self.rules.is_deep.set(true);
            return Err(self.refuse(format_args!(
                "it is nested more than {max} levels deep, which {} cannot read; keep the nested values in a flat \
                 list",
                self.rules.codec.content_type()
            )));
        }
        Ok(Self { depth, nested, in_some: false, ..self })
    }

    fn at<'b>(self, place: &'b Place<'b>) -> Position<'b>
    where
        'a: 'b,
    {
        Position { place: Some(place), ..self }
    }

    /// A value that reads back as `None`.
    fn nothing<E: ser::Error>(self, what: &str) -> Result<(), E> {
        if self.in_some {
            return Err(self.refuse(format_args!(
                "`Some({what})` would be read as `None`; use an enum with a name for each case, or wrap the inner \
                 value in a struct"
            )));
        }
        Ok(())
    }

    fn float<E: ser::Error>(self, value: f64) -> Result<(), E> {
        if self.rules.codec == Codec::Json && !value.is_finite() {
            return Err(
                self.refuse(format_args!("{value} is not a JSON number; use Codec::Cbor, or an Option"))
            );
        }
        self.unless_json_key();
        Ok(())
    }

    /// JSON has only strings as keys. Some types can read other values from such strings.
    fn unless_json_key(self) {
        if self.is_key && self.rules.codec == Codec::Json {
            self.rules.note(Doubt::Serious("a JSON map whose keys are not strings"));
        }
    }

    /// serde's buffer has no 128-bit integers, however small the value.
    fn wide(self) {
        self.rules.note(Doubt::Serious("a 128-bit integer"));
    }

    fn refuse<E: ser::Error>(self, why: fmt::Arguments<'_>) -> E {
        match self.place {
            None => E::custom(why),
            Some(place) => E::custom(format_args!("at {place}: {why}")),
        }
    }
}

/// The path to a value, innermost first.
struct Place<'a> {
    around: Option<&'a Self>,
    step: Step,
}

enum Step {
    Item(usize),
    Field(&'static str),
    Key,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut steps: Vec<_> =
            std::iter::successors(Some(self), |place| place.around).map(|place| &place.step).collect();
        steps.reverse();
        let hidden = SEGMENTS_SHOWN..steps.len().saturating_sub(SEGMENTS_SHOWN);
        f.write_char('`')?;
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                _ if hidden.contains(&n) => {
                    if n == hidden.start {
                        f.write_str("…")?;
                    }
                }
                Step::Item(index) => write!(f, "[{index}]")?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Key => f.write_str("[key]")?,
            }
        }
        f.write_char('`')
    }
}

struct Guard<'a, S> {
    inner: S,
    at: Position<'a>,
}

macro_rules! plain {
    ($($name:ident($ty:ty))*) => {$(
        fn $name(self, value: $ty) -> Result<S::Ok, S::Error> {
            self.at.unless_json_key();
            self.inner.$name(value)
        }
    )*};
}

impl<'a, S: Serializer> Serializer for Guard<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Parts<'a, S::SerializeSeq>;
    type SerializeTuple = Parts<'a, S::SerializeTuple>;
    type SerializeTupleStruct = Parts<'a, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Parts<'a, S::SerializeTupleVariant>;
    type SerializeMap = Parts<'a, S::SerializeMap>;
    type SerializeStruct = Parts<'a, S::SerializeStruct>;
    type SerializeStructVariant = Parts<'a, S::SerializeStructVariant>;

    plain! {
        serialize_bool(bool)
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64)
    }

    fn serialize_i128(self, value: i128) -> Result<S::Ok, S::Error> {
        self.at.wide();
        self.inner.serialize_i128(value)
    }

    fn serialize_u128(self, value: u128) -> Result<S::Ok, S::Error> {
        self.at.wide();
        self.inner.serialize_u128(value)
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.at.float(value.into())?;
        self.inner.serialize_f32(value)
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        self.at.float(value)?;
        self.inner.serialize_f64(value)
    }

    fn serialize_char(self, value: char) -> Result<S::Ok, S::Error> {
        self.inner.serialize_char(value)
    }

    fn serialize_str(self, value: &str) -> Result<S::Ok, S::Error> {
        self.inner.serialize_str(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<S::Ok, S::Error> {
        self.inner.serialize_bytes(value)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.at.nothing("None")?;
        self.inner.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let at = Position { in_some: true, ..self.at.inside(0)? };
        self.inner.serialize_some(&Guarded { value, at })
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.at.nothing("()")?;
        self.inner.serialize_unit()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.at.nothing(name)?;
        self.inner.serialize_unit_struct(name)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        // CBOR's decoder counts an enum even if it is a string.
        self.at.inside::<S::Error>(u16::from(self.at.rules.codec == Codec::Cbor))?;
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        // The value replaces the newtype, also in a `Some`.
        let at = Position { in_some: self.at.in_some, ..self.at.inside(0)? };
        self.inner.serialize_newtype_struct(name, &Guarded { value, at })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let place = Place { around: self.at.place, step: Step::Field(variant) };
        let at = self.at.inside(1)?.at(&place);
        self.inner.serialize_newtype_variant(name, index, variant, &Guarded { value, at })
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        let at = self.at.inside(1)?;
        Ok(Parts::of(self.inner.serialize_seq(len)?, at))
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        let at = self.at.inside(1)?;
        Ok(Parts::of(self.inner.serialize_tuple(len)?, at))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        let at = self.at.inside(1)?;
        Ok(Parts::of(self.inner.serialize_tuple_struct(name, len)?, at))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let at = self.at.inside(2)?;
        Ok(Parts::of(self.inner.serialize_tuple_variant(name, index, variant, len)?, at))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let at = self.at.inside(1)?;
        let mut parts = Parts::of(self.inner.serialize_map(len)?, at);
        if len.is_none() {
            // Structs with `#[serde(flatten)]` are also written as maps, and may contain a key twice.
            self.at.rules.note(Doubt::Slight);
            parts.keys = Some(BTreeSet::new());
        }
        Ok(parts)
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Self::SerializeStruct, S::Error> {
        let at = self.at.inside(1)?;
        if name.starts_with("$serde_json::") && self.at.rules.codec != Codec::Json {
            self.at.rules.note(Doubt::Serious("raw JSON in a payload of another format"));
        }
        Ok(Parts::of(self.inner.serialize_struct(name, len)?, at))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let at = self.at.inside(2)?;
        Ok(Parts::of(self.inner.serialize_struct_variant(name, index, variant, len)?, at))
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// A value of several parts that passes through the guard.
struct Parts<'a, C> {
    inner: C,
    at: Position<'a>,
    next: usize,
    /// The keys so far, for a map that may contain one twice.
    keys: Option<BTreeSet<String>>,
}

impl<'a, C> Parts<'a, C> {
    fn of(inner: C, at: Position<'a>) -> Self {
        Self { inner, at, next: 0, keys: None }
    }

    /// Passes on the next part, which has no name.
    fn item<T: Serialize + ?Sized, E>(
        &mut self,
        value: &T,
        hand_on: impl FnOnce(&mut C, &Guarded<'_, T>) -> Result<(), E>,
    ) -> Result<(), E> {
        let place = Place { around: self.at.place, step: Step::Item(self.next) };
        self.next += 1;
        hand_on(&mut self.inner, &Guarded { value, at: self.at.at(&place) })
    }

    fn field<T: Serialize + ?Sized, E>(
        &mut self,
        name: &'static str,
        value: &T,
        hand_on: impl FnOnce(&mut C, &Guarded<'_, T>) -> Result<(), E>,
    ) -> Result<(), E> {
        let place = Place { around: self.at.place, step: Step::Field(name) };
        hand_on(&mut self.inner, &Guarded { value, at: self.at.at(&place) })
    }

    fn key<T: Serialize + ?Sized, E: ser::Error>(
        &mut self,
        key: &T,
        hand_on: impl FnOnce(&mut C, &Guarded<'_, T>) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(keys) = &mut self.keys
            && let Ok(serde_json::Value::String(text)) = key.serialize(serde_json::value::Serializer)
            && let Some(twice) = keys.replace(text)
        {
            return Err(self.at.refuse(format_args!("it contains the key {twice:?} twice")));
        }
        let place = Place { around: self.at.place, step: Step::Key };
        let at = Position { is_key: true, ..self.at.at(&place) };
        hand_on(&mut self.inner, &Guarded { value: key, at })
    }
}

macro_rules! parts {
    ($($of:ident: $part:ident;)*) => {$(
        impl<C: ser::$of> ser::$of for Parts<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                self.item(value, |inner, value| inner.$part(value))
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )*};
}

parts! {
    SerializeSeq: serialize_element;
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
}

macro_rules! fields {
    ($($of:ident)*) => {$(
        impl<C: ser::$of> ser::$of for Parts<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), C::Error> {
                self.field(name, value, |inner, value| inner.serialize_field(name, value))
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
                self.at.rules.note(Doubt::Slight);
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )*};
}

fields!(SerializeStruct SerializeStructVariant);

impl<C: ser::SerializeMap> ser::SerializeMap for Parts<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.key(key, |inner, key| inner.serialize_key(key))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.item(value, |inner, value| inner.serialize_value(value))
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}
