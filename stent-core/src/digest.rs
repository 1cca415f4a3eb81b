//! Digests: 64 bits that distinguish the arguments of steps, computed alike in every run.
//!
//! A digest is derived from the *value*, through serde's data model, and not from encoded bytes, so it depends neither on the
//! codec nor on a transform. The hashed form is canonical:
//!
//! | Value | Is hashed as |
//! |---|---|
//! | integers of any width | their number |
//! | `f32`, `f64` | the bits of the `f64`; every NaN is the same one, and `-0.0` is not `0.0` |
//! | texts, `char`s | their bytes in UTF-8 |
//! | sequences, tuples | their elements in order |
//! | maps | their entries in the order of their hashes, so that the iteration order of a `HashMap` does not count |
//! | structs | as maps from names to values, without the fields that are `None` |
//! | `None`, `()` | the same nothing; `Some(x)` and newtypes are hashed as their content |
//! | enums | the variant's name, or a map from it to the variant's content, as serde tags them |
//!
//! serde writes a `HashSet` as a sequence, whose order counts: it has no canonical form. The derivation of a digest is fixed
//! forever: a store keeps digests for longer than any version of this code is in use. It finds mistakes; it is neither secret
//! nor safe against an attacker.

use std::fmt;
use std::hash::Hasher as _;

use serde::ser::{
    self, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant,
};
use serde::{Deserialize, Serialize, Serializer};
use siphasher::sip::SipHasher13;

use crate::CodecError;
use crate::limits::CBOR_DEPTH_MAX;

/// Identifies the arguments of a step, or the items that a map was fed.
///
/// ```
/// use std::collections::{BTreeMap, HashMap};
///
/// use stent_core::Digest;
///
/// let prices = [("tea", 3), ("milk", 1)];
/// let digest = Digest::of(&(7, HashMap::from(prices)))?;
/// assert_eq!(digest, Digest::of(&(7, BTreeMap::from(prices)))?);
/// assert_ne!(digest, Digest::of(&(8, HashMap::from(prices)))?);
/// # Ok::<(), stent_core::CodecError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(i64);

impl Digest {
    /// The digest of no items.
    pub const NO_ITEMS: Self = Self(0);

    /// Computes the digest of a value, in one pass and without a copy.
    ///
    /// # Errors
    /// If the value's `Serialize` fails, or the value is nested deeper than any codec can write.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, CodecError> {
        match hashed(value, DEPTH_MAX) {
            Ok(hash) => Ok(Self(hash.cast_signed())),
            Err(Refused { reason, is_deep }) => Err(CodecError::Encode { reason, is_deep }),
        }
    }

    /// The digest of a sequence with one more element: of items, one after the other.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        let mut hash = SipHasher13::new();
        hash.write(&self.0.to_le_bytes());
        hash.write(&next.0.to_le_bytes());
        Self(hash.finish().cast_signed())
    }

    /// The stored form.
    #[must_use]
    pub const fn to_i64(self) -> i64 {
        self.0
    }

    /// A digest from its stored form.
    #[must_use]
    pub const fn from_i64(value: i64) -> Self {
        Self(value)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The first byte of a value, which distinguishes kinds of values. A value marks its end by its length or by [`END`].
const NOTHING: u8 = 0;
const BOOL: u8 = 1;
const NATURAL: u8 = 2;
const NEGATIVE: u8 = 3;
const FLOAT: u8 = 4;
const TEXT: u8 = 5;
const BYTES: u8 = 6;
const SEQUENCE: u8 = 7;
const END: u8 = 8;
const MAP: u8 = 9;

/// How deep a value may be nested, including all wrappers: deeper than any codec writes it, and far from a stack overflow.
const DEPTH_MAX: u16 = 4 * CBOR_DEPTH_MAX;

fn hashed<T: Serialize + ?Sized>(value: &T, depth: u16) -> Result<u64, Refused> {
    let mut hash = SipHasher13::new();
    value.serialize(Canonical(&mut hash, depth))?;
    Ok(hash.finish())
}

/// Feeds a value to a hash, in its canonical form.
struct Canonical<'a>(&'a mut SipHasher13, u16);

impl Canonical<'_> {
    fn put(self, tag: u8, bytes: &[u8]) {
        self.0.write(&[tag]);
        self.0.write(bytes);
    }

    /// A value without a length of its own.
    fn put_long(self, tag: u8, bytes: &[u8]) {
        self.0.write(&[tag]);
        self.0.write(&(bytes.len() as u64).to_le_bytes());
        self.0.write(bytes);
    }

    fn natural(self, number: u128) {
        self.put(NATURAL, &number.to_le_bytes());
    }

    fn integer(self, number: i128) {
        match u128::try_from(number) {
            Ok(number) => self.natural(number),
            Err(_) => self.put(NEGATIVE, &number.to_le_bytes()),
        }
    }

    fn map(self, mut entries: Vec<(u64, u64)>) {
        entries.sort_unstable();
        self.0.write(&[MAP]);
        self.0.write(&(entries.len() as u64).to_le_bytes());
        for (key, value) in entries {
            self.0.write(&key.to_le_bytes());
            self.0.write(&value.to_le_bytes());
        }
    }

    /// The content of a variant, as a map of one entry.
    fn variant(self, name: &str, value: u64) -> Result<(), Refused> {
        let name = hashed(name, 1)?;
        self.map(vec![(name, value)]);
        Ok(())
    }

    /// How many levels may still be nested below.
    fn below(&self) -> Result<u16, Refused> {
        let deep = || Refused { reason: "the value is nested too deeply".to_owned(), is_deep: true };
        self.1.checked_sub(1).ok_or_else(deep)
    }
}

/// Elements, one after the other.
struct Elements<'a>(&'a mut SipHasher13, u16);

impl<'a> Elements<'a> {
    fn begin(hash: &'a mut SipHasher13, depth: u16) -> Self {
        hash.write(&[SEQUENCE]);
        Self(hash, depth)
    }

    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(Canonical(self.0, self.1))
    }

    fn close(self) {
        self.0.write(&[END]);
    }
}

/// The elements of a variant, which are hashed separately.
struct VariantElements<'a> {
    outer: &'a mut SipHasher13,
    name: &'static str,
    inner: SipHasher13,
    depth: u16,
}

/// Entries, hashed separately until all are there.
struct Entries<'a> {
    hash: &'a mut SipHasher13,
    /// The variant that holds them.
    variant: Option<&'static str>,
    key: u64,
    entries: Vec<(u64, u64)>,
    depth: u16,
}

impl<'a> Entries<'a> {
    fn begin(hash: &'a mut SipHasher13, variant: Option<&'static str>, len: usize, depth: u16) -> Self {
        // An announced length need not be true.
        Self { hash, variant, key: 0, entries: Vec::with_capacity(len.min(1_024)), depth }
    }

    /// A field that is `None` counts as absent, so that one may be added to a struct while calls are in progress.
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
        let value = hashed(value, self.depth)?;
        if value != hashed(&(), 1)? {
            self.entries.push((hashed(name, 1)?, value));
        }
        Ok(())
    }

    fn close(self) -> Result<(), Refused> {
        let Some(name) = self.variant else {
            Canonical(self.hash, 0).map(self.entries);
            return Ok(());
        };
        let mut inner = SipHasher13::new();
        Canonical(&mut inner, 0).map(self.entries);
        Canonical(self.hash, 0).variant(name, inner.finish())
    }
}

/// The error of a `Serialize` that failed.
#[derive(Debug)]
struct Refused {
    reason: String,
    is_deep: bool,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: fmt::Display>(why: T) -> Self {
        Self { reason: why.to_string(), is_deep: false }
    }
}

macro_rules! numbers {
    ($($method:ident($type:ty) $put:ident,)+) => {
        $(fn $method(self, value: $type) -> Result<(), Refused> {
            self.$put(value.into());
            Ok(())
        })+
    };
}

impl<'a> Serializer for Canonical<'a> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Elements<'a>;
    type SerializeTupleStruct = Elements<'a>;
    type SerializeTupleVariant = VariantElements<'a>;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Entries<'a>;
    type SerializeStructVariant = Entries<'a>;

    numbers! {
        serialize_i8(i8) integer,
        serialize_i16(i16) integer,
        serialize_i32(i32) integer,
        serialize_i64(i64) integer,
        serialize_i128(i128) integer,
        serialize_u8(u8) natural,
        serialize_u16(u16) natural,
        serialize_u32(u32) natural,
        serialize_u64(u64) natural,
        serialize_u128(u128) natural,
    }

    /// Types with a readable and a binary form are hashed in the binary form.
    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<(), Refused> {
        self.put(BOOL, &[value.into()]);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Refused> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Refused> {
        // Calculations may produce different NaNs on different machines.
        let value = if value.is_nan() { f64::NAN.abs() } else { value };
        self.put(FLOAT, &value.to_bits().to_le_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Refused> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Refused> {
        self.put_long(TEXT, value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Refused> {
        self.put_long(BYTES, value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        let below = self.below()?;
        value.serialize(Canonical(self.0, below))
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        self.put(NOTHING, &[]);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refused> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<(), Refused> {
        self.serialize_str(name)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        let below = self.below()?;
        value.serialize(Canonical(self.0, below))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        let below = self.below()?;
        self.variant(name, hashed(value, below)?)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'a>, Refused> {
        let below = self.below()?;
        Ok(Elements::begin(self.0, below))
    }

    fn serialize_tuple(self, _: usize) -> Result<Elements<'a>, Refused> {
        let below = self.below()?;
        Ok(Elements::begin(self.0, below))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Elements<'a>, Refused> {
        let below = self.below()?;
        Ok(Elements::begin(self.0, below))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<VariantElements<'a>, Refused> {
        let mut inner = SipHasher13::new();
        let depth = self.below()?;
        Elements::begin(&mut inner, depth);
        Ok(VariantElements { outer: self.0, name, inner, depth })
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Entries<'a>, Refused> {
        let below = self.below()?;
        Ok(Entries::begin(self.0, None, len.unwrap_or(0), below))
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Entries<'a>, Refused> {
        let below = self.below()?;
        Ok(Entries::begin(self.0, None, len, below))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        len: usize,
    ) -> Result<Entries<'a>, Refused> {
        let below = self.below()?;
        Ok(Entries::begin(self.0, Some(name), len, below))
    }
}

macro_rules! elements {
    ($($trait:ident::$method:ident,)+) => {
        $(impl $trait for Elements<'_> {
            type Ok = ();
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                self.add(value)
            }

            fn end(self) -> Result<(), Refused> {
                self.close();
                Ok(())
            }
        })+
    };
}

elements! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
}

impl SerializeTupleVariant for VariantElements<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        Elements(&mut self.inner, self.depth).add(value)
    }

    fn end(mut self) -> Result<(), Refused> {
        Elements(&mut self.inner, 0).close();
        Canonical(self.outer, 0).variant(self.name, self.inner.finish())
    }
}

impl SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.key = hashed(key, self.depth)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.entries.push((self.key, hashed(value, self.depth)?));
        Ok(())
    }

    fn end(self) -> Result<(), Refused> {
        self.close()
    }
}

macro_rules! fields {
    ($($trait:ident,)+) => {
        $(impl $trait for Entries<'_> {
            type Ok = ();
            type Error = Refused;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
                self.field(name, value)
            }

            fn end(self) -> Result<(), Refused> {
                self.close()
            }
        })+
    };
}

fields! { SerializeStruct, SerializeStructVariant, }

#[cfg(test)]
mod tests;
