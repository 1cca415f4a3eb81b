//! What a running function knows of its execution, and says about it.

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

/// The execution that the code runs in: its ids, and what the code says about it.
///
/// Counters, states and progress belong to the execution as a whole: any of its functions may write them, on any worker,
/// and [`Stent::notes`](crate::Stent::notes) reads them from outside while it runs. They are written with the function's
/// next commit, and at the latest a second later; a function that is run again, after a crash or for another attempt, does
/// not write again what it has written. What an attempt says within the last second before it fails is not written.
///
/// The closure of a [`step`](crate::step()) may say something, too. It is the step's: said once with the step's result, and
/// seen while the step runs. A step that runs again, because its process died, says it again.
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
/// [`Error::OutsideDurable`] when there is no durable function around.
pub fn execution() -> Result<Execution> {
    // The closure of a step may say things, too.
    let context = match StepClosure::current() {
        Some(_) => Context::around(),
        None => Some(Context::require("stent::execution")?),
    };
    let codec = context.as_ref().map_or_else(Codec::default, Context::codec);
    Ok(Execution { durable: context.and_then(Context::into_durable), codec })
}

/// A running function's execution: see [`execution`]. In a body that is run with [`local`](crate::Call::local), what it says
/// goes nowhere, and what could not be stored is refused all the same.
#[derive(Clone, Debug)]
pub struct Execution {
    durable: Option<Arc<Durable>>,
    codec: Codec,
}

impl Execution {
    /// The execution's id; nil in a body that is run with [`local`](crate::Call::local).
    #[must_use]
    pub fn id(&self) -> ExecutionId {
        self.durable
            .as_ref()
            .map_or_else(|| ExecutionId::from_uuid(Default::default()), |durable| durable.execution())
    }

    /// The id of the function's own task, which is the same in every attempt and every run, also if an earlier run was cut off
    /// before anything of it was recorded: a good key for services that take one. A function that is a step of another one
    /// keeps its id when the other is retried because of it; its own steps may then have new ones. Nil in a body that is run
    /// with [`local`](crate::Call::local).
    #[must_use]
    pub fn task(&self) -> TaskId {
        self.durable.as_ref().map_or_else(|| TaskId::from_uuid(Default::default()), |durable| durable.task)
    }

    /// Which attempt of the function this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.durable.as_ref().map_or(0, |durable| durable.attempts) + 1
    }

    /// A counter of the execution.
    #[must_use]
    pub fn counter(&self, name: impl Into<String>) -> Counter {
        Counter { execution: self.clone(), name: name.into() }
    }

    /// A state of the execution: a named value that people and programs may look at.
    #[must_use]
    pub fn state(&self, name: impl Into<String>) -> ExecutionState {
        ExecutionState { execution: self.clone(), name: name.into() }
    }

    /// Adds an entry to the execution's progress. The last 1,000 are kept. A zero character in it, which not every store can
    /// hold, becomes a `␀`.
    ///
    /// # Errors
    /// When the text is longer than 4,096 bytes.
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

/// A counter of an execution: a whole number that many tasks may add to at once.
#[derive(Clone, Debug)]
pub struct Counter {
    execution: Execution,
    name: String,
}

impl Counter {
    /// Adds to it. A counter that is new counts from zero.
    ///
    /// # Errors
    /// When the name does not fit.
    pub fn add(&self, add: i64) -> Result<()> {
        check_name("counter", &self.name)?;
        self.execution.note(Note::Count { name: self.name.clone(), add });
        Ok(())
    }

    /// Has it count from this value, unless it counts already.
    ///
    /// # Errors
    /// When the name does not fit.
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
    /// Sets it: the value that is committed last counts.
    ///
    /// # Errors
    /// When the name does not fit, or the value cannot be stored.
    pub fn set<T: Serialize>(&self, value: &T) -> Result<()> {
        self.write(value, |name, value| Note::Set { name, value })
    }

    /// Sets it, unless it is set already.
    ///
    /// # Errors
    /// As [`set`](Self::set).
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
