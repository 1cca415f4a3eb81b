//! Decides when a worker claims, renews and stops. Performs nothing, and reads no clock.

use std::time::Duration;

use crate::{Timestamp, duration};

/// Workers with fewer slots do not prefetch: they have few slots because their work is scarce, or must be done in order.
const AHEAD_SLOTS_MIN: usize = 8;
/// The maximum number of prefetched tasks per slot.
const AHEAD_PER_SLOT: usize = 7;
/// A store that takes longer than this part of a lease to answer gets no prefetch claims: a prefetched task's lease is not
/// renewed while it waits, and the task must begin and commit before its lease ends. Otherwise workers that are too slow for
/// their leases take tasks from each other, and none of them makes progress.
const AHEAD_LEASE_PART: u32 = 20;
/// How long a prefetched task may wait for a slot, if the store is fast.
const AHEAD_PATIENCE: Duration = Duration::from_millis(50);

/// The settings of a worker's pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PumpConfig {
    /// Concurrent turns.
    pub slots: usize,
    /// Most tasks in one claim.
    pub claim_max: usize,
    /// Shortest pause between two claims that found nothing.
    pub poll_min: Duration,
    /// Longest such pause.
    pub poll_max: Duration,
    /// Multiplies the pause after each claim that found nothing.
    pub poll_factor: f64,
    /// How long a claim is valid.
    pub lease: Duration,
    /// How often leases are renewed.
    pub heartbeat: Duration,
}

/// The next action of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Claim tasks.
    Claim {
        /// The maximum number of tasks.
        max: usize,
    },
    /// Claim nothing, but ask which running tasks were asked to end, and which deadlines have passed.
    Look,
    /// Renew the leases of all running turns.
    Renew,
}

/// The pace of one worker.
///
/// Methods come in two kinds: `handle_*` reports an event, `poll_*` asks what to do. After any `handle_*`, call
/// [`poll_action`](Self::poll_action) until it returns `None`, then sleep until [`poll_deadline`](Self::poll_deadline) or until
/// the next event. Moments never go back by more than the worker's clock does; a step back only makes a poll late by as much.
///
/// # Prefetch
/// While a claim is in flight, turns end, and their slots would be idle until it is answered. So a worker claims more tasks
/// than it has free slots: as many as will have ended when this claim is answered, and as many again for the duration of the
/// next claim, estimated from the turns that have ended since the last claim. If turns are long, or the store is slow, it
/// prefetches nothing. Prefetched tasks that get no slot in [time](Self::patience) are released.
#[derive(Debug)]
pub struct Pump {
    config: PumpConfig,
    running: usize,
    /// Leases of turns that have ended and whose results are not committed yet.
    kept: usize,
    /// Prefetched tasks that wait for a slot.
    waiting: usize,
    /// When the last claim was sent, how long its answer took, and how many turns have ended since.
    claimed_at: Timestamp,
    claim_took: Duration,
    ended: usize,
    claiming: bool,
    renewing: bool,
    draining: bool,
    claim_at: Timestamp,
    /// When to look while nothing can be claimed, and the moment of the last look.
    look_at: Timestamp,
    looked_at: Timestamp,
    pause: Duration,
    renew_at: Option<Timestamp>,
}

impl Pump {
    /// A pump that claims at once.
    #[must_use]
    pub fn new(config: PumpConfig, now: Timestamp) -> Self {
        Self {
            config,
            running: 0,
            kept: 0,
            waiting: 0,
            claimed_at: now,
            claim_took: Duration::ZERO,
            ended: 0,
            claiming: false,
            renewing: false,
            draining: false,
            claim_at: now,
            look_at: now + config.poll_max,
            looked_at: now,
            pause: config.poll_min,
            renew_at: None,
        }
    }

    /// There was a hint that there may be work, or a commit that creates work is about to be sent.
    pub fn handle_wake(&mut self, now: Timestamp) {
        self.claim_at = self.claim_at.min(now);
        self.look_at = self.look_at.min(now.max(self.looked_at + self.config.poll_min));
        self.pause = self.config.poll_min;
    }

    /// A claim was sent.
    pub fn handle_claiming(&mut self, now: Timestamp) {
        self.claiming = true;
        self.claimed_at = now;
        self.ended = 0;
        // Hints from here on are not covered by that claim.
        self.claim_at = Timestamp::MAX;
        self.look_at = Timestamp::MAX;
    }

    /// The answer to a claim arrived: `got` of at most `max` tasks, and when the next one is due, if known.
    pub fn handle_claimed(&mut self, now: Timestamp, max: usize, got: usize, next_due: Option<Timestamp>) {
        self.handle_looked(now, None);
        self.claim_took = now.since(self.claimed_at);
        let next = if got >= max {
            self.pause = self.config.poll_min;
            now
        } else {
            if got > 0 {
                self.pause = self.config.poll_min;
            }
            let poll = now + self.pause;
            self.pause = duration::scaled(self.pause, self.config.poll_factor.max(1.0), self.config.poll_max);
            next_due.map_or(poll, |due| due.max(now).min(poll))
        };
        self.claim_at = self.claim_at.min(next);
    }

    /// A claim that rode with a dispatch was answered: it was sent without asking this pump, and took this long. Hints since then
    /// are not covered by it.
    pub fn handle_ridden(
        &mut self,
        now: Timestamp,
        took: Duration,
        max: usize,
        got: usize,
        next_due: Option<Timestamp>,
    ) {
        self.claimed_at = now - took;
        self.ended = 0;
        self.handle_claimed(now, max, got, next_due);
    }

    /// A look was sent.
    pub fn handle_looking(&mut self) {
        self.claiming = true;
        self.look_at = Timestamp::MAX;
    }

    /// The answer to a look arrived, or the look failed; and when to look again at the latest, if known.
    pub fn handle_looked(&mut self, now: Timestamp, next_due: Option<Timestamp>) {
        self.claiming = false;
        self.looked_at = now;
        let poll = now + self.config.poll_max;
        let next = next_due.map_or(poll, |due| due.max(now + self.config.poll_min).min(poll));
        self.look_at = self.look_at.min(next).max(now + self.config.poll_min);
    }

    /// A claim failed.
    pub fn handle_claim_failed(&mut self, now: Timestamp) {
        self.handle_claimed(now, 1, 0, None);
    }

    /// A claimed task waits for a slot.
    pub fn handle_waiting(&mut self) {
        self.waiting += 1;
    }

    /// A waiting task waits no more: it is about to start, or is released.
    pub fn handle_waited(&mut self) {
        debug_assert!(self.waiting > 0, "a task waits no more that never did");
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// A turn began: it holds a slot and a lease.
    pub fn handle_started(&mut self, now: Timestamp) {
        self.running += 1;
        self.renew_from(now);
    }

    /// A turn is about to end, or to commit something: its lease is kept until the commit's fate is known.
    pub fn handle_kept(&mut self, now: Timestamp) {
        self.kept += 1;
        self.renew_from(now);
    }

    /// The commit for which a lease was kept was applied or refused.
    pub fn handle_settled(&mut self) {
        debug_assert!(self.kept > 0, "a lease is given up that was never kept");
        self.kept = self.kept.saturating_sub(1);
        self.rest();
    }

    fn renew_from(&mut self, now: Timestamp) {
        self.renew_at = self.renew_at.or((!self.renewing).then(|| now + self.config.heartbeat));
    }

    /// Nothing is renewed while there are no leases.
    const fn rest(&mut self) {
        if self.running + self.kept == 0 && !self.renewing {
            self.renew_at = None;
        }
    }

    /// A turn ended: its slot is free.
    pub fn handle_finished(&mut self) {
        debug_assert!(self.running > 0, "a turn ended that never began");
        self.running = self.running.saturating_sub(1);
        self.ended += 1;
        self.rest();
    }

    /// A renewal was sent.
    pub fn handle_renewing(&mut self) {
        self.renewing = true;
    }

    /// A renewal ended: the next one comes after a heartbeat, or soon if it failed or skipped some leases.
    pub fn handle_renewed(&mut self, now: Timestamp, soon: bool) {
        self.renewing = false;
        let pause = if soon { self.config.heartbeat / 10 } else { self.config.heartbeat };
        self.renew_at = (self.running + self.kept > 0).then(|| now + pause);
    }

    /// Leases must be renewed at once: a commit took long, and its rows were locked during that time.
    pub fn handle_overdue(&mut self, now: Timestamp) {
        self.renew_at = self.renew_at.map(|renew_at| renew_at.min(now));
    }

    /// The worker's clock was set by any amount: a step back does not delay actions that were scheduled by the old
    /// clock.
    pub fn handle_step(&mut self, now: Timestamp) {
        self.handle_wake(now);
        self.renew_at = self.renew_at.map(|renew_at| renew_at.min(now + self.config.heartbeat));
    }

    /// The worker stops claiming.
    pub fn handle_drain(&mut self) {
        self.draining = true;
    }

    /// The action to perform now.
    #[must_use]
    pub fn poll_action(&self, now: Timestamp) -> Option<Action> {
        if !self.renewing && self.renew_at.is_some_and(|renew_at| renew_at <= now) {
            return Some(Action::Renew);
        }
        let max = self.room(now).min(self.config.claim_max);
        let claims = !self.draining && !self.claiming && max > 0 && self.claim_at <= now;
        let looks = self.looks() && !self.claiming && self.look_at <= now;
        claims.then_some(Action::Claim { max }).or(looks.then_some(Action::Look))
    }

    /// Whether the worker has work but may not claim more: it must still ask which tasks were asked to end.
    const fn looks(&self) -> bool {
        self.running > 0 && (self.draining || self.free() == 0)
    }

    /// When to ask again if nothing happens before. A caller that cannot claim now, because it is busy with a commit or its
    /// store has failed, says so, and a due claim does not make it loop.
    #[must_use]
    pub fn poll_deadline(&self, can_claim: bool) -> Option<Timestamp> {
        let renew = self.renew_at.filter(|_| !self.renewing);
        let claims = can_claim && !self.draining && !self.claiming && self.free() > 0;
        let claim = claims.then_some(self.claim_at);
        let look = (can_claim && !self.claiming && self.looks()).then_some(self.look_at);
        renew.into_iter().chain(claim).chain(look).min()
    }

    /// Whether the worker has free slots and only waits for work: it could take work that is offered to it.
    #[must_use]
    pub const fn waits_for_work(&self) -> bool {
        !self.draining && !self.claiming && self.free() > 0
    }

    /// Running turns.
    #[must_use]
    pub const fn running(&self) -> usize {
        self.running
    }

    /// Slots that are free, and that no task waits for.
    #[must_use]
    pub const fn free(&self) -> usize {
        self.config.slots.saturating_sub(self.running + self.waiting)
    }

    /// Whether a task may start now.
    #[must_use]
    pub const fn has_slot(&self) -> bool {
        self.running < self.config.slots
    }

    /// How long a prefetched task waits for a slot before it is released for others: long enough for the expected slots to
    /// become free, and much shorter than a lease, so that waiting tasks need no renewal.
    #[must_use]
    pub fn patience(&self) -> Duration {
        (self.claim_took * 4).max(AHEAD_PATIENCE).min(self.config.lease / 4)
    }

    /// How many tasks can be taken: one for each slot that is free, or will be free when the claim is answered.
    fn room(&self, now: Timestamp) -> usize {
        (self.config.slots + self.ahead(now)).saturating_sub(self.running + self.waiting)
    }

    /// How many turns will end during a claim and the next one.
    fn ahead(&self, now: Timestamp) -> usize {
        let is_slow = self.claim_took * AHEAD_LEASE_PART > self.config.lease;
        if self.config.slots < AHEAD_SLOTS_MIN || is_slow {
            return 0;
        }
        let took = self.claim_took.as_micros();
        let elapsed = now.since(self.claimed_at).as_micros().max(took).max(1);
        let ended = 2 * self.ended as u128 * took / elapsed;
        usize::try_from(ended).unwrap_or(usize::MAX).min(self.config.slots * AHEAD_PER_SLOT)
    }

    /// Whether the worker has stopped claiming.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.draining
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: PumpConfig = PumpConfig {
        slots: 4,
        claim_max: 3,
        poll_min: Duration::from_millis(50),
        poll_max: Duration::from_millis(200),
        poll_factor: 2.0,
        lease: Duration::from_secs(30),
        heartbeat: Duration::from_secs(10),
    };

    fn t(ms: i64) -> Timestamp {
        Timestamp::from_micros(ms * 1_000)
    }

    #[test]
    fn pauses_of_any_length_grow_by_any_factor() {
        for pause in [Duration::from_nanos(1), Duration::from_secs(1), Duration::MAX] {
            for poll_factor in [1.0, 2.0, f64::MAX, f64::INFINITY] {
                let longest = PumpConfig {
                    poll_min: pause,
                    poll_max: Duration::MAX,
                    poll_factor,
                    lease: Duration::MAX,
                    heartbeat: Duration::MAX,
                    ..CONFIG
                };
                let mut pump = Pump::new(longest, t(0));
                pump.handle_started(t(0));
                for _ in 0..200 {
                    pump.handle_claiming(t(0));
                    pump.handle_claimed(t(0), 3, 0, None);
                }
                assert!(pump.poll_deadline(true) > Some(t(0)), "{pause:?} and {poll_factor}");
            }
        }
    }

    #[test]
    fn an_idle_worker_claims_less_and_less_often() {
        let mut pump = Pump::new(CONFIG, t(0));
        let mut claimed_at = Vec::new();
        let mut now = t(0);
        for _ in 0..5 {
            assert_eq!(pump.poll_action(now), Some(Action::Claim { max: 3 }));
            pump.handle_claiming(now);
            pump.handle_claimed(now, 3, 0, None);
            claimed_at.push(now);
            now = pump.poll_deadline(true).expect("an idle worker polls");
        }
        assert_eq!(claimed_at, [t(0), t(50), t(150), t(350), t(550)]);
    }

    #[test]
    fn a_wake_during_a_claim_is_not_lost() {
        let mut pump = Pump::new(CONFIG, t(0));
        pump.handle_claiming(t(0));
        pump.handle_wake(t(1));
        assert_eq!(pump.poll_action(t(1)), None);

        pump.handle_claimed(t(2), 3, 0, None);

        assert_eq!(pump.poll_action(t(2)), Some(Action::Claim { max: 3 }));
    }

    #[test]
    fn a_wake_during_a_claim_that_rode_with_a_dispatch_is_not_lost() {
        let mut pump = Pump::new(CONFIG, t(0));
        assert!(pump.waits_for_work());
        pump.handle_claiming(t(0));
        assert!(!pump.waits_for_work());
        pump.handle_claimed(t(0), 3, 0, None);
        assert_eq!(pump.poll_deadline(true), Some(t(50)));

        pump.handle_wake(t(6));
        pump.handle_ridden(t(9), Duration::from_millis(5), 3, 1, None);
        assert_eq!(pump.poll_action(t(9)), Some(Action::Claim { max: 3 }));

        let mut pump = Pump::new(CONFIG, t(0));
        pump.handle_claiming(t(0));
        pump.handle_claimed(t(0), 3, 0, None);
        pump.handle_ridden(t(9), Duration::from_millis(5), 3, 1, None);
        assert_eq!((pump.poll_action(t(9)), pump.claimed_at), (None, t(4)));
    }

    #[test]
    fn a_known_due_time_is_met() {
        let mut pump = Pump::new(CONFIG, t(0));
        pump.handle_claiming(t(0));
        pump.handle_claimed(t(0), 3, 0, Some(t(7)));
        assert_eq!(pump.poll_deadline(true), Some(t(7)));
    }

    #[test]
    fn a_full_worker_claims_when_a_turn_ends() {
        let mut pump = Pump::new(CONFIG, t(0));
        pump.handle_claiming(t(0));
        pump.handle_claimed(t(0), 3, 3, None);
        (0..4).for_each(|_| pump.handle_started(t(0)));
        assert_eq!(pump.poll_action(t(1)), None);

        pump.handle_finished();

        assert_eq!(pump.poll_action(t(1)), Some(Action::Claim { max: 1 }));
    }

    #[test]
    fn leases_are_renewed_while_turns_run_and_soon_again_after_a_failure() {
        let mut pump = Pump::new(CONFIG, t(0));
        pump.handle_drain();
        pump.handle_started(t(0));
        assert_eq!(pump.poll_deadline(false), Some(t(10_000)));
        assert_eq!(pump.poll_action(t(10_000)), Some(Action::Renew));

        pump.handle_renewing();
        assert_ne!(pump.poll_action(t(10_000)), Some(Action::Renew));
        pump.handle_renewed(t(10_000), true);
        assert_eq!(pump.poll_deadline(false), Some(t(11_000)));

        pump.handle_finished();
        assert_eq!(pump.poll_deadline(false), None);
    }

    #[test]
    fn a_lease_is_renewed_until_the_result_of_its_turn_stands() {
        let mut pump = Pump::new(CONFIG, t(0));
        pump.handle_drain();
        pump.handle_started(t(0));
        pump.handle_kept(t(9_000));
        pump.handle_finished();
        assert_eq!(pump.poll_action(t(10_000)), Some(Action::Renew));

        pump.handle_renewing();
        pump.handle_renewed(t(10_000), false);
        assert_eq!(pump.poll_deadline(false), Some(t(20_000)));
        pump.handle_overdue(t(12_000));
        assert_eq!(pump.poll_action(t(12_000)), Some(Action::Renew));

        pump.handle_settled();
        assert_eq!(pump.poll_deadline(false), None);
    }

    #[test]
    fn a_clock_that_is_set_back_puts_nothing_off() {
        let mut pump = Pump::new(CONFIG, t(100_000));
        pump.handle_started(t(100_000));

        pump.handle_step(t(1_000));

        assert_eq!(pump.poll_action(t(1_000)), Some(Action::Claim { max: 3 }));
        pump.handle_claiming(t(1_000));
        assert_eq!(pump.poll_deadline(true), Some(t(11_000)));
    }

    #[test]
    fn a_draining_worker_claims_nothing() {
        let mut pump = Pump::new(CONFIG, t(0));
        pump.handle_drain();
        assert_eq!((pump.poll_action(t(0)), pump.poll_deadline(true)), (None, None));
    }

    #[test]
    fn a_worker_that_may_claim_no_more_looks_after_what_it_has() {
        let mut pump = Pump::new(CONFIG, t(0));
        pump.handle_claiming(t(0));
        pump.handle_claimed(t(0), 3, 3, None);
        (0..4).for_each(|_| pump.handle_started(t(0)));
        assert_eq!((pump.poll_action(t(0)), pump.poll_deadline(true)), (None, Some(t(200))));
        assert_eq!(pump.poll_action(t(200)), Some(Action::Look));

        pump.handle_looking();
        assert_eq!(pump.poll_action(t(200)), None);
        pump.handle_looked(t(210), Some(t(330)));
        assert_eq!(pump.poll_deadline(true), Some(t(330)));

        // Hints bring it forward, but many hints do not make it look all the time.
        pump.handle_wake(t(220));
        assert_eq!(pump.poll_deadline(true), Some(t(260)));

        pump.handle_finished();
        pump.handle_drain();
        assert_eq!(pump.poll_action(t(260)), Some(Action::Look));
    }

    /// A pump of eight slots that claims at once and is answered after ten milliseconds, repeatedly. In each round all turns
    /// but `kept` end before the next claim.
    fn after_rounds(rounds: i64, kept: usize) -> (Pump, Timestamp) {
        let mut pump = Pump::new(PumpConfig { slots: 8, claim_max: 512, ..CONFIG }, t(0));
        let mut now = t(0);
        for _ in 0..rounds {
            let Some(Action::Claim { max }) = pump.poll_action(now) else { break };
            pump.handle_claiming(now);
            now = now + Duration::from_millis(10);
            pump.handle_claimed(now, max, max, None);
            for n in 0..max {
                pump.handle_started(now);
                if n >= kept {
                    pump.handle_finished();
                }
            }
        }
        (pump, now)
    }

    #[test]
    fn a_worker_whose_turns_end_while_it_claims_claims_ahead_of_its_slots() {
        let (pump, now) = after_rounds(1, 0);
        // Eight turns ended during a claim: as many will end during the next claim, and during the one after.
        assert_eq!(pump.poll_action(now), Some(Action::Claim { max: 8 + 16 }));

        let (pump, now) = after_rounds(20, 0);
        assert_eq!(pump.poll_action(now), Some(Action::Claim { max: 8 + 8 * AHEAD_PER_SLOT }));
    }

    #[test]
    fn a_worker_whose_turns_are_long_claims_no_more_than_it_has_slots_for() {
        let (mut pump, now) = after_rounds(1, 8);
        assert_eq!(pump.poll_action(now), None);

        // Two of eight in a second, while a claim takes ten milliseconds.
        (0..2).for_each(|_| pump.handle_finished());

        assert_eq!(pump.poll_action(now + Duration::from_secs(1)), Some(Action::Claim { max: 2 }));
    }

    #[test]
    fn a_worker_whose_store_is_slow_for_its_leases_claims_nothing_ahead() {
        let (mut pump, now) = after_rounds(1, 0);

        // A claim took ten milliseconds.
        for (lease, max) in [(200, 24), (199, 8)] {
            pump.config.lease = Duration::from_millis(lease);
            assert_eq!(pump.poll_action(now), Some(Action::Claim { max }));
        }
    }

    #[test]
    fn what_waits_counts_as_taken() {
        let (mut pump, now) = after_rounds(1, 0);
        (0..8).for_each(|_| pump.handle_waiting());

        assert_eq!(pump.free(), 0);
        assert_eq!(pump.poll_action(now), Some(Action::Claim { max: 16 }));
        assert_eq!(pump.poll_action(now + Duration::from_secs(60)), None, "nothing has ended for a minute");
    }

    #[test]
    fn a_worker_of_few_slots_claims_nothing_ahead() {
        let mut pump = Pump::new(CONFIG, t(0));
        pump.handle_claiming(t(0));
        pump.handle_claimed(t(10), 3, 3, None);
        (0..3).for_each(|_| pump.handle_started(t(10)));
        (0..3).for_each(|_| pump.handle_finished());

        let wide = PumpConfig { claim_max: 512, ..CONFIG };
        pump.config = wide;

        assert_eq!(pump.poll_action(t(10)), Some(Action::Claim { max: wide.slots }));
    }

    #[test]
    fn patience_goes_by_the_store_and_ends_well_before_the_lease() {
        let of = |took| {
            let mut pump = Pump::new(CONFIG, t(0));
            pump.handle_claiming(t(0));
            pump.handle_claimed(t(took), 1, 0, None);
            pump.patience()
        };
        assert_eq!(of(1), AHEAD_PATIENCE);
        assert_eq!(of(200), Duration::from_millis(800));
        assert_eq!(of(60_000), CONFIG.lease / 4);
    }
}
