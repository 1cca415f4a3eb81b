//! Keys: 128 bits that identify equal work, computed alike in every process.
//!
//! A key is derived from *what* it is a key of (a call, a user's text, a dispatch, a signal) and from its parts, each with its
//! length, so that keys of different kinds never collide and `("ab", "c")` differs from `("a", "bc")`. The derivation is fixed
//! forever: a store keeps keys for longer than any version of this code is in use.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ciborium::Value;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::id::id;
use crate::{Codec, CodecError, ExecutionId, Payload};

id! {
    /// Identifies equal work. A UUID of version 8, so that nobody mistakes it for an id.
    ///
    /// ```
    /// use stent_core::Key;
    ///
    /// let key = Key::of_user("charge", None, "order-7");
    /// assert_eq!(key, Key::of_user("charge", None, "order-7"));
    /// assert_ne!(key, Key::of_user("refund", None, "order-7"));
    /// ```
    Key
}

impl Key {
    /// The key of a call by its arguments, in their [canonical](canonical) form.
    #[must_use]
    pub fn of_call(function: &str, version: Option<&str>, args: &[u8]) -> Self {
        Self::draw("call", &[function.as_bytes(), &versioned(version), args])
    }

    /// The key of a call by the text that the user's key function returns. The empty text is a valid key.
    #[must_use]
    pub fn of_user(function: &str, version: Option<&str>, text: &str) -> Self {
        Self::draw("user", &[function.as_bytes(), &versioned(version), text.as_bytes()])
    }

    /// The key that a dispatch was given. Versions of a function share it: a dispatch after an upgrade means the same
    /// execution.
    #[must_use]
    pub fn of_dispatch(function: &str, text: &str) -> Self {
        Self::draw("dispatch", &[function.as_bytes(), text.as_bytes()])
    }

    /// The slot of a signal.
    #[must_use]
    pub fn of_signal(execution: ExecutionId, name: &str) -> Self {
        Self::draw("signal", &[execution.as_uuid().as_bytes(), name.as_bytes()])
    }

    /// The key of an execution as a whole.
    #[must_use]
    pub fn of_execution(execution: ExecutionId) -> Self {
        Self::draw("execution", &[execution.as_uuid().as_bytes()])
    }

    /// SHA-256 over the kind and the parts, each after its length, truncated to 128 bits.
    pub(crate) fn draw(kind: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in [b"stent key 1", kind.as_bytes()].iter().chain(parts) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let (half, _) = digest.split_first_chunk::<16>().expect("32 bytes hold 16");
        Self(Builder::from_custom_bytes(*half).into_uuid())
    }
}

/// A version as a part, such that no version differs from the empty one.
fn versioned(version: Option<&str>) -> Vec<u8> {
    version.map_or_else(Vec::new, |version| [b"@", version.as_bytes()].concat())
}

/// How deep a payload may be nested to have a canonical form: `serde_json`'s own bound for decoding.
const JSON_DEPTH_MAX: u32 = 128;

/// The bytes of a payload in a form that does not depend on the order in which its maps were written, so that arguments with a
/// `HashMap` have the same key in every process.
///
/// Entries of maps are sorted by their encoded keys, at every depth; everything else is unchanged. The order of a sequence
/// counts, and serde writes a `HashSet` as a sequence: use a `BTreeSet` in arguments that need a key.
///
/// # Errors
/// If the content type is unknown, or the bytes are not valid for it.
pub fn canonical(payload: &Payload) -> Result<Vec<u8>, CodecError> {
    match payload.codec() {
        Some(Codec::Cbor) => canonical_cbor(payload),
        Some(Codec::Json) => {
            let mut out = Vec::with_capacity(payload.len());
            canonical_json(&payload.decode::<Box<RawValue>>()?, JSON_DEPTH_MAX, &mut out)?;
            Ok(out)
        }
        None => Err(payload.unread()),
    }
}

fn canonical_cbor(payload: &Payload) -> Result<Vec<u8>, CodecError> {
    let mut value = payload.decode::<Value>()?;
    sort_maps(&mut value)?;
    cbor(&value)
}

fn sort_maps(value: &mut Value) -> Result<(), CodecError> {
    match value {
        Value::Map(entries) => {
            let mut sorted = Vec::with_capacity(entries.len());
            for (mut key, mut value) in entries.drain(..) {
                sort_maps(&mut key)?;
                sort_maps(&mut value)?;
                sorted.push((cbor(&key)?, (key, value)));
            }
            sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
            entries.extend(sorted.into_iter().map(|(_, entry)| entry));
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(sort_maps),
        Value::Tag(_, inner) => sort_maps(inner),
        _ => Ok(()),
    }
}

fn cbor(value: &Value) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(CodecError::refused)?;
    Ok(bytes)
}

/// Copies scalars as they were written. `serde_json::Value` would parse them, and rounds integers of more than 64 bits: two
/// different calls would share a key.
fn canonical_json(value: &RawValue, depth: u32, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let text = value.get();
    let opening = text.as_bytes().first().copied();
    if !matches!(opening, Some(b'{' | b'[')) {
        out.extend_from_slice(text.as_bytes());
        return Ok(());
    }
    let Some(depth) = depth.checked_sub(1) else {
        return Err(CodecError::refused("the value is nested too deeply"));
    };
    let invalid = |error: serde_json::Error| CodecError::refused(error);
    if opening == Some(b'[') {
        out.push(b'[');
        for (n, item) in
            serde_json::from_str::<Vec<&RawValue>>(text).map_err(invalid)?.into_iter().enumerate()
        {
            separate(n, out);
            canonical_json(item, depth, out)?;
        }
        out.push(b']');
        return Ok(());
    }
    out.push(b'{');
    let entries = serde_json::from_str::<BTreeMap<String, &RawValue>>(text).map_err(invalid)?;
    for (n, (key, value)) in entries.into_iter().enumerate() {
        separate(n, out);
        serde_json::to_writer(&mut *out, &key).map_err(invalid)?;
        out.push(b':');
        canonical_json(value, depth, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn separate(n: usize, out: &mut Vec<u8>) {
    if n > 0 {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn execution() -> ExecutionId {
        ExecutionId::from_uuid(Uuid::from_u128(7))
    }

    #[test]
    fn keys_are_fixed_forever() {
        // Computed once by another program; a change here loses the keys of every existing store.
        for (key, expected) in [
            (Key::of_call("charge", None, b"\x81\x07"), "670890bb-cf0c-8901-bd5a-e077d93f037b"),
            (Key::of_call("charge", Some("2"), b"\x81\x07"), "9bf4f9db-8414-8981-bfbb-ef6961c54667"),
            (Key::of_user("charge", None, "order-7"), "723471f2-42fd-89f5-b41f-b38a08dad976"),
            (Key::of_user("charge", None, ""), "116720c6-0499-812a-9275-b841455b4b93"),
            (Key::of_dispatch("charge", "order-7"), "e6114637-dab6-8af3-965d-f4c370e8c36d"),
            (Key::of_signal(execution(), "approval"), "a81efe34-91f4-8c2e-b39b-5f2727af82ca"),
            (Key::of_execution(execution()), "615d6f02-d384-855c-a652-900c609cbccc"),
        ] {
            assert_eq!(key.to_string(), expected);
        }
    }

    #[test]
    fn a_key_is_a_uuid_of_version_8() {
        assert_eq!(Key::of_execution(execution()).as_uuid().get_version_num(), 8);
    }

    #[test]
    fn what_differs_has_different_keys() {
        let keys = [
            Key::of_call("charge", None, b"7"),
            Key::of_user("charge", None, "7"),
            Key::of_user("charge", Some("7"), ""),
            Key::of_user("charge", Some(""), "7"),
            Key::of_user("charge", Some("@"), "7"),
            Key::of_user("charg", None, "e7"),
            Key::of_user("refund", None, "7"),
            Key::of_user("charge", None, ""),
            Key::of_dispatch("charge", "7"),
            Key::of_dispatch("charge", ""),
            Key::of_signal(execution(), ""),
            Key::of_execution(execution()),
        ];
        let distinct = std::collections::BTreeSet::from(keys);
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn large_integers_keep_their_last_digit() {
        for codec in [Codec::Cbor, Codec::Json] {
            let of =
                |n: u128| canonical(&codec.encode(&(n,)).expect("encodes")).expect("has a canonical form");
            assert_ne!(of(u128::MAX), of(u128::MAX - 1), "{codec:?}");
        }
    }

    #[test]
    fn json_stays_what_it_was_but_for_the_order_of_keys() {
        let text = r#"[{"b":[1,{"z":null,"\u00e9\n":-0.10}],"a":"}{"},18446744073709551616]"#;
        let payload = Payload::new(Codec::Json.content_type(), text.as_bytes().to_vec());
        let expected = r#"[{"a":"}{","b":[1,{"z":null,"é\n":-0.10}]},18446744073709551616]"#;
        assert_eq!(String::from_utf8(canonical(&payload).expect("is JSON")).expect("is a text"), expected);
    }

    #[test]
    fn nesting_has_a_bound() {
        let nested = |depth: usize| {
            let text = "[".repeat(depth) + &"]".repeat(depth);
            canonical(&Payload::new(Codec::Json.content_type(), text.into_bytes()))
        };
        assert!(nested(128).is_ok());
        assert!(nested(100_000).is_err());
    }

    #[test]
    fn bytes_of_no_known_type_have_no_canonical_form() {
        assert!(matches!(canonical(&Payload::empty()), Err(CodecError::UnknownContentType(_))));
    }

    /// A map that is written in the order of its entries, as a `HashMap` is written in the order of its hashes.
    struct Written<'a>(&'a [(String, u32)]);

    impl Serialize for Written<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().map(|(key, value)| (key, [Some(value), None])))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_order_of_entries_does_not_count(
            entries in vec(("\\PC{0,3}", any::<u32>()), 0..6)
                .prop_map(|all| all.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect::<Vec<_>>())
                .prop_flat_map(|sorted| (Just(sorted.clone()), Just(sorted).prop_shuffle()))
        ) {
            let (sorted, shuffled) = entries;
            for codec in [Codec::Cbor, Codec::Json] {
                let [a, b] = [&sorted, &shuffled].map(|entries| {
                    canonical(&codec.encode_for_any(&(1, vec![Written(entries)])).expect("encodes")).expect("canonical")
                });
                prop_assert_eq!(a, b);
            }
        }
    }
}
