//! Values as cells, and back: each type is encoded and decoded here only.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use stent_core::model::{
    ClaimEnd, Epoch, FunctionKey, KeyEntryKind, LaneKey, Mark, Marks, Seq, Slot, StepKind, TaskStatus,
    WorkerState,
};
use stent_core::{Digest, ExecutionId, Key, TaskId, Timestamp, WorkerId};
use uuid::Uuid;

use super::tags;
use crate::batch::{Cell, Kind};

/// The type of cell for a type of values.
pub(crate) trait Field {
    /// The kind of cell.
    const KIND: Kind;
    /// Whether the cells may be null.
    const NULLABLE: bool = false;
}

/// A value that is written.
pub(crate) trait Encode<'a>: Field {
    fn encode(self) -> Cell<'a>;
}

/// A value that is read.
pub(crate) trait Decode: Field + Sized {
    fn decode(cell: Cell<'static>) -> Result<Self, Unfit>;
}

/// The reason why a cell cannot be decoded as its column's type.
pub(crate) type Unfit = Box<dyn StdError + Send + Sync>;

const OTHER: &str = "it holds a value of another kind, or none";

impl<T: Field> Field for Option<T> {
    const KIND: Kind = T::KIND;
    const NULLABLE: bool = true;
}

impl<'a, T: Encode<'a>> Encode<'a> for Option<T> {
    fn encode(self) -> Cell<'a> {
        self.map_or(Cell::Null, T::encode)
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(cell: Cell<'static>) -> Result<Self, Unfit> {
        match cell {
            Cell::Null => Ok(None),
            cell => T::decode(cell).map(Some),
        }
    }
}

/// Types that are a UUID.
macro_rules! ids {
    ($($type:ty: $as_uuid:expr, $from_uuid:expr;)+) => {$(
        impl Field for $type {
            const KIND: Kind = Kind::Id;
        }

        impl<'a> Encode<'a> for $type {
            fn encode(self) -> Cell<'a> {
                Cell::Id($as_uuid(&self))
            }
        }

        impl Decode for $type {
            fn decode(cell: Cell<'static>) -> Result<Self, Unfit> {
                if let Cell::Id(id) = cell { Ok($from_uuid(id)) } else { Err(OTHER.into()) }
            }
        }
    )+};
}

ids! {
    Uuid: |id: &Uuid| *id, |id| id;
    TaskId: |id: &TaskId| *id.as_uuid(), TaskId::from_uuid;
    ExecutionId: |id: &ExecutionId| *id.as_uuid(), ExecutionId::from_uuid;
    WorkerId: |id: &WorkerId| *id.as_uuid(), WorkerId::from_uuid;
    Key: |key: &Key| *key.as_uuid(), Key::from_uuid;
}

/// Types that are an integer. The conversion from the integer may fail.
macro_rules! integers {
    ($($kind:ident $type:ty: $to:expr, $from:expr;)+) => {$(
        impl Field for $type {
            const KIND: Kind = Kind::$kind;
        }

        impl<'a> Encode<'a> for $type {
            fn encode(self) -> Cell<'a> {
                Cell::Int($to(self))
            }
        }

        impl Decode for $type {
            fn decode(cell: Cell<'static>) -> Result<Self, Unfit> {
                let Cell::Int(value) = cell else { return Err(OTHER.into()) };
                $from(value)
            }
        }
    )+};
}

integers! {
    Int i64: |value| value, Ok::<_, Unfit>;
    Int i16: i64::from, |value: i64| Ok(i16::try_from(value)?);
    Int bool: i64::from, |value| Ok::<_, Unfit>(value != 0);
    Int Timestamp: Timestamp::as_micros, |value| Ok::<_, Unfit>(Timestamp::from_micros(value));
    Int Epoch: Epoch::to_i64, |value| Epoch::from_i64(value).ok_or_else(|| Unfit::from("it holds no epoch"));
    Int Digest: Digest::to_i64, |value| Ok::<_, Unfit>(Digest::from_i64(value));
    Int LaneKey: LaneKey::as_i64, |value| Ok::<_, Unfit>(LaneKey::from_i64(value));
    Int Slot: Slot::as_i64, |value| Ok::<_, Unfit>(Slot::from_i64(value));
    Int FunctionKey: FunctionKey::as_i64, |value| Ok::<_, Unfit>(FunctionKey::from_i64(value));
    Count u32: i64::from, |value: i64| Ok(u32::try_from(value)?);
    Count Seq: |seq: Seq| i64::from(seq.0), |value: i64| Ok(Seq(u32::try_from(value)?));
}

impl Field for u64 {
    const KIND: Kind = Kind::Int;
}

impl Decode for u64 {
    fn decode(cell: Cell<'static>) -> Result<Self, Unfit> {
        Ok(Self::try_from(i64::decode(cell)?)?)
    }
}

/// Types that are one of a few words.
macro_rules! words {
    ($($type:ty),+) => {$(
        impl Field for $type {
            const KIND: Kind = Kind::Text;
        }

        impl<'a> Encode<'a> for $type {
            fn encode(self) -> Cell<'a> {
                Cell::text(self.as_str())
            }
        }

        impl Decode for $type {
            fn decode(cell: Cell<'static>) -> Result<Self, Unfit> {
                Ok(Self::from_str(&text(cell)?)?)
            }
        }
    )+};
}

words!(TaskStatus, StepKind, KeyEntryKind, ClaimEnd, WorkerState);

/// Null for none, else the words with commas. `cancel` comes before all others, so that indexes can contain what is asked to
/// end.
impl Field for Marks {
    const KIND: Kind = Kind::Text;
    const NULLABLE: bool = true;
}

impl<'a> Encode<'a> for Marks {
    fn encode(self) -> Cell<'a> {
        let asked = self.contains(Mark::Cancel).then_some(Mark::Cancel);
        let mut words = asked.into_iter().chain(self.without(Mark::Cancel).iter()).map(Mark::as_str);
        let Some(first) = words.next() else { return Cell::Null };
        match words.next() {
            None => Cell::text(first),
            Some(second) => {
                let mut text = format!("{first},{second}");
                words.for_each(|word| text.extend([",", word]));
                Cell::Text(Cow::Owned(text))
            }
        }
    }
}

impl Decode for Marks {
    fn decode(cell: Cell<'static>) -> Result<Self, Unfit> {
        if let Cell::Null = cell {
            return Ok(Self::NONE);
        }
        let text = text(cell)?;
        Ok(text.split(',').map(Mark::from_str).collect::<Result<_, _>>()?)
    }
}

fn text(cell: Cell<'static>) -> Result<Cow<'static, str>, Unfit> {
    if let Cell::Text(text) = cell { Ok(text) } else { Err(OTHER.into()) }
}

impl Field for String {
    const KIND: Kind = Kind::Text;
}

impl<'a> Encode<'a> for String {
    fn encode(self) -> Cell<'a> {
        Cell::Text(Cow::Owned(self))
    }
}

impl Decode for String {
    fn decode(cell: Cell<'static>) -> Result<Self, Unfit> {
        text(cell).map(Cow::into_owned)
    }
}

impl Field for &str {
    const KIND: Kind = Kind::Text;
}

impl<'a> Encode<'a> for &'a str {
    fn encode(self) -> Cell<'a> {
        Cell::text(self)
    }
}

impl Field for Vec<u8> {
    const KIND: Kind = Kind::Bytes;
}

impl Decode for Vec<u8> {
    fn decode(cell: Cell<'static>) -> Result<Self, Unfit> {
        if let Cell::Bytes(bytes) = cell { Ok(bytes.into_owned()) } else { Err(OTHER.into()) }
    }
}

impl Field for &[u8] {
    const KIND: Kind = Kind::Bytes;
}

impl<'a> Encode<'a> for &'a [u8] {
    fn encode(self) -> Cell<'a> {
        Cell::bytes(self)
    }
}

/// Tags, as a JSON array.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tags(pub(crate) BTreeSet<String>);

impl Field for Tags {
    const KIND: Kind = Kind::Text;
}

impl Decode for Tags {
    fn decode(cell: Cell<'static>) -> Result<Self, Unfit> {
        Ok(Self(tags::from_text(&text(cell)?)?))
    }
}

/// A value as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T> Field for Json<T> {
    const KIND: Kind = Kind::Text;
}

impl<T: DeserializeOwned> Decode for Json<T> {
    fn decode(cell: Cell<'static>) -> Result<Self, Unfit> {
        Ok(Self(serde_json::from_str(&text(cell)?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_null_or_their_words_with_the_request_to_end_first() {
        let every: Marks = Mark::ALL.iter().copied().collect();
        for (marks, cell) in [
            (Marks::NONE, Cell::Null),
            (Marks::of(Mark::Hit), Cell::text("hit")),
            (Marks::of(Mark::Cancel), Cell::text("cancel")),
            (Marks::of(Mark::Hit).with(Mark::Cancel), Cell::text("cancel,hit")),
            (every, Cell::text("cancel,hit,expire,redrive,discard")),
        ] {
            assert_eq!(marks.encode(), cell);
            assert_eq!(Marks::decode(cell).expect("decodes"), marks);
        }
        assert!(
            Marks::decode(Cell::text("cancel,paused")).is_err() && Marks::decode(Cell::text("")).is_err()
        );
    }

    /// Statements and indexes ask whether the text begins with the word.
    #[test]
    fn no_other_mark_begins_like_the_request_to_end() {
        let begin = Mark::ALL.iter().filter(|mark| mark.as_str().starts_with(Mark::Cancel.as_str()));
        assert_eq!(begin.collect::<Vec<_>>(), [&Mark::Cancel]);
    }
}
