//! Parameters after the `?` in the URLs of stores. Knows no parameter by name.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use stent_core::backend::{Error, ErrorKind, Result};

/// A parameter: `name=value`, or a name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// Its name, decoded.
    pub name: String,
    /// Its value, decoded; empty if there is none.
    pub value: String,
    /// The whole parameter, as written in the URL.
    pub text: &'a str,
}

/// Divides a URL at its first `?` into the part before it and the parameters after it, in their order.
///
/// # Errors
/// [`ErrorKind::Config`] instead of each parameter that [`decode`] refuses, and of each repeated parameter. The error names the
/// parameter without its value, which may be a password.
pub fn split(url: &str) -> (&str, impl Iterator<Item = Result<Parameter<'_>>>) {
    let (before, query) = url.split_once('?').unwrap_or((url, ""));
    let mut given = BTreeSet::new();
    let once = move |text| {
        let parameter = parameter(text)?;
        if given.insert(parameter.name.clone()) { Ok(parameter) } else { Err(twice(&parameter.name)) }
    };
    (before, query.split('&').filter(|text| !text.is_empty()).map(once))
}

/// Refuses a parameter that is given twice, even with the same value: one of the two is a mistake.
#[must_use]
pub fn twice(name: &str) -> Error {
    Error::new(ErrorKind::Config, "open").with_message(format!("{name:?} is given twice; give it once"))
}

fn parameter(text: &str) -> Result<Parameter<'_>> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    Ok(Parameter { name: decode(name, name)?, value: decode(value, name)?, text })
}

/// Decodes `%20` and the like in a part of a URL, which errors call `what`.
///
/// # Errors
/// [`ErrorKind::Config`] if the result is not UTF-8, or contains a zero byte, which no database accepts.
pub fn decode(text: &str, what: &str) -> Result<String> {
    let refused = |why: &str| Error::new(ErrorKind::Config, "open").with_message(format!("{what:?} {why}"));
    match percent_decode_str(text).decode_utf8() {
        Ok(text) if text.contains('\0') => Err(refused("contains a zero byte")),
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(refused("is not UTF-8 after percent-decoding")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(url: &str) -> Vec<(String, String, &str)> {
        let read = split(url).1.map(|parameter| parameter.unwrap_or_else(|error| panic!("{url}: {error}")));
        read.map(|parameter| (parameter.name, parameter.value, parameter.text)).collect()
    }

    fn refusals(url: &str) -> Vec<String> {
        let errors = split(url).1.filter_map(std::result::Result::err);
        errors
            .inspect(|error| assert_eq!(error.kind(), ErrorKind::Config, "{url}"))
            .map(|error| error.to_string())
            .collect()
    }

    #[test]
    fn parameters_come_decoded_and_as_they_stand() {
        let url = "db://h/d?a=1&b%20c=x%3D%26%C3%BC&&flag&d=e=f&";

        assert_eq!(split(url).0, "db://h/d");
        let expected = [
            ("a", "1", "a=1"),
            ("b c", "x=&ü", "b%20c=x%3D%26%C3%BC"),
            ("flag", "", "flag"),
            ("d", "e=f", "d=e=f"),
        ];
        assert_eq!(parameters(url), expected.map(|(name, value, text)| (name.into(), value.into(), text)));
    }

    #[test]
    fn a_url_may_have_no_parameters() {
        for url in ["db://h/d", "db://h/d?"] {
            assert_eq!(split(url).0, "db://h/d");
            assert_eq!(parameters(url), []);
        }
    }

    #[test]
    fn a_repeated_parameter_is_refused_by_name_and_without_its_value() {
        for url in ["db://h/d?password=s3cret&a=1&password=s3cret", "db://h/d?password=1&pass%77ord=s3cret"] {
            let refused = refusals(url);
            assert_eq!(refused.len(), 1, "{refused:?}");
            assert!(refused[0].contains("\"password\" is given twice; give it once"), "{}", refused[0]);
            assert!(!refused[0].contains("s3cret"), "{}", refused[0]);
        }
    }

    #[test]
    fn what_cannot_be_text_is_refused_by_name_and_without_its_value() {
        let refused = refusals("db://h/d?a=1&password=s3cret%FF&schema=s3cret%00&%FF=2");

        assert_eq!(refused.len(), 3, "{refused:?}");
        assert!(refused[0].contains("\"password\" is not UTF-8"), "{}", refused[0]);
        assert!(refused[1].contains("\"schema\" contains a zero byte"), "{}", refused[1]);
        assert!(refused[2].contains("\"%FF\" is not UTF-8"), "{}", refused[2]);
        assert!(!refused.concat().contains("s3cret"), "{refused:?}");
    }
}
