//! Redrives: the root moves to the queue that a redrive names, and nothing else does (G13).

use super::words::*;

/// The queue of a redrive.
const fn queue(action: &mut Action) -> Option<&mut Option<String>> {
    match action {
        Action::Redrive { queue, .. } => Some(queue),
        Action::Cancel { .. } | Action::Signal { .. } | Action::Discard => None,
    }
}

pub(super) fn mutants() -> Vec<Mutant> {
    const MOVES: &str = "dead_letter::a_redrive_may_move_the_root_to_another_queue";
    const READ: &str = "dead_letter::one_that_moved_is_read_on_its_new_queue_only";
    const KEEPS: &str = "dead_letter::one_that_moved_keeps_its_tags_and_its_limit";
    const REPEATED: &str = "dead_letter::a_redrive_that_is_repeated_moves_nothing";
    vec![
        mutant("redrives on the old queue", MOVES, &["on the old queue", "actual: 1"]).rewrites(
            |transition, _| {
                action(transition).and_then(queue).into_iter().for_each(|queue| *queue = None);
            },
        ),
        mutant("hands out a moved task as one of its old queue", MOVES, &["lane", "default/checkout"])
            .hands_out(|claimed, past| {
                let first = past.rows().find(|row| row.id == claimed.task.id);
                first.into_iter().for_each(|row| row.lane.queue.clone_into(&mut claimed.task.lane.queue));
            }),
        mutant("forgets the new queue at the next redrive", MOVES, &["a redrive without a queue"]).rewrites(
            |transition, _| {
                if let Some(queue @ None) = action(transition).and_then(queue) {
                    *queue = Some("default".to_owned());
                }
            },
        ),
        mutant("shows the queue of the dispatch", READ, &["view", "default"]).shows_executions(
            |executions, past| {
                for view in executions {
                    let first = past.rows().find(|row| row.id == view.id.root());
                    first.into_iter().for_each(|row| row.lane.queue.clone_into(&mut view.queue));
                }
            },
        ),
        mutant("lists nothing that has moved", READ, &["listed on the new queue"])
            .lists(|page, _| page.retain(|view| view.queue == Lane::DEFAULT_QUEUE)),
        mutant("counts moved tasks in their old lane", READ, &["waiting", "default/charge"]).shows_lanes(
            |lanes| {
                for view in lanes {
                    Lane::DEFAULT_QUEUE.clone_into(&mut view.lane.queue);
                }
            },
        ),
        mutant("drops the tags of a task that moves", KEEPS, &["lane", "eu/charge"]).hands_out(
            |claimed, _| {
                if claimed.task.marks.contains(Mark::Redrive) {
                    claimed.task.lane.tags.clear();
                }
            },
        ),
        mutant("moves a dead letter again when the redrive is repeated", REPEATED, &["claimed", "actual: 0"])
            .exchanges(|sound, batch, claim, _| {
                let mut batch = batch.to_vec();
                let last = batch.iter_mut().rev().find_map(|sent| queue(action(sent)?)?.clone());
                for sent in batch.iter_mut().filter_map(|sent| queue(action(sent)?)) {
                    sent.clone_from(&last);
                }
                sound.exchange(&batch, claim)
            }),
    ]
}
