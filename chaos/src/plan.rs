//! The executions and their expected results: the dispatcher and the judge derive both from the seed alone.

use std::time::Duration;

use stent::prelude::*;
use stent::{Error, ExecutionId};

use crate::chance::Chance;
use crate::faults::Backend;
use crate::ledger::Place;
use crate::programs::{self, grown, weighed};

/// An execution before it is dispatched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) number: u64,
    pub(crate) program: Program,
    pub(crate) value: u64,
    /// When it is cancelled, after its dispatch.
    pub(crate) cancel_after: Option<Duration>,
    /// When its signal is sent, after its dispatch, and the value.
    pub(crate) signal: Option<(Duration, u64)>,
    /// The action of the dispatcher if its dispatch is not confirmed.
    pub(crate) when_refused: WhenRefused,
    /// How long the dispatcher waits before the next one.
    pub(crate) pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenRefused {
    /// Dispatches again under the same id until it is confirmed.
    Insist,
    /// Gives it up: the execution may or may not exist.
    Leave,
}

/// The function, and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Pulse,
    Chain { steps: u32 },
    Fork,
    Nest,
    Fan { items: u64 },
    Race,
    Photo,
    Wait,
    Stumble,
    Doom,
    Post,
    Inline,
    Plod { millis: u64 },
    Squeeze { items: u64 },
    March { items: u64 },
    Share { key: u64 },
    Linger { rounds: u32 },
    Parent,
}

/// How an execution must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Value(u64),
    OneOf([u64; 2]),
    /// The result of a run under this key.
    Shared(u64),
    Failure(&'static str),
}

/// Numbers of pulses begin here: single steps that are dispatched repeatedly, to see how soon the store answers.
pub(crate) const PULSES: u64 = 1_000_000;

/// The number of executions after which calls use the next key.
const KEY_FOR: u64 = 60;

impl Plan {
    pub(crate) fn of(backend: Backend, seed: u64, number: u64) -> Self {
        let mut chance = Chance::of(seed, number);
        let value = chance.within(0..1 << 40);
        let mut plan = Self {
            number,
            program: Program::Pulse,
            value,
            cancel_after: None,
            signal: None,
            when_refused: WhenRefused::Insist,
            pause: Duration::from_millis(chance.within(10..90)),
        };
        if number >= PULSES {
            plan.when_refused = WhenRefused::Leave;
            return plan;
        }
        plan.program = match chance.within(0..20) {
            0 => Program::Chain { steps: chance.within(3..9) as u32 },
            1 => Program::Fork,
            2 => Program::Nest,
            3 => Program::Fan { items: chance.within(2..12) },
            4 => Program::Race,
            5 => Program::Photo,
            6 | 7 => Program::Wait,
            8 => Program::Stumble,
            9 => Program::Doom,
            // Redis has no transactions of the application.
            10 | 11 if backend == Backend::Redis => Program::Inline,
            10 | 11 => Program::Post,
            12 => Program::Inline,
            13 => Program::Plod { millis: chance.within(300..3_000) },
            14 => Program::Squeeze { items: chance.within(2..7) },
            15 => Program::March { items: chance.within(2..13) },
            16 | 17 => Program::Share { key: number / KEY_FOR },
            18 => Program::Linger { rounds: chance.within(2..60) as u32 },
            _ => Program::Parent,
        };
        match plan.program {
            // Before, during and after the step that precedes the wait.
            Program::Wait => {
                let after = Duration::from_millis(chance.within(0..2_000));
                plan.signal = Some((after, chance.within(1..1 << 40)));
            }
            Program::Linger { .. } if !chance.one_in(4) => {
                plan.cancel_after = Some(Duration::from_millis(chance.within(0..4_000)));
            }
            _ if chance.one_in(3) => plan.when_refused = WhenRefused::Leave,
            _ => {}
        }
        plan
    }

    pub(crate) fn place(&self) -> Place {
        Place::root(self.number)
    }

    /// The children that it starts.
    pub(crate) fn children(&self) -> Vec<Place> {
        if self.program != Program::Parent {
            return Vec::new();
        }
        ['a', 'b'].map(|which| programs::child(&self.place(), which)).into()
    }

    /// How it must end, unless it was cancelled before.
    pub(crate) fn end(&self) -> End {
        let value = self.value;
        End::Value(match self.program {
            Program::Pulse => grown(value),
            Program::Chain { steps } => times(value, steps),
            Program::Fork => {
                let first = grown(value);
                grown((1..=3).map(|n| grown(first + n)).fold(0, u64::wrapping_add))
            }
            Program::Nest => {
                let first = times(value, 3);
                times(first, 2).wrapping_add(times(first + 1, 2))
            }
            Program::Fan { items } => grown(map(grown(value), items)),
            Program::Race => times(value, 3),
            Program::Photo => return End::OneOf([times(value, 2), grown(value)]),
            Program::Wait => grown(grown(value).wrapping_add(self.signal.map_or(0, |(_, sent)| sent))),
            Program::Stumble => {
                let second = times(value, 2);
                grown(second).wrapping_add(grown(second + 1))
            }
            Program::Doom => return End::Failure(programs::DOOM),
            Program::Post => times(value, 4),
            Program::Inline => times(value, 4),
            Program::Plod { .. } => grown(grown(value).wrapping_add(grown(value + 1))),
            Program::Squeeze { items } | Program::March { items } => grown(map(value, items)),
            Program::Share { key } => return End::Shared(key),
            Program::Linger { rounds } => times(value, rounds),
            Program::Parent => times(value, 3),
        })
    }

    pub(crate) async fn dispatch(&self, stent: &Stent, id: ExecutionId) -> Result<(), Error> {
        let (place, value) = (self.place(), self.value);
        match self.program {
            Program::Pulse => stent.dispatch(programs::leaf(place, value)).id(id).await,
            Program::Chain { steps } => stent.dispatch(programs::chain(place, value, steps)).id(id).await,
            Program::Fork => stent.dispatch(programs::fork(place, value)).id(id).await,
            Program::Nest => stent.dispatch(programs::nest(place, value)).id(id).await,
            Program::Fan { items } => stent.dispatch(programs::fan(place, value, items)).id(id).await,
            Program::Race => stent.dispatch(programs::race(place, value)).id(id).await,
            Program::Photo => stent.dispatch(programs::photo(place, value)).id(id).await,
            Program::Wait => stent.dispatch(programs::wait(place, value)).id(id).await,
            Program::Stumble => stent.dispatch(programs::stumble(place, value)).id(id).await,
            Program::Doom => stent.dispatch(programs::doom(place, value)).id(id).await,
            Program::Post => stent.dispatch(programs::post(place, value)).id(id).await,
            Program::Inline => stent.dispatch(programs::inline(place, value)).id(id).await,
            Program::Plod { millis } => stent.dispatch(programs::plod(place, value, millis)).id(id).await,
            Program::Squeeze { items } => stent.dispatch(programs::squeeze(place, value, items)).id(id).await,
            Program::March { items } => stent.dispatch(programs::march(place, value, items)).id(id).await,
            Program::Share { key } => stent.dispatch(programs::share(place, key)).id(id).await,
            Program::Linger { rounds } => stent.dispatch(programs::linger(place, value, rounds)).id(id).await,
            Program::Parent => stent.dispatch(programs::parent(place, value)).id(id).await,
        }
        .map(drop)
    }
}

fn times(value: u64, times: u32) -> u64 {
    (0..times).fold(value, |value, _| grown(value))
}

fn map(first: u64, items: u64) -> u64 {
    weighed(&(0..items).map(|item| grown(first + item)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_plans_again_and_every_program_is_among_a_few_hundred() {
        for (backend, programs) in [(Backend::Sqlite, 17), (Backend::Postgres, 17), (Backend::Redis, 16)] {
            let plans = |seed| (0..400).map(|number| Plan::of(backend, seed, number)).collect::<Vec<_>>();
            assert_eq!(plans(3), plans(3));
            assert_ne!(plans(3), plans(4));
            let names: std::collections::BTreeSet<_> = plans(3)
                .iter()
                .map(|plan| format!("{:?}", plan.program).split(' ').next().unwrap_or_default().to_owned())
                .collect();
            assert_eq!(names.len(), programs, "{backend}: {names:?}");
            assert_eq!(Plan::of(backend, 3, PULSES).program, Program::Pulse);
        }
    }
}
