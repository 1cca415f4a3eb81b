//! Transitions to send, and their grouping into units. No result of a turn is ever dropped here: a failed unit is sent
//! again in smaller units until its submissions are committed, or until the loop learns their fate.
//!
//! ```text
//! push ─► queue ─► a unit ─► an exchange ─┬─► it is committed
//!           ▲                             ├─► it failed, with others: each is sent with half as many
//!           └─────────────────────────────┘
//!                  aside ◄────────────────── it failed alone: it is sent later, and delays nothing else
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use stent_core::TaskId;
use stent_core::backend::ErrorKind;
use stent_core::limits::{EXCHANGE_BYTES_MAX, EXCHANGE_ROWS_MAX, EXCHANGE_TRANSITIONS_MAX};
use stent_core::transition::Next;
use tokio::time::Instant;

use super::exchange::{RETRY_PAUSE_MIN, Submission};

/// After this many store-wide failures in a row, the batch itself is suspected: a batch may be what kills the server.
const FAILURES_MAX: u32 = 3;

/// After this many full units in a row that succeeded, the unit size doubles. If a timeout bounds the size, one in this
/// many units is sent in vain.
const GROWS_AFTER: u32 = 4;

/// Submissions on their way to the store.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: VecDeque<Submission>,
    aside: Vec<Aside>,
    /// Tasks with a submission that is aside, or that was and is now in flight. Their later submissions wait for it.
    tasks: BTreeSet<TaskId>,
    /// Most transitions in one unit, as learned from successes and failures.
    unit: usize,
    /// Full units that succeeded since `unit` changed.
    full: u32,
    /// Failures in a row.
    failures: u32,
    /// Longest pause before a submission is sent again.
    pause_max: Duration,
}

/// A submission that failed alone.
#[derive(Debug)]
struct Aside {
    at: Instant,
    submission: Submission,
}

impl Outbox {
    pub(super) const fn new(pause_max: Duration) -> Self {
        Self {
            queue: VecDeque::new(),
            aside: Vec::new(),
            tasks: BTreeSet::new(),
            unit: EXCHANGE_TRANSITIONS_MAX,
            full: 0,
            failures: 0,
            pause_max,
        }
    }

    pub(super) fn push(&mut self, submission: Submission) {
        self.queue.push_back(submission);
    }

    /// Submissions that can be sent now.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing can be sent now.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether nothing is left to be sent.
    pub(super) fn is_done(&self) -> bool {
        self.queue.is_empty() && self.aside.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Submission> {
        self.queue.iter().chain(self.aside.iter().map(|aside| &aside.submission))
    }

    /// Whether the queue contains the release of a task whose lease has expired or is about to.
    pub(super) fn hands_back(&self) -> bool {
        self.queue.iter().any(|submission| submission.transition.next() == Some(&Next::Release))
    }

    /// Takes out the result of a task's turn, if it is queued here.
    pub(super) fn take_result_of(&mut self, task: TaskId) -> Option<Submission> {
        let is_it = |submission: &Submission| submission.is_result_of(task);
        if let Some(at) = self.queue.iter().position(is_it) {
            return self.queue.remove(at);
        }
        let at = self.aside.iter().position(|aside| is_it(&aside.submission))?;
        self.tasks.remove(&task);
        Some(self.aside.swap_remove(at).submission)
    }

    /// Takes the next unit from the front of the queue, in order, as much as fits.
    pub(super) fn next_unit(&mut self) -> Vec<Submission> {
        let (mut most, mut rows, mut bytes) = (usize::MAX, 0, 0);
        let mut unit = Vec::new();
        let mut held_up = Vec::new();
        while unit.len() < most {
            let Some(next) = self.queue.pop_front() else { break };
            if self.tasks.contains(&next.transition.task()) {
                held_up.push(next);
                continue;
            }
            rows += 1 + next.transition.rows().len();
            bytes += next.bytes;
            // Parts of a failed unit have their own bounds.
            let fits_with = if next.is_suspect() { next.fits_with } else { self.unit };
            most = if unit.is_empty() { fits_with } else { most.min(next.fits_with) };
            let fits = rows <= EXCHANGE_ROWS_MAX && bytes <= EXCHANGE_BYTES_MAX && unit.len() < most;
            if !fits && !unit.is_empty() {
                self.queue.push_front(next);
                break;
            }
            unit.push(next);
        }
        for submission in held_up.into_iter().rev() {
            self.queue.push_front(submission);
        }
        unit
    }

    /// Takes a submission that failed alone and whose pause is over.
    pub(super) fn next_aside(&mut self, now: Instant) -> Option<Submission> {
        let (at, _) = self.aside.iter().enumerate().min_by_key(|(_, aside)| aside.at)?;
        (self.aside[at].at <= now).then(|| self.aside.swap_remove(at).submission)
    }

    /// When the next such pause is over.
    pub(super) fn aside_at(&self) -> Option<Instant> {
        self.aside.iter().map(|aside| aside.at).min()
    }

    /// A unit was committed.
    pub(super) fn succeeded(&mut self, unit: &[Submission]) {
        self.failures = 0;
        for submission in unit.iter().filter(|submission| submission.is_aside()) {
            self.tasks.remove(&submission.transition.task());
        }
        if unit.len() >= self.unit && self.unit < EXCHANGE_TRANSITIONS_MAX {
            self.full += 1;
            if self.full >= GROWS_AFTER {
                self.full = 0;
                self.unit = (self.unit * 2).min(EXCHANGE_TRANSITIONS_MAX);
            }
        }
    }

    /// A unit failed, and it is unknown which part caused that or whether it was committed: sends all of it again.
    pub(super) fn failed(&mut self, mut unit: Vec<Submission>, kind: ErrorKind, now: Instant) {
        let of_itself = !is_of_the_store(kind);
        self.failures += 1;
        if !of_itself && self.failures < FAILURES_MAX && !unit.iter().any(Submission::is_aside) {
            self.put_back(unit);
            return;
        }
        self.failures = 0;
        if let [_] = *unit {
            unit.into_iter().for_each(|submission| self.set_aside(submission, now));
            // The cause was this submission and not the size of the unit.
            self.unit = EXCHANGE_TRANSITIONS_MAX;
            return;
        }
        self.unit = (unit.len() / 2).max(1);
        self.full = 0;
        let half = unit.len().div_ceil(2);
        unit.iter_mut().for_each(|submission| submission.fits_with = submission.fits_with.min(half));
        self.put_back(unit);
    }

    /// The submission was sent with a claim, which may have caused the failure: sends it once more, alone.
    pub(super) fn failed_with_a_claim(&mut self, mut submission: Submission) {
        submission.fits_with = 1;
        self.queue.push_front(submission);
    }

    fn set_aside(&mut self, mut submission: Submission, now: Instant) {
        self.tasks.insert(submission.transition.task());
        submission.fits_with = 1;
        let pause = submission.pause.map_or(RETRY_PAUSE_MIN, |pause| (pause * 2).min(self.pause_max));
        submission.pause = Some(pause);
        self.aside.push(Aside { at: now + pause, submission });
    }

    fn put_back(&mut self, unit: Vec<Submission>) {
        for submission in unit.into_iter().rev() {
            self.queue.push_front(submission);
        }
    }
}

/// Whether a failure concerns only the store and not the content of the unit.
pub(super) const fn is_of_the_store(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Unavailable | ErrorKind::Schema | ErrorKind::Config => true,
        ErrorKind::Contended | ErrorKind::Corrupt | ErrorKind::Limit | ErrorKind::Closed => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use stent_core::decide;
    use stent_core::model::{Epoch, Fence, Tree};
    use stent_core::{ExecutionId, Payload, Timestamp};

    use super::*;

    const PAUSE_MAX: Duration = Duration::from_secs(1);

    fn task(n: u128) -> TaskId {
        TaskId::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn unpark(n: u128) -> Submission {
        Submission::of(decide::unpark(task(n), Epoch::plain(1), Timestamp::from_micros(0)))
    }

    fn end(n: u128, bytes: usize) -> Submission {
        let held = decide::Held {
            fence: Fence { task: task(n), epoch: Epoch::plain(1), commit: 0 },
            tree: Tree::root(ExecutionId::from_uuid(uuid::Uuid::from_u128(n))),
            retry: None,
            attempts: 0,
            key: None,
            redriven: false,
        };
        let result = Ok(Payload::new("", vec![0; bytes]));
        let end = stent_core::replay::End { result, had_steps: false, redo: Vec::new() };
        Submission::of(decide::end(
            &held,
            stent_core::replay::Turn::default(),
            end,
            Timestamp::from_micros(0),
        ))
    }

    fn outbox(submissions: impl IntoIterator<Item = Submission>) -> Outbox {
        let mut outbox = Outbox::new(PAUSE_MAX);
        submissions.into_iter().for_each(|submission| outbox.push(submission));
        outbox
    }

    fn tasks(unit: &[Submission]) -> Vec<TaskId> {
        unit.iter().map(|submission| submission.transition.task()).collect()
    }

    /// Sends everything, with a failure of each unit that contains a bad submission. Returns the number of exchanges.
    fn send_all(outbox: &mut Outbox, bad: &BTreeSet<TaskId>, kind: ErrorKind) -> (usize, Vec<TaskId>) {
        let (mut sent, mut stands) = (0, Vec::new());
        while !outbox.is_empty() {
            let unit = outbox.next_unit();
            sent += 1;
            assert!(!unit.is_empty() && sent < 10_000, "it ends");
            if unit.iter().any(|one| bad.contains(&one.transition.task())) {
                outbox.failed(unit, kind, Instant::now());
            } else {
                outbox.succeeded(&unit);
                stands.extend(tasks(&unit));
            }
        }
        (sent, stands)
    }

    #[test]
    fn a_unit_is_bounded_by_number_and_bytes_and_one_may_exceed_it_alone() {
        let mut many = outbox((0..600).map(unpark));
        assert_eq!(many.next_unit().len(), EXCHANGE_TRANSITIONS_MAX);
        assert_eq!(many.next_unit().len(), 600 - EXCHANGE_TRANSITIONS_MAX);

        let mut large =
            outbox((0..9).map(|n| end(n, EXCHANGE_BYTES_MAX / 4)).chain([end(9, EXCHANGE_BYTES_MAX * 2)]));
        let units = std::iter::from_fn(|| Some(large.next_unit().len()).filter(|len| *len > 0));
        assert_eq!(units.collect::<Vec<_>>(), [3, 3, 3, 1]);
    }

    #[test]
    fn one_that_cannot_be_written_now_is_found_and_holds_up_no_other() {
        let bad = BTreeSet::from([task(100)]);
        let mut outbox = outbox((0..512).map(unpark));

        let (sent, stands) = send_all(&mut outbox, &bad, ErrorKind::Contended);

        assert_eq!(stands.len(), 511);
        assert!(sent <= 2 * 9 + 1, "{sent} exchanges: as many as halving takes");
        let left: Vec<_> = outbox.iter().map(|one| one.transition.task()).collect();
        assert_eq!(left, [task(100)]);
    }

    #[test]
    fn what_comes_later_of_a_task_waits_for_what_is_aside() {
        let mut outbox = outbox([unpark(1)]);
        let unit = outbox.next_unit();
        let start = Instant::now();
        outbox.failed(unit, ErrorKind::Contended, start);
        outbox.push(unpark(1));
        outbox.push(unpark(2));

        assert_eq!(tasks(&outbox.next_unit()), [task(2)]);
        assert!(outbox.next_unit().is_empty());
        let first = outbox.next_aside(start + RETRY_PAUSE_MIN).expect("its moment has come");
        assert!(outbox.next_unit().is_empty(), "it is under way");
        outbox.succeeded(&[first]);
        assert_eq!(tasks(&outbox.next_unit()), [task(1)]);
    }

    #[test]
    fn a_store_that_is_away_splits_nothing_at_first_and_everything_in_the_end() {
        let mut outbox = outbox((0..8).map(unpark));
        let mut lens = Vec::new();
        while !outbox.is_empty() {
            let unit = outbox.next_unit();
            lens.push(unit.len());
            outbox.failed(unit, ErrorKind::Unavailable, Instant::now());
        }

        assert_eq!(lens[..8], [8, 8, 8, 4, 4, 4, 2, 2]);
        assert_eq!(outbox.iter().count(), 8, "nothing was lost");
    }

    #[test]
    fn a_unit_that_was_too_large_grows_again_when_smaller_ones_go_well() {
        let mut outbox = outbox((0..200).map(unpark));
        let unit = outbox.next_unit();
        outbox.failed(unit, ErrorKind::Contended, Instant::now());
        assert_eq!(send_all(&mut outbox, &BTreeSet::new(), ErrorKind::Contended).0, 2);

        (0..1_000).for_each(|n| outbox.push(unpark(n)));
        let mut lens = Vec::new();
        while !outbox.is_empty() {
            let unit = outbox.next_unit();
            lens.push(unit.len());
            outbox.succeeded(&unit);
        }
        assert_eq!(lens, [100, 100, 200, 200, 200, 200], "four full ones in between");
    }
}
