//! State that workers provide to functions: pools, clients, configuration. It is not stored.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use stent_core::{Codec, Failure, Kind, own_failure};

/// A parameter that the worker provides, not the caller.
///
/// ```
/// # use stent::prelude::*;
/// #[derive(Clone)]
/// struct Db;
///
/// #[durable]
/// async fn ship(parcel: u64, State(db): State<Db>) -> Result<(), String> {
///     let _: Db = db;
///     Ok(())
/// }
///
/// #[durable]
/// async fn track(parcel: u64, db: stent::State<Db>) -> Result<u64, String> {
///     let _: &Db = &db;
///     Ok(parcel)
/// }
/// # let _ = ship(1); // the caller passes the parcel only
/// ```
///
/// Use it like axum's extractor of the same name: destructure it in the argument list, or access the state through
/// `Deref`. In a file that imports axum's `State`, write the path `stent::State<Db>`; the attribute recognizes it too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State<T>(pub T);

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for State<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// The type of a state that a function needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateKey {
    id: TypeId,
    name: &'static str,
}

impl StateKey {
    /// The key of the type `T`.
    #[must_use]
    pub fn of<T: 'static>() -> Self {
        Self { id: TypeId::of::<T>(), name: std::any::type_name::<T>() }
    }

    /// The type's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// The states that one worker provides.
#[derive(Clone, Default)]
pub struct States(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl States {
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, state: T) {
        self.0.insert(TypeId::of::<T>(), Arc::new(state));
    }

    pub(crate) fn has(&self, key: &StateKey) -> bool {
        self.0.contains_key(&key.id)
    }

    /// Returns a copy of the state of this type.
    ///
    /// # Errors
    /// The worker does not have one. Workers check this when they start.
    pub fn get<T: Clone + Send + Sync + 'static>(&self) -> Result<State<T>, Failure> {
        let state = self.0.get(&TypeId::of::<T>()).and_then(|state| state.downcast_ref::<T>());
        state.cloned().map(State).ok_or_else(|| {
            own_failure(
                Kind::MISSING_STATE,
                format!("State<{}> is missing; add it with .state(…)", std::any::type_name::<T>()),
            )
            .fatal()
        })
    }
}

/// The environment of a body that runs in a unit test, without a store.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) states: States,
    /// Encodes arguments and results of functions and steps.
    pub(crate) codec: Codec,
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States").field("count", &self.0.len()).finish()
    }
}
