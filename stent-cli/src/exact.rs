//! JSON that is kept as it is written. `serde_json` alone rounds long numbers and drops all but the last of equal keys, and
//! an argument must not change silently on its way to a function.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads a value.
///
/// # Errors
/// If the text is not JSON, if a number would change, or if an object has a key twice.
pub(crate) fn parse(text: &str) -> serde_json::Result<Value> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Exact { numbers: &mut Numbers { text } }.deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

/// The numbers of a JSON text, as they are written.
#[derive(Debug)]
struct Numbers<'t> {
    text: &'t str,
}

impl<'t> Iterator for Numbers<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let (mut in_text, mut is_escaped) = (false, false);
        let start = self.text.find(|c: char| {
            match c {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = in_text,
                '"' => in_text = !in_text,
                _ => return !in_text && (c == '-' || c.is_ascii_digit()),
            }
            false
        })?;
        let rest = &self.text[start..];
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(rest.len());
        let (number, rest) = rest.split_at(end);
        self.text = rest;
        Some(number)
    }
}

/// Reads one value, and takes the numbers in it from those of the text.
#[derive(Debug)]
struct Exact<'n, 't> {
    numbers: &'n mut Numbers<'t>,
}

impl<'de> DeserializeSeed<'de> for Exact<'_, '_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Exact<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.numbers.next();
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.numbers.next();
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let written = self.numbers.next().unwrap_or_default();
        // `serde_json` may be off by the last bit.
        let value = written.parse().unwrap_or(value);
        let number = Number::from_f64(value).ok_or_else(|| E::custom(format!("{written} is no number")))?;
        let is_fraction = written.contains(['.', 'e', 'E']);
        if is_fraction && decimal(written) == decimal(&format!("{value:e}")) {
            return Ok(number.into());
        }
        Err(E::custom(format!(
            "the number {written} would become {number}: numbers are integers of 64 bits, or floats; write one of those, or \
             a text if the function takes one"
        )))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Exact { numbers: self.numbers })? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if entries.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} is there twice")));
            }
            let value = map.next_value_seed(Exact { numbers: self.numbers })?;
            entries.insert(key, value);
        }
        Ok(Value::Object(entries))
    }
}

/// A decimal number in one form, whichever way it is written: whether it is negative, its digits without zeros around
/// them, and the power of ten of the last one. `None` if that is out of all bounds.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (digits, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some((is_negative, String::new(), 0));
    }
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let exponent = exponent.parse::<i64>().ok()?;
    let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(zeros)?;
    Some((is_negative, significant.to_owned(), exponent))
}
