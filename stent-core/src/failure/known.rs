//! Error types that this process knows, by the names that their authors gave them, and inside boxes.
//!
//! `#[durable]` creates an entry at link time for each error type that a function returns, and for each that a `retry_for`
//! names. A type that is not in the list is named by its path, and cannot be recognized once it is boxed.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::LazyLock;

use super::{Failure, Kind};

/// Converts an error of one type to a failure; `None` for other types.
type Catch = Box<dyn Fn(&(dyn Error + 'static)) -> Option<Failure> + Send + Sync>;

/// An error type.
pub struct ErrorType {
    id: TypeId,
    type_name: &'static str,
    name: Option<&'static str>,
    catch: Catch,
}

impl ErrorType {
    /// A type with the name that its author gave it, and the conversion of its errors to failures.
    pub fn new<E: Error + 'static>(
        name: Option<&'static str>,
        catch: impl Fn(&E) -> Failure + Send + Sync + 'static,
    ) -> Self {
        Self {
            id: TypeId::of::<E>(),
            type_name: std::any::type_name::<E>(),
            name,
            catch: Box::new(move |error| error.downcast_ref::<E>().map(&catch)),
        }
    }
}

impl fmt::Debug for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorType")
            .field("type", &self.type_name)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// An entry of the list, created at link time. `None` for a type that is not an error, such as a string.
#[derive(Debug)]
pub struct KnownError(pub fn() -> Option<ErrorType>);

inventory::collect!(KnownError);

static KNOWN: LazyLock<Vec<ErrorType>> = LazyLock::new(|| {
    let mut known = of_std();
    for entry in inventory::iter::<KnownError> {
        let Some(entry) = entry.0() else { continue };
        // Each function that returns the type enters it.
        if known.iter().all(|other| other.id != entry.id) {
            known.push(entry);
        }
    }
    known
});

/// The standard library's errors, by the paths under which they are imported.
fn of_std() -> Vec<ErrorType> {
    fn of<E: Error + 'static>(name: &'static str) -> ErrorType {
        ErrorType::new::<E>(Some(name), move |error| Failure::from_error(name, error))
    }
    vec![
        of::<std::io::Error>("std::io::Error"),
        of::<std::fmt::Error>("std::fmt::Error"),
        of::<std::num::ParseIntError>("std::num::ParseIntError"),
        of::<std::num::ParseFloatError>("std::num::ParseFloatError"),
        of::<std::num::TryFromIntError>("std::num::TryFromIntError"),
        of::<std::str::Utf8Error>("std::str::Utf8Error"),
        of::<std::string::FromUtf8Error>("std::string::FromUtf8Error"),
    ]
}

/// The name that a type's author gave it.
pub(super) fn name_of(id: TypeId) -> Option<&'static str> {
    KNOWN.iter().find(|known| known.id == id)?.name
}

/// The failure of an error, if its type is known. Ignores its causes.
#[must_use]
pub fn known_failure(error: &(dyn Error + 'static)) -> Option<Failure> {
    KNOWN.iter().find_map(|known| (known.catch)(error))
}

/// Checks the names that authors gave their types: no two types with the same name, and no name that a type cannot have.
///
/// # Errors
/// Names the types.
pub fn check_known_errors() -> Result<(), String> {
    check(&KNOWN)
}

fn check(known: &[ErrorType]) -> Result<(), String> {
    let mut named = BTreeMap::new();
    for entry in known {
        let Some(name) = entry.name else { continue };
        if name.is_empty()
            || name.contains('\0')
            || Kind::new(name) != name
            || name.starts_with(':')
            || name.ends_with(':')
        {
            return Err(format!(
                "`{}` is named {name:?}, which is not a valid name for an error type",
                entry.type_name
            ));
        }
        if let Some(other) = named.insert(name, entry.type_name) {
            return Err(format!(
                "the error types `{other}` and `{}` are both named {name:?}; give one of them another \
                 `Classify::KIND`",
                entry.type_name
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct A;
    #[derive(Debug)]
    struct B;

    impl fmt::Display for A {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a")
        }
    }

    impl fmt::Display for B {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("b")
        }
    }

    impl Error for A {}
    impl Error for B {}

    fn named<E: Error + 'static>(name: &'static str) -> ErrorType {
        ErrorType::new::<E>(Some(name), move |error| Failure::from_error(name, error))
    }

    #[test]
    fn no_two_types_have_one_name() {
        assert_eq!(check(&[named::<A>("shop.A"), named::<B>("shop.B")]), Ok(()));
        let error = check(&[named::<A>("shop.A"), named::<B>("shop.A")]).expect_err("both are shop.A");
        assert!(
            error.contains("tests::A") && error.contains("tests::B") && error.contains("shop.A"),
            "{error}"
        );
        for name in ["", "stent::A", "a\0", "::shop", "shop::"] {
            assert!(check(&[named::<A>(name)]).is_err(), "{name:?}");
        }
        assert_eq!(check_known_errors(), Ok(()));
    }

    #[test]
    fn an_error_of_the_standard_library_is_known_in_a_box() {
        let boxed: Box<dyn Error> = Box::new("x".parse::<u8>().expect_err("no number"));
        let failure = known_failure(&*boxed).expect("is known");
        assert_eq!(
            (failure.kind.as_str(), failure.message.as_str()),
            ("std::num::ParseIntError", "invalid digit found in string")
        );
        assert!(known_failure(&A).is_none());
    }
}
