//! Keys: equal calls run once (G12).

use super::words::*;

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant(
            "takes every dispatch for the first",
            "dispatch_key::a_second_dispatch_is_told_of_the_first",
            &["outcome", "actual: Applied"],
        )
        .rewrites(|transition, _| {
            if let Transition::Dispatch(Dispatch { key, .. }) = transition {
                *key = None;
            }
        }),
        mutant(
            "takes every call for the first",
            "key::one_runs_and_the_others_wait_for_it",
            &["the number of tasks that are due", "actual: 2"],
        )
        .rewrites(|transition, _| {
            for new in transition.rows_mut().iter_mut().filter(|new| new.kind == StepKind::Call) {
                new.keyed = None;
            }
        }),
        mutant(
            "takes nothing for no result",
            "key::results_that_count_as_nothing_are_hits",
            &["the result \"0\"", "actual: None"],
        )
        .exchanges(|sound, batch, claim, _| {
            let outcomes = sound.exchange(batch, None)?.outcomes;
            let nothing = |transition: &&Transition| match transition.next() {
                Some(Next::End(Ok(result))) => result.len() < 2,
                _ => false,
            };
            if let Some(end) = batch.iter().find(nothing) {
                let results = PurgeRequest { what: Purge::Results, before: NEVER, now: end.at(), max: 9 };
                sound.purge(&results)?;
            }
            Ok(Exchanged { outcomes, ..sound.exchange(&[], claim)? })
        }),
        mutant(
            "keeps results for good",
            "key::a_result_is_good_for_its_time_and_not_longer",
            &["the number of tasks that are due", "actual: 0"],
        )
        .rewrites(|transition, _| {
            transition
                .rows_mut()
                .iter_mut()
                .filter_map(|new| new.keyed.as_mut())
                .for_each(|keyed| keyed.ttl = None);
        }),
        mutant(
            "keeps times in whole milliseconds",
            "key::a_result_is_good_for_the_shortest_time_and_for_the_longest",
            &["within the microsecond", "actual: true"],
        )
        .rewrites(|transition, _| {
            for keyed in transition.rows_mut().iter_mut().filter_map(|new| new.keyed.as_mut()) {
                let millis = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
                keyed.ttl = keyed.ttl.map(|ttl| Duration::from_millis(millis(ttl)));
            }
        }),
        mutant("keeps results in memory", "key::a_result_outlives_its_execution", &["a hit", "actual: None"])
            .opens(|sound, past| {
                if past.is_left() {
                    let all = PurgeRequest { what: Purge::Results, before: NEVER, now: NEVER, max: u32::MAX };
                    Sound(sound.peer()).purge(&all).ok();
                }
                sound.peer()
            }),
        mutant(
            "names the wrong first",
            "dispatch_key::a_second_dispatch_is_told_of_the_first",
            &["outcome", "actual: Exists"],
        )
        .answers(|outcome, transition, _| {
            if let Outcome::Exists(first) = outcome {
                *first = transition.task().execution();
            }
        }),
    ]
}
