//! Records: recorded steps stay, in their order (G4).

use std::sync::atomic::{AtomicBool, Ordering};

use super::words::*;

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant(
            "numbers completions anew",
            "order::completions_are_numbered_from_one_without_gaps",
            &["number", "actual: Some(1)"],
        )
        .shows_tasks(|tasks, _| {
            let done = tasks.iter_mut().filter(|task| task.done_order.is_some());
            for (order, task) in (1..).zip(done) {
                task.done_order = Some(order);
            }
        }),
        mutant(
            "gives steps by position",
            "order::a_claim_brings_completed_steps_in_order_then_the_others_by_position",
            &["order"],
        )
        .hands_out(|claimed, _| claimed.steps.sort_by_key(|step| step.seq)),
        mutant("fires sleeps in any order", "sleep::sleeps_fire_in_the_order_of_their_moments", &["order"])
            .hands_out(|claimed, _| {
                let sleeps: Vec<_> =
                    (0..claimed.steps.len()).filter(|n| claimed.steps[*n].kind == StepKind::Sleep).collect();
                if let [first, .., last] = sleeps[..] {
                    claimed.steps.swap(first, last);
                }
            }),
        mutant(
            "fires sleeps of one moment by their ids",
            "sleep::sleeps_of_one_moment_fire_by_position",
            &["order"],
        )
        .hands_out(|claimed, past| {
            let due = |id| past.rows().find(|row| row.id == id).map(|row| row.state.clone());
            let fired: Vec<_> = (0..claimed.steps.len())
                .filter(|n| claimed.steps[*n].kind == StepKind::Sleep && claimed.steps[*n].order().is_some())
                .collect();
            for pair in fired.windows(2) {
                let [one, other] = [pair[0], pair[1]].map(|n| claimed.steps[n].id);
                if one > other && due(one) == due(other) {
                    claimed.steps.swap(pair[0], pair[1]);
                }
            }
        }),
        mutant(
            "takes a new start with each claim",
            "inspect::a_task_began_when_it_was_first_claimed",
            &["created and started"],
        )
        .hands_out(|claimed, past| {
            if let Some(before) = past.claims.get(&claimed.task.id) {
                claimed.task.started_at = claimed.task.started_at.map(|_| before.lease.until);
            }
        }),
        mutant("keeps news to itself", "order::news_bring_what_others_completed", &["order", "actual: []"])
            .answers(|outcome, _, _| {
                if let Outcome::Applied(news) = outcome {
                    news.steps.clear();
                }
            }),
        mutant("believes the last result", "order::a_recorded_result_never_changes", &["result"]).hands_out(
            |claimed, past| {
                for step in &mut claimed.steps {
                    let ends = past.sent.iter().rev().filter(|sent| sent.task() == step.id);
                    let last = ends.filter_map(|sent| match sent.next() {
                        Some(Next::End(result)) => Some(result),
                        _ => None,
                    });
                    if let (StepState::Done { result, .. }, Some(last)) =
                        (&mut step.state, last.take(1).next())
                    {
                        *result = last.clone();
                    }
                }
            },
        ),
        mutant("changes what is recorded", "order::every_claim_brings_the_same_record", &["the record"])
            .hands_out(|claimed, past| {
                let before = past.claims.get(&claimed.task.id).map(|before| before.steps.clone());
                for step in &mut claimed.steps {
                    if let StepState::Done { result, .. } = &mut step.state
                        && before
                            .iter()
                            .flatten()
                            .any(|before| before.id == step.id && before.order().is_some())
                    {
                        *result = Ok(Payload::new("text/plain", b"another".to_vec()));
                    }
                }
            }),
        mutant(
            "trusts any memory",
            "order::a_cache_of_another_claim_is_not_used",
            &["recalled", "actual: Some(1)"],
        )
        .exchanges(|sound, batch, claim, _| {
            let Some(claim) = claim else { return sound.exchange(batch, claim) };
            let cache = Gullible(claim.cache);
            sound.exchange(batch, Some(&ClaimRequest { cache: &cache, ..*claim }))
        }),
        mutant("recalls one task of a claim", "order::each_of_several_is_found_in_the_cache", &["recalled"])
            .exchanges(|sound, batch, claim, _| {
                let Some(claim) = claim else { return sound.exchange(batch, claim) };
                let cache = Once(claim.cache, AtomicBool::new(false));
                sound.exchange(batch, Some(&ClaimRequest { cache: &cache, ..*claim }))
            }),
        mutant(
            "keeps erased steps",
            "retry::erased_steps_leave_no_trace",
            &["the erased step", "actual: Some"],
        )
        .rewrites(|transition, _| {
            transition.commit_mut().into_iter().for_each(|commit| commit.erase.clear());
        }),
        mutant(
            "counts the items of an erased map",
            "retry::an_erased_map_is_written_again_under_its_ids_and_starts_over",
            &["how far the map has come", "done: 3"],
        )
        .hands_out(|claimed, past| {
            for step in &mut claimed.steps {
                let ends = past.sent.iter().filter(|sent| {
                    past.parent(sent.task()) == Some(step.id) && matches!(sent.next(), Some(Next::End(_)))
                });
                if let (Some(map), Ok(ended)) = (&mut step.map, u32::try_from(ends.count())) {
                    map.done = map.done.max(ended.min(map.fed));
                }
            }
        }),
        mutant(
            "forgets the record at a retry",
            "retry::recorded_steps_survive_a_retry",
            &["steps", "actual: []"],
        )
        .hands_out(|claimed, _| {
            if claimed.task.attempts > 0 {
                claimed.steps.clear();
            }
        }),
        mutant("shuffles items", "map::results_are_read_in_the_order_of_the_items", &["results"])
            .shows_items(|items| items.reverse()),
        mutant(
            "feeds the first of several maps",
            "map::each_of_several_maps_wakes_its_owner",
            &["the map", "actual: Waiting"],
        )
        .rewrites(|transition, _| {
            transition.commit_mut().into_iter().for_each(|commit| commit.feed.truncate(1));
        }),
        mutant(
            "ends a gather over one failure",
            "gather::it_goes_on_past_failures_and_ends_when_all_have_ended",
            &["expected: Applied", "actual: Gone"],
        )
        .rewrites(|transition, _| {
            for new in transition.rows_mut().iter_mut().filter(|new| new.kind == StepKind::Gather) {
                new.kind = StepKind::Map;
            }
        }),
        mutant(
            "loses what code says",
            "note::a_turn_writes_what_it_says",
            &["notes", "actual: NotesView { counters: {}, states: {}, progress: []"],
        )
        .rewrites(|transition, _| {
            transition.commit_mut().into_iter().for_each(|commit| commit.notes.clear());
        }),
        mutant(
            "begins counters and never adds",
            "note::counters_add_up",
            &["after the second", "actual: Some(3)"],
        )
        .rewrites(|transition, _| {
            for said in transition.commit_mut().into_iter().flat_map(|commit| &mut commit.notes) {
                if let Note::Count { name, add } = &said.note {
                    said.note = Note::CountFrom { name: name.clone(), value: *add };
                }
            }
        }),
        mutant(
            "adds up before it adds",
            "note::a_counter_that_is_added_to_and_fro_stops_at_each_end",
            &["up and down"],
        )
        .rewrites(|transition, _| {
            let Some(commit) = transition.commit_mut() else { return };
            for at in 1..commit.notes.len() {
                let (before, from) = commit.notes.split_at_mut(at);
                let Note::Count { name, add } = &mut from[0].note else { continue };
                let same = before.iter_mut().find_map(|said| match &mut said.note {
                    Note::Count { name: other, add } if other == name => Some(add),
                    _ => None,
                });
                if let Some(sum) = same {
                    *sum = sum.saturating_add(std::mem::take(add));
                }
            }
        }),
        mutant(
            "writes notes in any order",
            "note::notes_of_a_commit_are_taken_in_their_order",
            &["given, then added to", "actual: Some(1)"],
        )
        .rewrites(|transition, _| {
            transition.commit_mut().into_iter().for_each(|commit| commit.notes.reverse());
        }),
    ]
}

/// A sticky cache whose entries are used whatever claim they belong to.
#[derive(Debug)]
struct Gullible<'a>(&'a dyn StickyCache);

impl StickyCache for Gullible<'_> {
    fn seen(&self, fence: &Fence) -> Option<u32> {
        let epochs = (0..=fence.epoch.count + 1).rev().map(|count| Epoch { count, ..fence.epoch });
        let epochs = epochs.flat_map(|epoch| [epoch, Epoch::plain(epoch.count)]);
        let mut any =
            epochs.flat_map(|epoch| (0..=fence.commit).map(move |commit| Fence { epoch, commit, ..*fence }));
        any.find_map(|any| self.0.seen(&any))
    }
}

/// A sticky cache that is asked for one task only.
#[derive(Debug)]
struct Once<'a>(&'a dyn StickyCache, AtomicBool);

impl StickyCache for Once<'_> {
    fn seen(&self, fence: &Fence) -> Option<u32> {
        let was_asked = self.1.swap(true, Ordering::Relaxed);
        self.0.seen(fence).filter(|_| !was_asked)
    }
}
