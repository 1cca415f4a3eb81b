//! Compares everything observable in two stores.
//!
//! After each operation it compares the call's result, the lists of the whole store (every execution, every lane, all running
//! tasks), and, for each execution that the operation names or that changed in memory, its tasks, items, ended claims and
//! notes. Reading everything of every execution costs a hundred statements, so that happens after every few operations and at
//! the end. An unexpected change elsewhere is noticed then; after that, the list of operations is played again with everything
//! compared after each of them, so the report names the operation that caused it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use stent_core::backend::{Error, Filter};
use stent_core::limits::PAGE_MAX;
use stent_core::model::ExecutionStatus;
use stent_core::{ExecutionId, Timestamp};

use super::tally::Tally;
use crate::world::{Detail, World};

/// Operations between two complete comparisons.
const STRIDE: u32 = 24;

/// How much is compared after each operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// The data that the operation can have changed, and now and then everything.
    Quick,
    /// Everything.
    Thorough,
}

/// The last state of memory.
#[derive(Debug, Default)]
pub(super) struct Watch {
    details: BTreeMap<ExecutionId, Detail>,
    since_all: u32,
}

impl Watch {
    /// Compares after an operation at `now` that named some executions.
    pub(super) async fn compare(
        &mut self,
        (store, memory): (&World, &World),
        named: BTreeSet<ExecutionId>,
        now: Timestamp,
        pace: Pace,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let listed = listed(memory).await?;
        agree("the executions", &self::listed(store).await?, &listed)?;
        self.lanes_and_running((store, memory), now).await?;

        let changed = self.changed(memory, &listed, tally).await;
        self.since_all += 1;
        if pace == Pace::Thorough || self.since_all == STRIDE {
            self.since_all = 0;
            return self.all((store, memory)).await;
        }
        for execution in named.into_iter().chain(changed.keys().copied()).collect::<BTreeSet<_>>() {
            let expected = self.details.get(&execution).cloned().unwrap_or_default();
            let mut actual = store.detail_without_notes(execution).await;
            // Notes need their own statements, and seldom change.
            let is_said = changed.get(&execution).is_some_and(|notes| *notes);
            actual.notes = if is_said { store.notes(execution.root()).await } else { expected.notes.clone() };
            let differences = actual.differences(&expected);
            if !differences.is_empty() {
                return Err(differences.join("\n"));
            }
        }
        Ok(())
    }

    /// Compares everything that was ever sent, including what should be gone, and what operators read.
    pub(super) async fn all(&self, (store, memory): (&World, &World)) -> Result<(), String> {
        let differences = store.snapshot().await.differences(&memory.snapshot().await);
        if !differences.is_empty() {
            return Err(differences.join("\n"));
        }
        let (store, memory) = (store.store(), memory.store());
        agree(
            "the counts",
            &store.count(usize::MAX).await.map_err(say)?,
            &memory.count(usize::MAX).await.map_err(say)?,
        )?;
        let mut stats = [
            store.dead_letter_stats(usize::MAX).await.map_err(say)?,
            memory.dead_letter_stats(usize::MAX).await.map_err(say)?,
        ];
        stats.iter_mut().for_each(|stats| stats.sort_unstable());
        agree("the counts of dead letters", &stats[0], &stats[1])?;
        let before = self.details.keys().next_back().copied();
        for status in [None, Some(ExecutionStatus::Running), Some(ExecutionStatus::Failed)] {
            let mut filter = Filter::default().function("checkout");
            filter.status = status;
            let actual = store.list(&filter, before, 7).await.map_err(say)?;
            agree("a list", &actual, &memory.list(&filter, before, 7).await.map_err(say)?)?;
        }
        Ok(())
    }

    async fn lanes_and_running(
        &self,
        (store, memory): (&World, &World),
        now: Timestamp,
    ) -> Result<(), String> {
        let (store, memory) = (store.store(), memory.store());
        let mut lanes = [
            store.lanes(now, usize::MAX).await.map_err(say)?,
            memory.lanes(now, usize::MAX).await.map_err(say)?,
        ];
        for lanes in &mut lanes {
            lanes.retain(|view| view.due + view.delayed > 0);
            lanes.sort_by(|one, other| one.lane.cmp(&other.lane));
        }
        agree("the lanes", &lanes[0], &lanes[1])?;
        let mut running =
            [store.running(PAGE_MAX).await.map_err(say)?, memory.running(PAGE_MAX).await.map_err(say)?];
        running.iter_mut().for_each(|running| running.sort_by_key(|view| view.id));
        agree("what runs", &running[0], &running[1])
    }

    /// The executions that changed, including deleted ones, and whether their notes changed.
    async fn changed(
        &mut self,
        memory: &World,
        listed: &[stent_core::backend::ExecutionView],
        tally: &mut Tally,
    ) -> BTreeMap<ExecutionId, bool> {
        let mut before = std::mem::take(&mut self.details);
        let mut changed = BTreeMap::new();
        for view in listed {
            let now = memory.detail(view.id).await;
            let then = before.remove(&view.id).unwrap_or_default();
            if now != then {
                tally.changed(&then, &now);
                changed.insert(view.id, now.notes != then.notes);
            }
            self.details.insert(view.id, now);
        }
        changed.extend(before.into_keys().map(|gone| (gone, true)));
        changed
    }
}

/// Every execution in the store.
async fn listed(world: &World) -> Result<Vec<stent_core::backend::ExecutionView>, String> {
    world.store().list(&Filter::default(), None, PAGE_MAX).await.map_err(say)
}

pub(super) fn say(error: Error) -> String {
    error.to_string()
}

pub(super) fn agree<T: PartialEq + Debug>(what: &str, actual: &T, expected: &T) -> Result<(), String> {
    if actual == expected {
        return Ok(());
    }
    Err(format!("{what}\n{}", contrast(&format!("{actual:#?}"), &format!("{expected:#?}"))))
}

/// The lines in which two texts differ, from the first to the last, with a few lines before them.
fn contrast(actual: &str, expected: &str) -> String {
    const BEFORE: usize = 12;
    let (actual, expected): (Vec<_>, Vec<_>) = (actual.lines().collect(), expected.lines().collect());
    let shared =
        |one: &mut dyn Iterator<Item = (&&str, &&str)>| one.take_while(|(one, other)| one == other).count();
    let first = shared(&mut actual.iter().zip(&expected));
    let last = shared(&mut actual.iter().rev().zip(expected.iter().rev()))
        .min(actual.len().min(expected.len()) - first);
    let part = |name: &str, lines: &[&str]| {
        let lines = &lines[first..lines.len() - last];
        if lines.is_empty() {
            format!("  {name}: nothing")
        } else {
            format!("  {name}:\n{}", lines.join("\n"))
        }
    };
    let before = actual[first.saturating_sub(BEFORE)..first].join("\n");
    format!("{before}\n{}\n{}", part("expected, as memory says", &expected), part("actual", &actual))
}

#[cfg(test)]
mod tests {
    use super::contrast;

    #[test]
    fn only_what_differs_is_shown() {
        let shown = contrast("a\nb\nx\nc\nd", "a\nb\ny\nz\nc\nd");
        assert_eq!(shown, "a\nb\n  expected, as memory says:\ny\nz\n  actual:\nx");
        assert_eq!(contrast("a\na", "a"), "a\n  expected, as memory says: nothing\n  actual:\na");
    }
}
