//! Mismatches: code that asks for something other than its record contains.

use std::fmt;

use super::{Ask, MapWindow, StepSpec};
use crate::excerpt::{args_of, around_difference};
use crate::limits::{EXCERPT_BYTES_MAX, EXCERPT_ITEMS_MAX};
use crate::model::{Seq, Step, StepKind, StepState, split_version};
use crate::{Digest, ExecutionId, Failure, Payload, TaskId, own_failure};

/// The code and its record disagree. Nothing is appended to such a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The position.
    pub seq: Seq,
    /// The recorded step at this position.
    pub recorded: String,
    /// The step that the code asks for; `None` if the code ended without it.
    pub asked: Option<String>,
    /// The source location of the request.
    pub location: Option<String>,
    /// The difference.
    pub difference: Difference,
    /// Whether the arguments may be the recorded ones in another order, as those with a `HashSet` are; `None` until they are
    /// compared in readable form.
    pub reordered: Option<bool>,
}

/// The difference between the code and its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The kind of the step, its name, or whether there is a step.
    Step,
    /// The arguments of the same step.
    Args {
        /// The task with the recorded arguments.
        of: TaskId,
        /// The code's arguments in readable form.
        asked: String,
    },
    /// Arguments or items that are sealed in the store, and so not shown.
    Sealed,
    /// The items of the same map.
    Items {
        /// The map.
        of: TaskId,
        /// The first items of the code, in readable form.
        asked: Vec<String>,
    },
}

/// The code's pass over the items that its map was fed before.
#[derive(Clone, Debug)]
pub struct Walk {
    /// The function that the map calls for each item.
    pub name: &'static str,
    /// The source location of the map.
    pub location: &'static std::panic::Location<'static>,
    /// The number of items, at most as many as were fed.
    pub items: u32,
    /// Whether there are more items, although the map was fed all of its items before.
    pub more: bool,
    /// The digest of these items; `None` if they are not compared.
    pub digest: Option<Digest>,
    /// The arguments of the first items, up to [`EXCERPT_ITEMS_MAX`].
    pub first: Vec<Payload>,
}

/// Whether the digests of a step and of a request can be compared: those of different versions of a function cannot, because
/// their parameters may differ.
pub(super) fn is_comparable(step: &Step, ask: &Ask) -> bool {
    step.name == ask.name
}

/// The replacement for arguments that the store has sealed: the failure that a mismatch becomes is not sealed.
const SEALED: &str = "(arguments are sealed in this store, and not shown)";

impl Mismatch {
    pub(super) fn between(step: &Step, ask: &Ask, is_sealed: bool) -> Option<Self> {
        // Another version of a function is the same step: a recorded result stays, and an open step continues as it was
        // requested.
        let same_name = match ask.kind() {
            StepKind::Call | StepKind::Map | StepKind::Gather | StepKind::Spawn => {
                split_version(&step.name).0 == split_version(&ask.name).0
            }
            StepKind::Sleep | StepKind::Inline | StepKind::Signal | StepKind::Join => step.name == ask.name,
        };
        let mismatch = |recorded, asked, difference| Self {
            seq: step.seq,
            recorded,
            asked: Some(asked),
            location: Some(ask.location.to_string()),
            difference,
            reordered: None,
        };
        if step.kind != ask.kind() || !same_name {
            let asked = format!("{} `{}`", ask.kind(), ask.name);
            return Some(mismatch(step.described(), asked, Difference::Step));
        }
        let (Some(recorded), Some(asked)) = (step.digest, ask.digest) else { return None };
        if recorded == asked || !is_comparable(step, ask) {
            return None;
        }
        let (asked, difference) = if is_sealed {
            (format!("{} `{}` {SEALED}", ask.kind(), ask.name), Difference::Sealed)
        } else {
            let text = ask.args();
            let asked = format!("{} `{}{text}`", ask.kind(), ask.name);
            (asked, Difference::Args { of: step.of_args(), asked: text })
        };
        Some(mismatch(format!("{} with other arguments", step.described()), asked, difference))
    }

    pub(super) fn walked(
        seq: Seq,
        map: TaskId,
        kind: StepKind,
        recorded: &MapWindow,
        walk: Walk,
        is_sealed: bool,
    ) -> Option<Self> {
        let fed = recorded.progress().fed;
        let differs =
            matches!((recorded.digest, walk.digest), (Some(recorded), Some(now)) if recorded != now);
        let Walk { name, location, items, more, first, .. } = walk;
        if items == fed && !more && !differs {
            return None;
        }
        let with = |items: u32, more| {
            format!("{kind} `{name}` over {items}{} items", if more { " or more" } else { "" })
        };
        let (all, now) =
            (with(fed, recorded.progress().total.is_none()), with(items + u32::from(more), more));
        let now = if items == fed && !more { format!("{kind} `{name}` over other items") } else { now };
        let (now, difference) = if is_sealed {
            (format!("{now} {SEALED}"), Difference::Sealed)
        } else {
            let asked = first.iter().take(EXCERPT_ITEMS_MAX).map(shown).collect();
            (now, Difference::Items { of: map, asked })
        };
        let (asked, location) = (Some(now), Some(location.to_string()));
        Some(Self { seq, recorded: all, asked, location, difference, reordered: None })
    }

    /// Whether the only difference is in the arguments of a failed step.
    pub(super) const fn is_of_a_failure(&self, step: &Step) -> bool {
        matches!(self.difference, Difference::Args { .. } | Difference::Sealed)
            && matches!(step.state, StepState::Done { result: Err(_), .. })
    }

    pub(super) fn never_asked(step: &Step) -> Self {
        Self {
            seq: step.seq,
            recorded: step.described(),
            asked: None,
            location: None,
            difference: Difference::Step,
            reordered: None,
        }
    }

    /// Whether the code's arguments differ from these recorded ones in readable form. Arguments that differ only in their
    /// idempotency keys do not. True if this is no mismatch of one call's arguments.
    #[must_use]
    pub fn differs_visibly(&self, recorded: &Payload) -> bool {
        !matches!(&self.difference, Difference::Args { asked, .. } if *asked == shown(recorded))
    }

    /// Whether the order of a set may be all that differs: also of arguments that are sealed, and of those that could not be
    /// compared.
    fn may_be_of_a_set(&self) -> bool {
        self.difference != Difference::Step && self.reordered.unwrap_or(true)
    }

    /// The mismatch with the recorded data in readable form, truncated if it is long: the arguments of the task that its
    /// difference names, or of the first items of the map. `None` entries no longer exist; an error says why they could not be
    /// read.
    #[must_use]
    pub fn shown(mut self, recorded: Result<&[Option<Payload>], &str>) -> Self {
        let Some(asked_for) = &mut self.asked else { return self };
        let recorded = match recorded {
            Ok(recorded) => recorded,
            Err(error) => {
                self.recorded.push_str(&format!(", which could not be read: {error}"));
                return self;
            }
        };
        match &self.difference {
            Difference::Step | Difference::Sealed => {}
            Difference::Args { asked, .. } => {
                let Some(Some(payload)) = recorded.first() else {
                    self.recorded.push_str(", which no longer exist");
                    return self;
                };
                let recorded = shown(payload);
                self.reordered = Some(is_reordered(&recorded, asked));
                let [was, is] = around_difference(&recorded, asked);
                let step =
                    self.recorded.split_once("` with").map_or(self.recorded.as_str(), |(step, _)| step);
                self.recorded = format!("{step}{was}`");
                if let Some(at) = asked_for.find(asked.as_str()) {
                    asked_for.replace_range(at.., &format!("{is}`"));
                }
                if was == is {
                    asked_for.push_str(&format!(
                        " (equal as far as shown: the idempotency keys differ, or the arguments differ after \
                         {EXCERPT_BYTES_MAX} bytes)"
                    ));
                }
            }
            Difference::Items { asked, .. } => {
                let was = recorded.iter().map(|item| item.as_ref().map(shown));
                let differing = (0..).zip(was.zip(asked)).find(|(_, (was, is))| was.as_ref() != Some(is));
                match differing {
                    Some((n, (was, is))) => {
                        self.reordered = was.as_ref().map(|was| is_reordered(was, is));
                        let was = was.unwrap_or_else(|| "(no longer exists)".to_owned());
                        let [was, is] = around_difference(&was, is);
                        self.recorded.push_str(&format!(", item {n}: {was}"));
                        asked_for.push_str(&format!(", item {n}: {is}"));
                    }
                    None if asked.len() >= EXCERPT_ITEMS_MAX => {
                        asked_for.push_str(&format!(", of which the first {} are equal", asked.len()));
                    }
                    None => {}
                }
            }
        }
        self
    }
}

/// Whether both have lists, and the same characters in another order. Texts that were cut may continue so.
fn is_reordered(was: &str, is: &str) -> bool {
    let sorted = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.sort_unstable();
        bytes
    };
    let is_cut = was.ends_with('…') || is.ends_with('…');
    was.contains('[') && is.contains('[') && (is_cut || (was != is && sorted(was) == sorted(is)))
}

/// Arguments in readable form.
fn shown(payload: &Payload) -> String {
    args_of(payload).unwrap_or_else(|error| format!("(unreadable: {error})"))
}

impl Ask {
    /// The requested arguments in readable form.
    fn args(&self) -> String {
        match &self.what {
            StepSpec::Call { spec, .. } => shown(&spec.args),
            StepSpec::Spawn { root } => shown(&root.args),
            StepSpec::Join { execution } => format!("(\"{execution}\")"),
            StepSpec::Sleep { .. }
            | StepSpec::Inline
            | StepSpec::Map
            | StepSpec::Gather
            | StepSpec::Signal { .. } => String::new(),
        }
    }
}

impl Step {
    /// The task that has the step's arguments: for a spawn, the execution that it started.
    fn of_args(&self) -> TaskId {
        match (&self.state, self.kind) {
            (StepState::Done { result: Ok(id), .. }, StepKind::Spawn) => {
                id.decode::<ExecutionId>().map_or(self.id, ExecutionId::root)
            }
            _ => self.id,
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the code does not match its record at step {}", self.seq)?;
        writeln!(f, "  - recorded: {}", self.recorded)?;
        match &self.asked {
            Some(asked) => write!(f, "  + the code:  {asked}")?,
            None => write!(f, "  + the code:  ended without this step")?,
        }
        if let Some(location) = &self.location {
            write!(f, "\n    at {location}")?;
        }
        write!(
            f,
            "\nThe function was changed while this execution was in progress, or its code is not deterministic (the \
             clock, random numbers, a hash map's order, tokio's unbiased select!)."
        )?;
        if self.may_be_of_a_set() {
            write!(
                f,
                "\nA HashSet in an argument has another order in each run: use a BTreeSet, or mark the called \
                 function with #[durable(unchecked_args)] so that its arguments are not compared."
            )?;
        }
        Ok(())
    }
}

impl From<&Mismatch> for Failure {
    fn from(mismatch: &Mismatch) -> Self {
        own_failure(Self::MISMATCH, mismatch.to_string()).fatal()
    }
}
