//! Payloads: what went in comes out (G14).

use super::words::*;

/// Rewrites all arguments that come in and all results.
fn payloads(transition: &mut Transition, rewrite: fn(&Payload) -> Payload) {
    for new in &mut transition.insert {
        new.args = rewrite(&new.args);
        if let NewTaskState::Done { result: Ok(result), .. } = &mut new.state {
            *result = rewrite(result);
        }
    }
    if let Change::End(Ok(result)) = &mut transition.change {
        *result = rewrite(result);
    }
}

pub(super) fn mutants() -> Vec<Mutant> {
    vec![
        mutant(
            "cuts payloads off",
            "payload::a_large_payload_comes_back_whole",
            &["arguments", "65535 bytes)"],
        )
        .rewrites(|transition, _| {
            payloads(transition, |payload| {
                let kept = payload.len().min(65_535);
                Payload::new(payload.content_type(), payload.bytes()[..kept].to_vec())
            });
        }),
        mutant(
            "takes bytes for text",
            "payload::arguments_come_back_byte_by_byte",
            &["arguments", "first difference: Some(128)"],
        )
        .rewrites(|transition, _| {
            payloads(transition, |payload| {
                let text = String::from_utf8_lossy(payload.bytes()).into_owned();
                Payload::new(payload.content_type(), text.into_bytes())
            });
        }),
        mutant(
            "ends text at a zero byte",
            "payload::results_of_steps_come_back_byte_by_byte",
            &["result", "actual: Payload(application/octet-stream, 0 bytes)"],
        )
        .rewrites(|transition, _| {
            payloads(transition, |payload| {
                let text = payload.bytes().split(|byte| *byte == 0).next().unwrap_or_default();
                Payload::new(payload.content_type(), text.to_vec())
            });
        }),
        mutant(
            "takes empty for none",
            "payload::results_come_back_byte_by_byte",
            &["result", "actual: Payload(, 0 bytes)"],
        )
        .rewrites(|transition, _| {
            payloads(
                transition,
                |payload| if payload.is_empty() { Payload::empty() } else { payload.clone() },
            );
        }),
        mutant(
            "knows one content type",
            "payload::content_types_come_back",
            &["content type", "actual: \"application/cbor\""],
        )
        .rewrites(|transition, _| {
            payloads(transition, |payload| Payload::new("application/cbor", payload.bytes().to_vec()));
        }),
        mutant(
            "shortens failures",
            "payload::failures_come_back_whole",
            &["the step's failure", "causes: []"],
        )
        .rewrites(|transition, _| {
            if let Change::End(Err(failure)) = &mut transition.change {
                failure.causes.clear();
            }
        }),
        mutant(
            "counts in milliseconds",
            "payload::moments_come_back_to_the_microsecond",
            &["in the timeline"],
        )
        .rewrites(|transition, _| {
            let at = transition.at.as_micros();
            transition.at = Timestamp::from_micros(at - at.rem_euclid(1_000));
        }),
        mutant(
            "folds names",
            "payload::names_of_any_text_come_back_and_are_told_apart",
            &["in the timeline", "actual: \"charge\""],
        )
        .rewrites(|transition, _| {
            for new in &mut transition.insert {
                new.lane.function = new.lane.function.to_lowercase();
            }
        }),
        mutant(
            "drops traces",
            "payload::traces_come_back_as_they_were",
            &["trace of a root", "actual: None"],
        )
        .rewrites(|transition, _| transition.insert.iter_mut().for_each(|new| new.trace = None)),
        mutant(
            "rounds retry policies",
            "payload::retry_policies_come_back_exactly",
            &["policy", "initial_delay: 1s,"],
        )
        .rewrites(|transition, _| {
            for policy in transition.insert.iter_mut().filter_map(|new| new.retry.as_mut()) {
                policy.initial_delay = Duration::from_secs(policy.initial_delay.as_secs());
            }
        }),
    ]
}
