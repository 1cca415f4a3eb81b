//! Sets of marks.

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Mark;

/// A set of [`Mark`]s: the facts about a task that its status does not express. Several can be true together.
///
/// The serde form is null for no mark, the mark's word for one mark, and a list of words for several marks. With
/// `#[serde(default)]`, an absent field decodes to no mark.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Marks {
    /// A bit for each mark, in the order of [`Mark::ALL`].
    bits: u8,
}

impl Marks {
    /// No mark.
    pub const NONE: Self = Self { bits: 0 };

    /// The set of one mark.
    #[must_use]
    pub const fn of(mark: Mark) -> Self {
        Self { bits: 1 << mark as u8 }
    }

    /// Whether the set contains the mark.
    #[must_use]
    pub const fn contains(self, mark: Mark) -> bool {
        self.bits & Self::of(mark).bits != 0
    }

    /// Whether the set has no marks.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// Returns the set with this mark added.
    #[must_use]
    pub const fn with(self, mark: Mark) -> Self {
        Self { bits: self.bits | Self::of(mark).bits }
    }

    /// Returns the set with this mark removed.
    #[must_use]
    pub const fn without(self, mark: Mark) -> Self {
        Self { bits: self.bits & !Self::of(mark).bits }
    }

    /// Iterates over the marks in the order of [`Mark::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Mark> {
        Mark::ALL.iter().copied().filter(move |mark| self.contains(*mark))
    }
}

impl From<Mark> for Marks {
    fn from(mark: Mark) -> Self {
        Self::of(mark)
    }
}

impl FromIterator<Mark> for Marks {
    fn from_iter<I: IntoIterator<Item = Mark>>(marks: I) -> Self {
        marks.into_iter().fold(Self::NONE, Self::with)
    }
}

/// Writes the set as `{Cancel, Redrive}`.
impl fmt::Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Writes the words separated by commas, and nothing for the empty set.
impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.iter().map(Mark::as_str).collect();
        f.pad(&words.join(", "))
    }
}

impl Serialize for Marks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut marks = self.iter();
        match (marks.next(), marks.next()) {
            (None, _) => serializer.serialize_none(),
            (Some(mark), None) => mark.serialize(serializer),
            (Some(_), Some(_)) => serializer.collect_seq(self.iter()),
        }
    }
}

impl<'de> Deserialize<'de> for Marks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Words)
    }
}

/// Decodes each serde form of marks.
struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = Marks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing, the word of a mark, or a list of words")
    }

    fn visit_none<E>(self) -> Result<Marks, E> {
        Ok(Marks::NONE)
    }

    fn visit_unit<E>(self) -> Result<Marks, E> {
        Ok(Marks::NONE)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Marks, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Marks, E> {
        word.parse().map(Marks::of).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Marks, A::Error> {
        let mut marks = Marks::NONE;
        while let Some(word) = words.next_element::<String>()? {
            marks = marks.with(word.parse().map_err(A::Error::custom)?);
        }
        Ok(marks)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TWO: Marks = Marks::of(Mark::Redrive).with(Mark::Cancel);

    #[test]
    fn a_set_has_the_marks_that_it_was_given() {
        assert!(Marks::NONE.is_empty() && Marks::default() == Marks::NONE);
        assert_eq!(TWO.iter().collect::<Vec<_>>(), [Mark::Cancel, Mark::Redrive]);
        assert_eq!(TWO.with(Mark::Cancel), TWO);
        assert_eq!(TWO.without(Mark::Redrive), Marks::of(Mark::Cancel));
        assert_eq!(TWO.without(Mark::Hit), TWO);
        assert_eq!(Mark::ALL.iter().copied().collect::<Marks>().iter().collect::<Vec<_>>(), Mark::ALL);
        for mark in Mark::ALL {
            let others = Mark::ALL.iter().filter(|other| *other != mark);
            assert!(Marks::from(*mark).contains(*mark) && !Marks::NONE.contains(*mark));
            assert!(others.into_iter().all(|other| !Marks::of(*mark).contains(*other)));
        }
    }

    #[test]
    fn people_read_its_words() {
        assert_eq!([Marks::NONE, TWO].map(|marks| marks.to_string()), ["", "cancel, redrive"]);
        assert_eq!(format!("{:?} {TWO:?}", Marks::NONE), "{} {Cancel, Redrive}");
    }

    #[test]
    fn its_stored_form_is_nothing_or_a_word_or_a_list() {
        let forms = [
            (Marks::NONE, json!(null)),
            (Marks::of(Mark::Hit), json!("hit")),
            (TWO, json!(["cancel", "redrive"])),
        ];
        for (marks, form) in forms {
            assert_eq!(serde_json::to_value(marks).expect("encodes"), form);
            assert_eq!(serde_json::from_value::<Marks>(form).expect("decodes"), marks);
        }
        // Lists of any length and order decode, and so does the word of earlier versions.
        for (form, marks) in [
            (json!([]), Marks::NONE),
            (json!(["hit"]), Marks::of(Mark::Hit)),
            (json!(["revive", "cancel"]), TWO),
            (json!("revive"), Marks::of(Mark::Redrive)),
        ] {
            assert_eq!(serde_json::from_value::<Marks>(form).expect("decodes"), marks);
        }
        for form in [json!("paused"), json!(["cancel", "paused"]), json!(7)] {
            assert!(serde_json::from_value::<Marks>(form).is_err());
        }
    }
}
