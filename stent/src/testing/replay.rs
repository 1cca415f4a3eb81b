//! Replays a recorded execution against the code of the test. Runs no step, and needs no store but memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use stent_core::backend::{ExecutionView, ExportRecord, TaskView};
use stent_core::model::{Mark, Step, StepKind, StepState, TaskStatus, Tree};
use stent_core::{ExecutionId, Failure, Kind, Payload, TaskId};

use super::record_store::RecordStore;
use super::recording::{IntoRecording, Recording};
use crate::engine::connect;
use crate::error::{Error, Result};
use crate::function::BoxFuture;
use crate::function::registry::Registry;
use crate::function::state::States;
use crate::stent::Stent;
use crate::worker::rehearsal::{Part, Rehearsed, Stage};

/// Replays a recorded execution against the code of this program, and fails with the difference: so a test finds a
/// change that would strand the executions that are in progress when it is deployed.
///
/// Record executions with [`Recording::of`] or [`Inspector::export`](crate::Inspector::export), and keep the files with the
/// tests. A recording of an execution in progress is as good as one that has ended.
///
/// ```no_run
/// # async fn example() -> Result<(), stent::testing::ReplayError> {
/// # const CHECKOUT: &str = "";
/// // const CHECKOUT: &str = include_str!("recordings/checkout.jsonl");
/// stent::testing::replay(CHECKOUT).await?;
/// # Ok(())
/// # }
/// ```
///
/// Each function of the execution that has steps is run from its first line, and gets the results of its steps from the
/// recording, in the recorded order. These are differences:
///
/// - The code asks for another step than the recorded one: its kind, its name, its arguments or, for a map, its items.
/// - The code ends without a recorded step, or fails where the recorded code went on.
/// - Recorded arguments do not decode as the parameters of a function, or a recorded result does not decode as the
///   type that the code expects.
/// - A function is not registered.
///
/// No step runs: neither functions without steps of their own, nor closures of steps, nor transactions. A replay ends
/// where the code asks for a step that is not recorded, so steps that were added at the end are no difference. Code
/// between the steps does run, as in any replay, and so does code after the last step.
///
/// A completed execution is replayed as the executions that run now would be. The result of the replay is not compared
/// with the recorded one: a changed result strands nothing.
pub fn replay(recording: impl IntoRecording) -> Replay {
    Replay { recording: recording.into_recording(), registry: None, states: States::default() }
}

/// A replay of a recording: see [`replay`](replay()). It runs when it is awaited.
#[must_use = "a replay does nothing until it is awaited"]
#[derive(Debug)]
pub struct Replay {
    recording: Result<Recording, ReplayError>,
    registry: Option<Registry>,
    states: States,
}

impl Replay {
    /// Replays the code of these functions instead of every function that is linked into the test.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Provides a state to the functions that ask for it with [`State<T>`](crate::State).
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, state: T) -> Self {
        self.states.insert(state);
        self
    }

    async fn run(self) -> Result<Replayed, ReplayError> {
        let recording = self.recording?;
        let record = Record::of(&recording)?;
        let store = connect::store("memory:").await.map_err(ReplayError::Start)?;
        let store = Arc::new(RecordStore::new(store, recording.parts()));
        let mut options = Stent::builder();
        if let Some(registry) = self.registry {
            options = options.registry(registry);
        }
        let stent = options.open(store.clone()).await.map_err(ReplayError::Start)?;
        let stage = Stage::new(stent.engine(), self.states);

        let execution = record.execution;
        let code = Code { record, store, registry: stent.engine().registry.clone(), stage };
        let mut replayed = Replayed { execution: execution.id, functions: 0, steps: 0 };
        let mut differences = Vec::new();
        for (task, args) in &code.record.calls {
            match code.replay(task, *args).await {
                Ok(steps) => {
                    replayed.functions += usize::from(steps > 0);
                    replayed.steps += steps;
                }
                Err(problem) => {
                    differences.push(Difference { task: task.id, function: task.name.clone(), problem });
                }
            }
        }
        if differences.is_empty() {
            return Ok(replayed);
        }
        let function = execution.function.clone();
        Err(ReplayError::Differs { execution: execution.id, function, differences })
    }
}

/// Today's code, and the recording that it is compared with.
struct Code<'a> {
    record: Record<'a>,
    store: Arc<RecordStore>,
    registry: Arc<Registry>,
    stage: Stage,
}

impl Code<'_> {
    /// Replays a call if it has steps, and returns how many.
    ///
    /// # Errors
    /// The difference.
    async fn replay(&self, task: &TaskView, args: Option<&Payload>) -> Result<usize, String> {
        let function = match self.registry.get(&task.name) {
            Ok(function) => function,
            // A step that has ended needs its function no more.
            Err(_) if task.status.is_terminal() && task.parent.is_some() => return Ok(0),
            Err(error) => return Err(error.to_string()),
        };
        let args = args.cloned().or_else(|| self.store.item_args(task.parent?, task.seq));
        let args = args.ok_or("its arguments are missing in the recording")?;
        if let Err(error) = (function.digest)(&args) {
            return Err(format!(
                "its recorded arguments do not decode as its parameters: {error}; accept the old form, for example \
                 with #[serde(default)], or give the function a version"
            ));
        }
        let steps = self.record.steps_of(task, &self.registry);
        let count = steps.len();
        if count == 0 {
            return Ok(0);
        }
        let execution = self.record.execution.id;
        let part = Part {
            task: task.id,
            tree: task.parent.map_or_else(|| Tree::root(execution), |parent| Tree::step(execution, parent)),
            function: task.name.clone(),
            attempts: task.attempts,
            started_at: task.started_at.unwrap_or(task.created_at),
            // A failed call would continue as a redriven dead letter.
            redriven: task.status == TaskStatus::Failed || task.marks.contains(Mark::Redrive),
            args,
            steps,
        };
        match problem(task, self.stage.rehearse(&part).await) {
            Some(problem) => Err(problem),
            None => Ok(count),
        }
    }
}

impl IntoFuture for Replay {
    type Output = Result<Replayed, ReplayError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// A recording that the code agrees with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// The recorded execution.
    pub execution: ExecutionId,
    /// How many calls of functions with steps were replayed.
    pub functions: usize,
    /// How many recorded steps they have.
    pub steps: usize,
}

/// The code and a recording disagree, or the recording cannot be replayed.
///
/// Its `Debug` form is its text, so that a test that returns it, or unwraps it, shows the difference.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The recording is not a whole export.
    #[error(
        "this recording cannot be replayed: {problem}; record it again, with Recording::of(&stent, id) or \
         stent.inspect().export(id)"
    )]
    Unreadable {
        /// The problem.
        problem: String,
    },
    /// The functions of the test cannot be used.
    #[error("the functions of this test cannot be used: {0}")]
    Start(Error),
    /// The code differs from the recording.
    #[error("{}", differs(*.execution, .function, .differences))]
    #[non_exhaustive]
    Differs {
        /// The recorded execution.
        execution: ExecutionId,
        /// Its function.
        function: String,
        /// The differences, at most one for each call of a function.
        differences: Vec<Difference>,
    },
}

impl fmt::Debug for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A difference between a function's code and its record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The task.
    pub task: TaskId,
    /// Its function.
    pub function: String,
    /// The difference, as a worker would report it.
    pub problem: String,
}

fn differs(execution: ExecutionId, function: &str, differences: &[Difference]) -> String {
    let mut text = format!(
        "this code cannot continue execution {execution} of `{function}`; executions that have come as far would fail"
    );
    for Difference { task, function, problem } in differences {
        text.push_str(&format!("\n\n`{function}` (task {task}): {problem}"));
    }
    text
}

/// What is wrong with code that came so far.
fn problem(task: &TaskView, rehearsed: Rehearsed) -> Option<String> {
    match rehearsed {
        Rehearsed::Waits | Rehearsed::Ended { result: Ok(_), .. } => None,
        Rehearsed::Stuck => Some(
            "the code awaits non-durable work before it asks for the next recorded step, and that work did not end; \
             wrap it in stent::step(…)"
                .to_owned(),
        ),
        Rehearsed::Ended { result: Err(failure), has_unasked } => {
            let came = match task.status {
                _ if failure.kind == Failure::MISMATCH => return Some(failure.message),
                TaskStatus::Completed => "completed",
                _ if has_unasked => "asked for further steps",
                _ if is_of_the_code(&failure) => "did not fail so",
                _ => return None,
            };
            Some(format!("the code fails here, and the recorded code {came}: {failure}"))
        }
    }
}

/// Whether the failure shows that the code does not fit its record, whatever the record says.
fn is_of_the_code(failure: &Failure) -> bool {
    [Kind::CODEC, Kind::NOT_REGISTERED, Kind::MISSING_STATE].iter().any(|kind| failure.kind == *kind)
}

/// A recorded task with its arguments.
type Recorded<'a> = (&'a TaskView, Option<&'a Payload>);

/// The parts of a recording, by task.
struct Record<'a> {
    execution: &'a ExecutionView,
    /// Calls of functions, with their arguments.
    calls: Vec<Recorded<'a>>,
    /// The recorded steps of each call.
    steps: BTreeMap<TaskId, Vec<&'a Step>>,
    /// The tasks below each call.
    below: BTreeMap<TaskId, Vec<Recorded<'a>>>,
}

impl<'a> Record<'a> {
    fn of(recording: &'a Recording) -> Result<Self, ReplayError> {
        let unreadable = |problem: &str| ReplayError::Unreadable { problem: problem.to_owned() };
        let execution =
            recording.execution().ok_or_else(|| unreadable("it does not begin with an execution"))?;
        let mut record =
            Self { execution, calls: Vec::new(), steps: BTreeMap::new(), below: BTreeMap::new() };
        let mut is_whole = false;
        for part in recording.parts() {
            match part {
                ExportRecord::Task { task, args } => {
                    let args = args.as_ref();
                    if task.kind == StepKind::Call {
                        record.calls.push((task, args));
                    }
                    if let Some(parent) = task.parent {
                        record.below.entry(parent).or_default().push((task, args));
                    }
                }
                ExportRecord::Step { parent, step } => {
                    record.steps.entry(*parent).or_default().push(step);
                }
                ExportRecord::Notes(notes) => {
                    is_whole = true;
                    if !notes.summary.is_empty() {
                        return Err(unreadable(
                            "the execution's steps were compacted by a retention, and only their numbers are left",
                        ));
                    }
                }
                _ => {}
            }
        }
        if !is_whole {
            return Err(unreadable("it is cut short: its last part, the notes, is missing"));
        }
        if record.calls.is_empty() {
            return Err(unreadable("it has no tasks"));
        }
        Ok(record)
    }

    /// The recorded steps of a call: completed ones in the order of their completion, then the others by position.
    fn steps_of(&self, task: &TaskView, registry: &Registry) -> Vec<Step> {
        let recorded = self.steps.get(&task.id).map_or(&[][..], Vec::as_slice);
        let mut steps: Vec<Step> = recorded.iter().map(|step| (*step).clone()).collect();
        let known: BTreeSet<TaskId> = recorded.iter().map(|step| step.id).collect();
        let below = self.below.get(&task.id).into_iter().flatten();
        let others = below.filter(|(below, _)| !known.contains(&below.id));
        steps.extend(others.map(|(below, args)| {
            let state = match below.status {
                TaskStatus::Cancelled => StepState::Cancelled,
                // A step that has ended without its result in the export ended during the export.
                _ => StepState::Open { due: below.ready_at.filter(|_| below.kind == StepKind::Sleep) },
            };
            // The export has no digest of an open call.
            let function = registry.get(&below.name).ok().filter(|_| below.kind == StepKind::Call);
            let digest = function.zip(*args).and_then(|(function, args)| (function.digest)(args).ok()?);
            Step {
                id: below.id,
                seq: below.seq,
                kind: below.kind,
                name: below.name.clone(),
                state,
                map: below.map,
                digest,
            }
        }));
        steps.sort_by_key(|step| (step.order().unwrap_or(u32::MAX), step.seq));
        steps
    }
}
