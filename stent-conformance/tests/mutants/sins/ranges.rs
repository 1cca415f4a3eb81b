//! Ranges: stores whose numbers, moments, ids and texts have a smaller range than Stent's.

use std::cmp::Reverse;

use stent_core::TaskId;

use super::words::*;
use crate::store::at_once;

/// The longest lease of some queues.
const HALF_A_DAY: Duration = Duration::from_hours(12);

/// The score of a sorted set that orders by priority, then by moment: a double.
fn score(priority: i16, ready_at: Timestamp) -> f64 {
    const STEP: f64 = (1_u64 << 51) as f64;
    ready_at.as_micros() as f64 - f64::from(priority) * STEP
}

/// An id, ordered as two signed numbers.
fn signed(id: TaskId) -> i128 {
    id.as_uuid().as_u128() as i128
}

/// The bytes of an id where the first groups are little-endian.
fn mixed(id: TaskId) -> [u8; 16] {
    id.as_uuid().to_bytes_le()
}

/// A truncated text.
fn cut(text: &str, bytes: usize) -> String {
    text.chars()
        .scan(0, |at, c| {
            *at += c.len_utf8();
            (*at <= bytes).then_some(c)
        })
        .collect()
}

fn failures(transition: &mut Transition, rewrite: fn(&mut Failure)) {
    if let Some(Next::End(Err(failure)) | Next::Retry { failure, .. }) = next(transition) {
        rewrite(failure);
    }
}

pub(super) fn mutants() -> Vec<Mutant> {
    [moments(), keys(), orders(), texts(), policies()].into_iter().flatten().collect()
}

fn moments() -> Vec<Mutant> {
    vec![
        mutant(
            "orders by a double",
            "range::due_times_a_microsecond_apart_keep_their_order_at_every_priority",
            &["order"],
        )
        .brings(|exchanged, past| {
            exchanged.claimed.sort_by(|one, other| {
                let of = |claimed: &Claimed| {
                    let due = past.due(claimed.task.id).unwrap_or(Timestamp::EPOCH);
                    score(claimed.task.priority, due)
                };
                of(one).total_cmp(&of(other)).then(one.task.id.cmp(&other.task.id))
            });
        }),
        mutant("compares moments as text", "range::due_times_reach_from_end_to_end", &["order"]).brings(
            |exchanged, past| {
                exchanged.claimed.sort_by_key(|claimed| {
                    let due = past.due(claimed.task.id).unwrap_or(Timestamp::EPOCH);
                    (Reverse(claimed.task.priority), due.as_micros().to_string(), claimed.task.id)
                });
            },
        ),
        mutant("keeps due times in doubles", "range::due_times_reach_from_end_to_end", &["in the timeline"])
            .rewrites(|transition, _| {
                for new in transition.rows_mut() {
                    if let NewTaskState::Pending { ready_at } = &mut new.state {
                        *ready_at = Timestamp::from_micros(ready_at.as_micros() as f64 as i64);
                    }
                }
            }),
        mutant(
            "takes the last moment of all for none",
            "range::deadlines_reach_from_end_to_end",
            &["deadline"],
        )
        .rewrites(|transition, _| {
            for new in transition.rows_mut() {
                new.expires_at = new.expires_at.filter(|expires_at| *expires_at != Timestamp::MAX);
            }
        }),
        mutant(
            "ends what has a deadline before 1970 never",
            "range::deadlines_reach_from_end_to_end",
            &["over"],
        )
        .brings(|exchanged, _| exchanged.expired.retain(|expired| expired.expires_at >= Timestamp::EPOCH)),
        mutant(
            "renews for half a day at most",
            "range::leases_are_as_long_as_was_said",
            &["renewed: claimed before the end", "actual: 1"],
        )
        .renews(|sound, leases, now, until| sound.renew(leases, now, until.min(now + HALF_A_DAY))),
        mutant(
            "leases for half a day at most",
            "range::leases_are_as_long_as_was_said",
            &["claimed before the end", "actual: 1"],
        )
        .asks(|request, _| request.until = request.until.min(request.now + HALF_A_DAY)),
        mutant(
            "forgets when leases end",
            "claim::the_end_of_a_lease_is_a_next_moment",
            &["next moment", "actual: None"],
        )
        .exchanges(|sound, batch, claim, past| {
            let mut exchanged = sound.exchange(batch, claim)?;
            let ends = |next: &Timestamp| past.claims.values().any(|claimed| claimed.lease.until == *next);
            if claim.is_some_and(|claim| claim.limits.is_empty()) {
                exchanged.next_due = exchanged.next_due.filter(|next| !ends(next));
            }
            Ok(exchanged)
        }),
        mutant(
            "overlooks starts by a clock that is wrong",
            "limit::starts_by_a_clock_that_is_ahead_count",
            &["claimed by a clock that is right", "actual: 5"],
        )
        .exchanges(|sound, batch, claim, past| {
            let Some(claim) = claim else { return sound.exchange(batch, claim) };
            let ahead = past.claims.values().filter(|earlier| {
                earlier.task.started_at > Some(claim.now + stent_core::limits::CLAIM_LATE_MAX)
            });
            let ahead = ahead.count() as u32;
            let limits = claim.limits.iter().cloned().map(|limit| Limit {
                rate: limit.rate.map(|rate| Rate { max: rate.max + ahead, ..rate }),
                ..limit
            });
            let limits: Vec<_> = limits.collect();
            sound.exchange(batch, Some(&ClaimRequest { limits: &limits, ..*claim }))
        }),
    ]
}

fn keys() -> Vec<Mutant> {
    vec![
        mutant(
            "keeps results for whole seconds",
            "range::a_result_is_good_to_the_microsecond",
            &["just before its time is over", "actual: 1"],
        )
        .rewrites(|transition, _| {
            for keyed in transition.rows_mut().iter_mut().filter_map(|new| new.keyed.as_mut()) {
                keyed.ttl = keyed.ttl.map(|ttl| Duration::from_secs(ttl.as_secs()));
            }
        }),
        mutant(
            "keeps results for a month at most",
            "range::what_is_kept_is_kept_for_good",
            &["a result", "actual: 1"],
        )
        .rewrites(|transition, _| {
            for keyed in transition.rows_mut().iter_mut().filter_map(|new| new.keyed.as_mut()) {
                keyed.ttl = Some(keyed.ttl.unwrap_or(Duration::MAX).min(Duration::from_hours(720)));
            }
        }),
        mutant(
            "keeps the keys of dispatches for a month",
            "range::what_is_kept_is_kept_for_good",
            &["a dispatch", "actual: Applied"],
        )
        .rewrites(|transition, past| {
            let Transition::Dispatch(Dispatch { key: under @ Some(_), at, .. }) = transition else { return };
            let long_ago = past.sent.iter().any(|sent| {
                matches!(sent, Transition::Dispatch(Dispatch { key, .. }) if key == under)
                    && *at > sent.at() + Duration::from_hours(720)
            });
            if long_ago {
                *under = None;
            }
        }),
        mutant(
            "keeps signals for a month",
            "range::what_is_kept_is_kept_for_good",
            &["a signal", "actual: 0"],
        )
        .rewrites(|transition, past| {
            let at = transition.at();
            for new in transition.rows_mut().iter_mut().filter(|new| new.kind == StepKind::Signal) {
                let key = new.keyed.map(|keyed| keyed.key);
                let long_ago = past.sent.iter().any(|sent| match sent.action() {
                    Some(Action::Signal { key: sent_to, .. }) => {
                        Some(*sent_to) == key && at > sent.at() + Duration::from_hours(720)
                    }
                    _ => false,
                });
                if long_ago {
                    new.keyed = Some(Keyed::new(Key::of_signal(new.tree.execution, "forgotten")));
                }
            }
        }),
    ]
}

fn orders() -> Vec<Mutant> {
    vec![
        mutant("takes ids for signed numbers", "range::ids_of_any_bits_keep_their_order", &["claimed"])
            .brings(|exchanged, past| {
                exchanged.claimed.sort_by_key(|claimed| {
                    let task = &claimed.task;
                    (Reverse(task.priority), past.due(task.id), signed(task.id))
                });
            }),
        mutant("lists ids by mixed bytes", "range::ids_of_any_bits_keep_their_order", &["listed"])
            .lists(|page, _| page.sort_by_key(|view| Reverse(mixed(view.id.root())))),
        mutant("tells a timeline by mixed bytes", "range::ids_of_any_bits_keep_their_order", &["timeline"])
            .shows_tasks(|tasks, _| tasks.sort_by_key(|task| mixed(task.id))),
        mutant(
            "pages dead letters by their ends",
            "dead_letter::they_are_read_newest_first_whenever_they_ended",
            &["newest first, each once"],
        )
        .shows_dead_letters(|letters| {
            letters.sort_by_key(|letter| Reverse((letter.execution.ended_at, letter.execution.id)));
        }),
        mutant(
            "lists executions by when they were written",
            "list::executions_are_listed_by_id_whenever_they_were_written",
            &["newest first"],
        )
        .lists(|page, _| page.sort_by_key(|view| Reverse((view.created_at, view.id)))),
        mutant(
            "tells a timeline by when tasks were written",
            "inspect::a_timeline_is_in_the_order_of_ids_whenever_they_were_written",
            &["oldest first"],
        )
        .shows_tasks(|tasks, _| tasks.sort_by_key(|task| (task.created_at, task.id))),
        mutant(
            "lists first what is older of leases that end together",
            "list::of_leases_that_end_together_the_youngest_comes_first",
            &["running"],
        )
        .shows_running(|running| running.sort_by_key(|view| (Reverse(view.lease_until), view.id))),
        mutant(
            "begins anew where the end of the last page is gone",
            "list::a_page_may_begin_behind_what_is_gone",
            &["executions"],
        )
        .lists_by(|sound, filter, before, max| {
            let known = before.filter(|id| at_once(sound.0.executions(&[*id])).is_ok_and(|v| !v.is_empty()));
            at_once(sound.0.list(filter, known, max))
        }),
        mutant(
            "begins dead letters anew where one is none any more",
            "list::a_page_may_begin_behind_what_is_gone",
            &["dead letters"],
        )
        .letters_by(|sound, before, max| {
            let known = before.filter(|id| at_once(sound.0.dead_letter(*id)).is_ok_and(|l| l.is_some()));
            at_once(sound.0.dead_letters(known, max))
        }),
        mutant(
            "ends a timeline where a step is gone",
            "list::a_page_may_begin_behind_what_is_gone",
            &["tasks"],
        )
        .tasks_by(|sound, execution, after, max| {
            let tasks = at_once(sound.0.tasks(execution, None, usize::MAX))?;
            let from = match after {
                Some(after) => tasks.iter().position(|task| task.id == after).map_or(usize::MAX, |n| n + 1),
                None => 0,
            };
            Ok(tasks.into_iter().skip(from).take(max).collect())
        }),
        mutant(
            "counts items instead of looking at their positions",
            "list::a_page_may_begin_behind_what_is_gone",
            &["items"],
        )
        .items_by(|sound, map, from, max| {
            let items = at_once(sound.0.items(map, Seq(0), usize::MAX))?;
            Ok(items.into_iter().skip(from.0 as usize).take(max).collect())
        }),
        mutant("orders steps by the text of their positions", "order::ten_comes_after_nine", &["open steps"])
            .hands_out(|claimed, _| {
                let open = claimed.steps.iter().position(|step| step.order().is_none());
                if let Some(open) = open {
                    claimed.steps[open..].sort_by_key(|step| step.seq.0.to_string());
                }
            }),
    ]
}

fn texts() -> Vec<Mutant> {
    vec![
        mutant("cuts long tags", "range::long_names_are_told_apart_to_their_last_byte", &["tag"]).rewrites(
            |transition, _| {
                for new in transition.rows_mut() {
                    new.lane.tags = new.lane.tags.iter().map(|tag| cut(tag, 200)).collect();
                }
            },
        ),
        mutant("cuts long queues", "range::long_names_are_told_apart_to_their_last_byte", &["queue"])
            .rewrites(|transition, _| {
                for new in transition.rows_mut() {
                    new.lane.queue = cut(&new.lane.queue, 200);
                }
            }),
        mutant("cuts names of notes", "range::long_names_are_told_apart_to_their_last_byte", &["counters"])
            .rewrites(|transition, _| {
                for said in transition.commit_mut().into_iter().flat_map(|commit| &mut commit.notes) {
                    if let Note::Count { name, .. } = &mut said.note {
                        *name = cut(name, 200);
                    }
                }
            }),
        mutant("trims tags", "range::names_are_not_normalized", &["tag"]).rewrites(|transition, _| {
            for new in transition.rows_mut() {
                new.lane.tags = new.lane.tags.iter().map(|tag| tag.trim().to_owned()).collect();
            }
        }),
        mutant(
            "takes empty data of a failure for none",
            "range::empty_and_none_are_told_apart",
            &["failure", "data: None"],
        )
        .rewrites(|transition, _| {
            failures(transition, |failure| {
                failure.data = failure.data.take().filter(|data| !data.is_empty());
            });
        }),
        mutant(
            "takes an empty trace of a failure for none",
            "range::empty_and_none_are_told_apart",
            &["failure", "trace: None"],
        )
        .rewrites(|transition, _| {
            failures(transition, |failure| {
                failure.trace = failure.trace.take().filter(|trace| !trace.is_empty());
            });
        }),
        mutant(
            "takes a cause without a text for none",
            "range::empty_and_none_are_told_apart",
            &["failure", "causes: []"],
        )
        .rewrites(|transition, _| {
            failures(transition, |failure| {
                if failure.causes.concat().is_empty() {
                    failure.causes.clear();
                }
            });
        }),
    ]
}

fn policies() -> Vec<Mutant> {
    vec![
        mutant(
            "takes an empty list of kinds for none",
            "range::empty_and_none_are_told_apart",
            &["policy", "retry_for: None"],
        )
        .rewrites(|transition, _| {
            for policy in transition.rows_mut().iter_mut().filter_map(|new| new.retry.as_mut()) {
                policy.retry_for = policy.retry_for.take().filter(|kinds| !kinds.is_empty());
            }
        }),
        mutant(
            "keeps kinds of failures in one text, with commas between",
            "range::kinds_of_failures_are_any_texts",
            &["policy"],
        )
        .rewrites(|transition, _| {
            for policy in transition.rows_mut().iter_mut().filter_map(|new| new.retry.as_mut()) {
                policy.retry_for = policy
                    .retry_for
                    .take()
                    .map(|kinds| kinds.join(",").split(',').map(str::to_owned).collect());
            }
        }),
        mutant("keeps delays in microseconds", "range::delays_reach_from_end_to_end", &["policy"]).rewrites(
            |transition, _| {
                for policy in transition.rows_mut().iter_mut().filter_map(|new| new.retry.as_mut()) {
                    let micros = |delay: Duration| {
                        Duration::from_micros(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX))
                    };
                    policy.initial_delay = micros(policy.initial_delay);
                    policy.max_delay = micros(policy.max_delay);
                }
            },
        ),
    ]
}
