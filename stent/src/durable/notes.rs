//! The running function's view of its execution, and the notes that it writes: counters, states and progress.

use std::sync::Arc;

use serde::Serialize;
use stent_core::limits::PROGRESS_BYTES_MAX;
use stent_core::model::Note;
use stent_core::{Codec, ExecutionId, TaskId, ZERO_PICTURE};

use crate::durable::closure::StepClosure;
use crate::durable::context::{Context, Durable};
use crate::engine::ids;
use crate::error::{Error, Result};
use crate::names::check_name;

/// Returns the execution that the calling code runs in, with its ids and access to its notes.
///
/// Counters, states and progress belong to the whole execution: any of its functions can write them, on any worker, and
/// [`Stent::notes`](crate::Stent::notes) reads them from outside while the execution runs. They are written with the
/// function's next commit, at the latest one second later. A function that runs again, after a crash or for another
/// attempt, does not write its notes again. Notes from the last second before an attempt fails are not written.
///
/// The closure of a [`step`](crate::step()) can write notes too. They belong to the step: they are visible while the
/// step runs and become permanent once, with its result. A step that runs again because its process died writes them
/// again.
///
/// ```
/// # use stent::prelude::*;
/// #[durable]
/// async fn import(lines: Vec<String>) -> Result<u64, stent::Error> {
///     let execution = stent::execution()?;
///     execution.state("phase").set(&"reading")?;
///     execution.counter("lines").add(lines.len() as i64)?;
///     execution.progress("read all lines")?;
///     Ok(lines.len() as u64)
/// }
/// ```
///
/// # Errors
/// [`Error::OutsideDurable`] outside a durable function.
pub fn execution() -> Result<Execution> {
    // The closure of a step can write notes too.
    let context = match StepClosure::current() {
        Some(_) => Context::around(),
        None => Some(Context::require("stent::execution")?),
    };
    let codec = context.as_ref().map_or_else(Codec::default, Context::codec);
    Ok(Execution { durable: context.and_then(Context::into_durable), codec })
}

/// The execution of a running function: see [`execution`]. In a body that runs with [`local`](crate::Call::local),
/// notes are discarded, but notes that could not be stored are still refused.
#[derive(Clone, Debug)]
pub struct Execution {
    durable: Option<Arc<Durable>>,
    codec: Codec,
}

impl Execution {
    /// The execution's id. Nil in a body that runs with [`local`](crate::Call::local).
    #[must_use]
    pub fn id(&self) -> ExecutionId {
        self.durable
            .as_ref()
            .map_or_else(|| ExecutionId::from_uuid(Default::default()), |durable| durable.execution())
    }

    /// The id of the function's own task. It is the same in every attempt and every replay, even if an earlier run
    /// crashed before anything was recorded, so it is a good idempotency key for external services. A function that
    /// runs as a step keeps its id when its parent is retried because of it; the steps of that function may then get
    /// new ids. Nil in a body that runs with [`local`](crate::Call::local).
    #[must_use]
    pub fn task(&self) -> TaskId {
        self.durable.as_ref().map_or_else(|| TaskId::from_uuid(Default::default()), |durable| durable.task)
    }

    /// The number of the function's current attempt, from 1. Attempts of a step by its own [retry policy](crate::Step::retry)
    /// are no attempts of its function: see [`step_attempt`](Self::step_attempt).
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.durable.as_ref().map_or(0, |durable| durable.attempts) + 1
    }

    /// In the closure of a [`step`](crate::step()), the number of the step's current attempt, from 1; elsewhere 1. An attempt
    /// that a crash interrupted has the same number when it runs again, and a step that a further attempt of its function runs
    /// again starts at 1.
    #[must_use]
    pub fn step_attempt(&self) -> u32 {
        StepClosure::current().map_or(1, |step| step.attempt())
    }

    /// Returns a counter of the execution.
    #[must_use]
    pub fn counter(&self, name: impl Into<String>) -> Counter {
        Counter { execution: self.clone(), name: name.into() }
    }

    /// Returns a state of the execution: a named value for people and programs to read.
    #[must_use]
    pub fn state(&self, name: impl Into<String>) -> ExecutionState {
        ExecutionState { execution: self.clone(), name: name.into() }
    }

    /// Appends an entry to the execution's progress, which keeps the last 1,000 entries. NUL characters, which some
    /// stores cannot hold, are replaced by `␀`.
    ///
    /// # Errors
    /// The text is longer than 4,096 bytes.
    pub fn progress(&self, text: impl Into<String>) -> Result<()> {
        let text = text.into().replace('\0', ZERO_PICTURE);
        if text.len() > PROGRESS_BYTES_MAX {
            let problem =
                format!("the entry is {} bytes long; at most {PROGRESS_BYTES_MAX} are allowed", text.len());
            return Err(Error::Option { option: "progress", problem });
        }
        self.note(Note::Progress { id: ids::task(), text });
        Ok(())
    }

    fn note(&self, note: Note) {
        let Some(durable) = &self.durable else { return };
        match StepClosure::current().and_then(|step| step.seq()) {
            Some(seq) => durable.replay(|replay| replay.note_in_step(seq, note)),
            None => durable.replay(|replay| replay.note(note)),
        }
    }
}

/// A counter of an execution: an integer that many tasks can add to concurrently.
#[derive(Clone, Debug)]
pub struct Counter {
    execution: Execution,
    name: String,
}

impl Counter {
    /// Adds to the counter. A new counter starts at zero.
    ///
    /// # Errors
    /// The name is invalid.
    pub fn add(&self, add: i64) -> Result<()> {
        check_name("counter", &self.name)?;
        self.execution.note(Note::Count { name: self.name.clone(), add });
        Ok(())
    }

    /// Starts the counter at this value, unless it exists.
    ///
    /// # Errors
    /// The name is invalid.
    pub fn init(&self, value: i64) -> Result<()> {
        check_name("counter", &self.name)?;
        self.execution.note(Note::CountFrom { name: self.name.clone(), value });
        Ok(())
    }
}

/// A state of an execution.
#[derive(Clone, Debug)]
pub struct ExecutionState {
    execution: Execution,
    name: String,
}

impl ExecutionState {
    /// Sets the state. The last committed value wins.
    ///
    /// # Errors
    /// The name is invalid, or the value cannot be stored.
    pub fn set<T: Serialize>(&self, value: &T) -> Result<()> {
        self.write(value, |name, value| Note::Set { name, value })
    }

    /// Sets the state, unless it is set already.
    ///
    /// # Errors
    /// Those of [`set`](Self::set).
    pub fn init<T: Serialize>(&self, value: &T) -> Result<()> {
        self.write(value, |name, value| Note::SetFrom { name, value })
    }

    fn write<T: Serialize>(&self, value: &T, note: fn(String, stent_core::Payload) -> Note) -> Result<()> {
        check_name("state", &self.name)?;
        if let Some(durable) = &self.execution.durable {
            let value = durable.engine.encode_for_any(value, || format!("state `{}`", self.name))?;
            self.execution.note(note(self.name.clone(), value));
            return Ok(());
        }
        let refused = |source| Error::Codec { what: format!("state `{}`", self.name), source };
        self.execution.codec.encode_for_any(value).map(drop).map_err(refused)
    }
}
