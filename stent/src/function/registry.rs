//! The functions that a process knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use stent_core::{Codec, Failure, Payload, check_known_errors};

use crate::error::{Error, Result};
use crate::function::fake::Fake;
use crate::function::state::{StateKey, States};
use crate::function::{BoxFuture, Function, FunctionOptions, Registration};

/// The functions that a [`Stent`](crate::Stent) knows, by their names in the store: `charge`, or `charge@2` for
/// `version = "2"`. A registry can hold several versions of one function, so that each finishes the work it started.
///
/// A `Stent` knows only its own registry, so two `Stent`s in one process share only the functions that both registries
/// contain.
///
/// The [default](Self::linked) registry contains every function in the program that is marked `#[durable]`. An explicit
/// registry contains only the functions that you add, and uses no global state:
///
/// ```
/// # use stent::prelude::*;
/// # #[durable] async fn charge(cents: u64) -> Result<u64, String> { Ok(cents) }
/// let registry = stent::Registry::new().with::<charge>();
/// assert_eq!(registry.names().collect::<Vec<_>>(), ["charge"]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Registry {
    functions: BTreeMap<&'static str, Registration>,
    duplicate: Option<(Registration, Registration)>,
    /// Bodies of a test, which run instead of those of the functions.
    fakes: BTreeMap<&'static str, Fake>,
}

impl Registry {
    /// Creates an empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns every function in the program that is marked `#[durable]`.
    #[must_use]
    pub fn linked() -> Self {
        inventory::iter::<Registration>
            .into_iter()
            .fold(Self::new(), |registry, function| registry.add(*function))
    }

    /// Adds a function. Adding it twice has no effect. A different function with the same name and version is an error
    /// when the registry is given to a [`Stent`](crate::Stent).
    #[must_use]
    pub fn with<F: Function>(self) -> Self {
        self.add(Registration::of::<F>())
    }

    /// The names of the functions, sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.functions.keys().copied()
    }

    /// The options of a function, by its name in the store.
    #[must_use]
    pub fn options(&self, name: &str) -> Option<FunctionOptions> {
        self.functions.get(name).map(|function| (function.options)())
    }

    fn add(mut self, function: Registration) -> Self {
        if let Some(known) = self.functions.get(function.name) {
            if (known.type_name)() != (function.type_name)() {
                self.duplicate.get_or_insert((*known, function));
            }
        } else {
            self.functions.insert(function.name, function);
        }
        self
    }

    pub(crate) fn validated(self) -> Result<Arc<Self>> {
        self.functions().try_for_each(Registration::validate)?;
        check_known_errors().map_err(|problem| Error::Option { option: "Classify::KIND", problem })?;
        match &self.duplicate {
            None => Ok(Arc::new(self)),
            Some((first, second)) => Err(Error::DuplicateName {
                name: first.name.to_owned(),
                first: (first.type_name)().to_owned(),
                second: (second.type_name)().to_owned(),
            }),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Registration> {
        self.functions.get(name).ok_or_else(|| Error::NotRegistered {
            function: name.to_owned(),
            known: self.names().map(str::to_owned).collect(),
        })
    }

    /// Adds a function with another body.
    pub(crate) fn with_fake(self, fake: Fake) -> Self {
        let mut registry = self.add(fake.function);
        registry.fakes.insert(fake.function.name, fake);
        registry
    }

    /// Calls the body of a function, or its fake.
    pub(crate) fn invoke(
        &self,
        name: &str,
        args: &Payload,
        states: &States,
        codec: Codec,
    ) -> Result<BoxFuture<'static, Result<Payload, Failure>>> {
        let function = self.get(name)?;
        Ok(match self.fakes.get(name) {
            Some(fake) => (fake.invoke)(args, codec),
            None => (function.invoke)(args, states, codec),
        })
    }

    /// The states that the body of a function needs; a fake needs none.
    pub(crate) fn needs(&self, function: &Registration) -> Vec<StateKey> {
        if self.fakes.contains_key(function.name) { Vec::new() } else { (function.needs)() }
    }

    pub(crate) fn functions(&self) -> impl Iterator<Item = &Registration> {
        self.functions.values()
    }
}
