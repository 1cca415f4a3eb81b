//! Digests: a step comes back with the digest of its arguments (G4).

use stent_core::{Digest, Payload};

use super::words::*;

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant(
            "keeps no digests",
            "digest::a_claim_brings_the_digest_of_every_step",
            &["digests", "Some(-9223372036854775808)"],
        )
        .rewrites(|transition, _| transition.rows_mut().iter_mut().for_each(|new| new.digest = None)),
        mutant(
            "keeps digests as doubles",
            "digest::a_claim_brings_the_digest_of_every_step",
            &["digests", "Some(9007199254740993)"],
        )
        .rewrites(|transition, _| {
            for new in transition.rows_mut() {
                new.digest = new.digest.map(|digest| Digest::from_i64((digest.to_i64() as f64) as i64));
            }
        }),
        mutant("takes no digest for zero", "digest::a_claim_brings_the_digest_of_every_step", &["digests"])
            .hands_out(|claimed, _| {
                claimed
                    .steps
                    .iter_mut()
                    .for_each(|step| step.digest = step.digest.or(Some(Digest::from_i64(0))));
            }),
        mutant("swaps digests", "digest::a_claim_brings_the_digest_of_every_step", &["digests"]).hands_out(
            |claimed, _| {
                let digests: Vec<_> = claimed.steps.iter().rev().map(|step| step.digest).collect();
                claimed.steps.iter_mut().zip(digests).for_each(|(step, digest)| step.digest = digest);
            },
        ),
        mutant(
            "loses the digest when a step's row changes",
            "digest::digests_stay_whatever_becomes_of_a_step",
            &["digests"],
        )
        .hands_out(|claimed, past| {
            for step in &mut claimed.steps {
                if past.sent.iter().any(|sent| sent.task() == step.id) {
                    step.digest = None;
                }
            }
        }),
        mutant(
            "loses digests at a retry",
            "digest::digests_stay_whatever_becomes_of_the_task_above",
            &["after a retry"],
        )
        .hands_out(|claimed, _| {
            if claimed.task.attempts > 0 {
                claimed.steps.iter_mut().for_each(|step| step.digest = None);
            }
        }),
        mutant(
            "tells news without digests",
            "digest::news_and_completions_bring_digests",
            &["news", "actual: [None]"],
        )
        .answers(|outcome, _, _| {
            if let Outcome::Applied(news) = outcome {
                news.steps.iter_mut().for_each(|step| step.digest = None);
            }
        }),
        mutant(
            "reads completions without digests",
            "digest::news_and_completions_bring_digests",
            &["completions"],
        )
        .shows_completions(|steps| steps.iter_mut().for_each(|step| step.digest = None)),
        mutant(
            "sets a map's digest once",
            "digest::a_feed_sets_the_digest_of_its_map",
            &["after the second feed"],
        )
        .rewrites(|transition, past| {
            for feed in transition.commit_mut().into_iter().flat_map(|commit| &mut commit.feed) {
                let fed = past
                    .sent
                    .iter()
                    .filter_map(Transition::commit)
                    .flat_map(|sent| &sent.feed)
                    .find(|fed| fed.map == feed.map);
                feed.digest = fed.map_or(feed.digest, |fed| fed.digest);
            }
        }),
        mutant(
            "keeps a map's digest where a feed has none",
            "digest::a_feed_sets_the_digest_of_its_map",
            &["after one without"],
        )
        .rewrites(|transition, past| {
            for feed in transition.commit_mut().into_iter().flat_map(|commit| &mut commit.feed) {
                let fed = past
                    .sent
                    .iter()
                    .rev()
                    .filter_map(Transition::commit)
                    .flat_map(|sent| &sent.feed)
                    .find(|fed| fed.map == feed.map);
                feed.digest = feed.digest.or(fed.and_then(|fed| fed.digest));
            }
        }),
        mutant(
            "sets the digest whatever becomes of the feed",
            "digest::a_feed_that_does_not_stand_leaves_the_digest",
            &["the map", "actual: (2, Some(Digest(0000000000000006)))"],
        )
        .hands_out(|claimed, past| {
            for step in &mut claimed.steps {
                let fed = past
                    .sent
                    .iter()
                    .rev()
                    .filter_map(Transition::commit)
                    .flat_map(|sent| &sent.feed)
                    .find(|fed| fed.map == step.id);
                step.digest = fed.map_or(step.digest, |fed| fed.digest);
            }
        }),
        mutant("drops a map's digest at its end", "digest::a_map_keeps_its_digest_to_the_end", &["digests"])
            .hands_out(|claimed, _| {
                for step in
                    claimed.steps.iter_mut().filter(|step| step.map.is_some() && step.order().is_some())
                {
                    step.digest = None;
                }
            }),
        mutant(
            "cuts arguments that are read",
            "digest::what_a_task_was_called_with_is_read",
            &["what it was called with"],
        )
        .shows_args(|args| {
            if let Some(payload) = args.as_ref().filter(|payload| payload.len() > 65_536) {
                let cut = payload.bytes()[..65_536].to_vec();
                *args = Some(Payload::new(payload.content_type(), cut));
            }
        }),
        mutant(
            "has empty arguments for what is not there",
            "digest::what_a_task_was_called_with_is_read",
            &["of what is not there"],
        )
        .shows_args(|args| *args = Some(args.take().unwrap_or(Payload::empty()))),
    ]
}
