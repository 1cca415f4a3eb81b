//! Payloads: they come back as they were written (G14).

use super::words::*;

/// Rewrites all incoming arguments and all results.
fn payloads(transition: &mut Transition, rewrite: fn(&Payload) -> Payload) {
    for new in transition.rows_mut() {
        new.args = rewrite(&new.args);
        if let NewTaskState::Done { result: Ok(result), .. } = &mut new.state {
            *result = rewrite(result);
        }
    }
    if let Some(Next::End(Ok(result))) = next(transition) {
        *result = rewrite(result);
    }
}

/// The items among the rows to write.
fn items(transition: &mut Transition) -> impl Iterator<Item = &mut NewTask> {
    transition.rows_mut().iter_mut().filter(|new| new.tree.owner.is_some())
}

/// The same bytes with another content type.
fn typed(payload: &Payload, content_type: &str) -> Payload {
    Payload::new(content_type, payload.bytes().to_vec())
}

/// Uses one content type for all results of a record.
fn one_type(steps: &mut [Step]) {
    let mut first = None;
    for step in steps {
        if let StepState::Done { result: Ok(result), .. } = &mut step.state {
            *result = typed(result, first.get_or_insert_with(|| result.content_type().to_owned()));
        }
    }
}

pub(super) fn mutants() -> Vec<Mutant> {
    let mut all = contents();
    all.extend(types());
    all
}

fn types() -> Vec<Mutant> {
    const LATER: &str = "payload::arguments_keep_their_type_until_the_end";
    const WHEREVER: &str = "payload::types_come_back_wherever_a_value_is_read";
    vec![
        mutant("knows the type of arguments at the first claim only", LATER, &["after a retry"]).hands_out(
            |claimed, _| {
                if claimed.task.epoch.count > 1 {
                    claimed.task.args = typed(&claimed.task.args, "application/cbor");
                }
            },
        ),
        mutant("forgets the type of arguments when a lease is lost", LATER, &["after a lost lease"])
            .hands_out(|claimed, _| {
                if claimed.task.crashes > 0 {
                    claimed.task.args = typed(&claimed.task.args, "application/cbor");
                }
            }),
        mutant("forgets the type of arguments in a revival", LATER, &["after a revival"]).hands_out(
            |claimed, _| {
                if claimed.task.marks.contains(Mark::Redrive) {
                    claimed.task.args = typed(&claimed.task.args, "application/cbor");
                }
            },
        ),
        mutant("forgets the type of arguments that wait under a key", LATER, &["after a wait under a key"])
            .hands_out(|claimed, past| {
                let first = past.rows().find(|row| row.keyed.is_some()).map(|row| row.id);
                if claimed.task.key.is_some() && first != Some(claimed.task.id) {
                    claimed.task.args = typed(&claimed.task.args, "application/cbor");
                }
            }),
        mutant("keeps one type for all steps of a record", WHEREVER, &["of steps"])
            .hands_out(|claimed, _| one_type(&mut claimed.steps)),
        mutant("tells news with one type", WHEREVER, &["of news"]).answers(|outcome, _, _| {
            if let Outcome::Applied(news) | Outcome::Already(news) = outcome {
                one_type(&mut news.steps);
            }
        }),
        mutant("reads completions with one type", WHEREVER, &["of completions"])
            .shows_completions(|steps| one_type(steps)),
        mutant("reads items with one type", WHEREVER, &["of items"]).shows_items(|items| {
            for item in items {
                if let Some(Ok(result)) = &mut item.result {
                    *result = typed(result, item.args.content_type());
                }
            }
        }),
        mutant("lists dead letters with one type", WHEREVER, &["of a dead letter"]).shows_dead_letters(
            |letters| {
                for letter in letters {
                    letter.args = typed(&letter.args, "text/plain");
                }
            },
        ),
        mutant("keeps the type of a state's first value", WHEREVER, &["of states"]).rewrites(
            |transition, past| {
                let said = past.sent.iter().filter_map(Transition::commit).flat_map(|sent| &sent.notes);
                for new in transition.commit_mut().into_iter().flat_map(|commit| &mut commit.notes) {
                    let Note::Set { name, value } = &mut new.note else { continue };
                    let first = said.clone().find_map(|said| match &said.note {
                        Note::Set { name: other, value } if other == name => Some(value),
                        _ => None,
                    });
                    if let Some(first) = first {
                        *value = typed(value, first.content_type());
                    }
                }
            },
        ),
        mutant("keeps no type with a failure's data", WHEREVER, &["of a failure"]).rewrites(
            |transition, _| {
                if let Some(Next::End(Err(Failure { data: Some(data), .. }))) = next(transition) {
                    *data = typed(data, "application/cbor");
                }
            },
        ),
    ]
}

fn contents() -> Vec<Mutant> {
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
            if let Some(Next::End(Err(failure))) = next(transition) {
                failure.causes.clear();
            }
        }),
        mutant(
            "forgets of which type a failure's value is",
            "payload::failures_come_back_whole",
            &["the step's failure", "data_type: None"],
        )
        .rewrites(|transition, _| {
            if let Some(Next::End(Err(failure))) = next(transition) {
                failure.data_type = None;
            }
        }),
        mutant(
            "counts in milliseconds",
            "payload::moments_come_back_to_the_microsecond",
            &["in the timeline"],
        )
        .rewrites(|transition, _| {
            let at = transition.at().as_micros();
            let moment = Timestamp::from_micros(at - at.rem_euclid(1_000));
            *transition = transition.clone().decided_at(moment);
        }),
        mutant(
            "folds names",
            "payload::names_of_any_text_come_back_and_are_told_apart",
            &["in the timeline", "actual: \"charge\""],
        )
        .rewrites(|transition, _| {
            for new in transition.rows_mut() {
                new.lane.function = new.lane.function.to_lowercase();
            }
        }),
        mutant(
            "drops traces",
            "payload::traces_come_back_as_they_were",
            &["trace of a root", "actual: None"],
        )
        .rewrites(|transition, _| transition.rows_mut().iter_mut().for_each(|new| new.trace = None)),
        mutant(
            "gives items no priority of their own",
            "map::steps_and_items_are_as_they_were_given",
            &["order"],
        )
        .rewrites(|transition, _| items(transition).for_each(|item| item.priority = 0)),
        mutant(
            "gives items no policy of their own",
            "map::steps_and_items_are_as_they_were_given",
            &["policy", "actual: None"],
        )
        .rewrites(|transition, _| items(transition).for_each(|item| item.retry = None)),
        mutant(
            "drops traces of items",
            "map::steps_and_items_are_as_they_were_given",
            &["trace", "actual: None"],
        )
        .rewrites(|transition, _| items(transition).for_each(|item| item.trace = None)),
        mutant(
            "forgets the trace of who waits under a key",
            "key::who_takes_the_place_of_the_holder_is_as_it_was_given",
            &["trace", "actual: None"],
        )
        .hands_out(|claimed, _| {
            if claimed.task.key.is_some() {
                claimed.task.trace = None;
            }
        }),
        mutant(
            "hides the last failure while it is tried again",
            "retry::the_last_failure_is_seen_while_it_runs_again",
            &["while it runs", "actual: None"],
        )
        .shows_tasks(|tasks, _| {
            for task in tasks.iter_mut().filter(|task| task.status == TaskStatus::Running) {
                task.failure = None;
            }
        }),
        mutant(
            "rounds retry policies",
            "payload::retry_policies_come_back_exactly",
            &["policy", "initial_delay: 1s,"],
        )
        .rewrites(|transition, _| {
            for policy in transition.rows_mut().iter_mut().filter_map(|new| new.retry.as_mut()) {
                policy.initial_delay = Duration::from_secs(policy.initial_delay.as_secs());
            }
        }),
    ]
}
