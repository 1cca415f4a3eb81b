//! Payloads as messages show them: text similar to JSON, truncated if it is long.

use std::fmt::Write as _;

use ciborium::Value;
use serde_json::value::RawValue;

use crate::limits::{EXCERPT_BYTES, EXCERPT_BYTES_MAX};
use crate::{Codec, CodecError, Payload, canonical};

/// Shows a payload in its [canonical](canonical) form, up to [`EXCERPT_BYTES_MAX`] bytes; byte strings as `h'00ff'`.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn text_of(payload: &Payload) -> Result<String, CodecError> {
    let bytes = canonical(payload)?;
    let canonical = Payload::new(payload.content_type(), bytes);
    let mut out = String::new();
    if payload.codec() == Some(Codec::Json) {
        out.push_str(canonical.decode::<Box<RawValue>>()?.get());
    } else {
        write_value(&canonical.decode::<Value>()?, &mut out);
    }
    cut(&mut out, EXCERPT_BYTES_MAX);
    Ok(out)
}

/// Arguments in brackets, because they are stored as a sequence.
pub(crate) fn args_of(payload: &Payload) -> Result<String, CodecError> {
    let text = text_of(payload)?;
    Ok(match text.strip_prefix('[') {
        Some(inner) => format!(
            "({}",
            inner.strip_suffix(']').map_or_else(|| inner.to_owned(), |inner| format!("{inner})"))
        ),
        None => text,
    })
}

/// The parts of two different texts around their first difference, of at most [`EXCERPT_BYTES`] bytes each.
pub(crate) fn around_difference(a: &str, b: &str) -> [String; 2] {
    let same = a.char_indices().zip(b.chars()).find(|((_, a), b)| a != b);
    let same = same.map_or_else(|| a.len().min(b.len()), |((at, _), _)| at);
    // A little of the common text shows where the difference is.
    let from = if a.len().max(b.len()) <= EXCERPT_BYTES { 0 } else { same.saturating_sub(EXCERPT_BYTES / 4) };
    [a, b].map(|text| {
        let from = text.floor_char_boundary(from);
        let mut part = if from > 0 { format!("…{}", &text[from..]) } else { text.to_owned() };
        cut(&mut part, EXCERPT_BYTES);
        part
    })
}

fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.push('…');
    }
}

fn write_value(value: &Value, out: &mut String) {
    if out.len() > EXCERPT_BYTES_MAX {
        return; // The excerpt is truncated there.
    }
    match value {
        Value::Integer(number) => _ = write!(out, "{}", i128::from(*number)),
        Value::Float(number) => _ = write!(out, "{number:?}"),
        Value::Bool(value) => _ = write!(out, "{value}"),
        Value::Null => out.push_str("null"),
        Value::Text(text) => write_text(text, out),
        Value::Bytes(bytes) => {
            out.push_str("h'");
            bytes.iter().take(EXCERPT_BYTES_MAX).for_each(|byte| _ = write!(out, "{byte:02x}"));
            out.push('\'');
        }
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                separate(n, out);
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Map(entries) => {
            out.push('{');
            for (n, (key, value)) in entries.iter().enumerate() {
                separate(n, out);
                write_value(key, out);
                out.push(':');
                write_value(value, out);
            }
            out.push('}');
        }
        Value::Tag(_, inner) => write_value(inner, out),
        _ => out.push('?'),
    }
}

fn separate(n: usize, out: &mut String) {
    if n > 0 {
        out.push(',');
    }
}

/// As JSON writes it.
fn write_text(text: &str, out: &mut String) {
    // Longer texts are truncated.
    let text = &text[..text.floor_char_boundary(EXCERPT_BYTES_MAX)];
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn both_codecs_are_shown_alike() {
        let args = (7, "té\n", [1.5, -0.0], BTreeMap::from([("a", Some(true)), ("b", None)]));
        for codec in [Codec::Cbor, Codec::Json] {
            let text = args_of(&codec.encode_for_any(&args).expect("encodes")).expect("is read");
            assert_eq!(text, r#"(7,"té\n",[1.5,-0.0],{"a":true,"b":null})"#, "{codec:?}");
        }
    }

    #[test]
    fn what_json_cannot_say_is_said_all_the_same() {
        let args = (serde_bytes::Bytes::new(&[0, 255]), f64::NAN, BTreeMap::from([(1, u64::MAX)]));
        let text = args_of(&Codec::Cbor.encode_for_any(&args).expect("encodes")).expect("is read");
        assert_eq!(text, "(h'00ff',NaN,{1:18446744073709551615})");
    }

    #[test]
    fn long_ones_are_shown_around_their_first_difference() {
        let long = |end: &str| "é".repeat(EXCERPT_BYTES) + end + &"z".repeat(EXCERPT_BYTES);
        let [a, b] = around_difference(&long("first"), &long("second"));
        assert!(a.starts_with("…é") && a.contains("éfirst") && b.contains("ésecond"), "{a} {b}");
        assert!(a.len() < EXCERPT_BYTES + 8 && a.ends_with('…'), "{a}");
        assert_eq!(around_difference("(1)", "(12)"), ["(1)", "(12)"].map(str::to_owned));
    }

    #[test]
    fn giants_are_cut() {
        for codec in [Codec::Cbor, Codec::Json] {
            let text = text_of(&codec.encode_for_any(&vec!["é".repeat(100); 10_000]).expect("encodes"))
                .expect("is read");
            assert!(text.len() <= EXCERPT_BYTES_MAX + 3 && text.ends_with('…'), "{}", text.len());
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let sealed = Payload::new("application/cbor+aes", vec![1]);
        assert!(args_of(&sealed).expect_err("is sealed").to_string().contains("transform"));
    }
}
