//! Ids that are derived from a task's position in the tree: the same in every run of the code that asks for the task.
//!
//! A step's first run may be cut off before anything of it is written. Its second run must have the same id, because code
//! passes the id, and values derived from it, to services that know nothing of runs. So the id of a step, of an item and of a
//! spawned execution is a function of data that is the same in every run:
//!
//! ```text
//!  0            48   52        64 66                                  128
//!  │ time       │ v7 │ position │v│ hash of parent, position, last failure, kind and name
//! ```
//!
//! The *time* is that of the last completion which the asking code has seen, in milliseconds, and later than the time in the
//! parent's id. Positions of 4,096 and more carry into it. So all ids grow roughly with time, a child's id is greater than its
//! parent's, the ids of children grow with their positions, and indexes grow at one end. An item's time is the one after its
//! map's: its chunk may be written at any moment, and the id must not depend on that.
//!
//! The *last failure* is the order of the last failure that the asking code has seen, or zero. It distinguishes steps at the
//! same position in two attempts. A retry cuts the record at a failure: the failed step itself is asked for as before, and is
//! the same step again. The code after it has seen the failure in one attempt and not in the other, or another failure, and
//! orders of completions are never reused.
//!
//! The derivation of ids is fixed forever: a process of a newer version continues steps that an older version began.

use uuid::{Builder, Uuid};

use crate::model::{Seq, StepKind, split_version};
use crate::{ExecutionId, Key, TaskId, Timestamp};

/// The origin of a step's request, from which the step's id is derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The task whose code asks.
    pub parent: TaskId,
    /// The step's position in it.
    pub seq: Seq,
    /// The order of the last failure that the code has seen. Zero if it has seen none.
    pub failure: u32,
    /// The kind of step.
    pub kind: StepKind,
    /// The called function, or the step's own name. It is the same for all versions of a function.
    pub name: &'a str,
    /// The time of the last completion that the code has seen.
    pub now: Timestamp,
}

impl TaskId {
    /// The id of a step.
    #[must_use]
    pub fn of_step(origin: &Origin<'_>) -> Self {
        Self::from_uuid(origin.id("id of a step"))
    }

    /// The id of the item at a position of a map.
    #[must_use]
    pub fn of_item(map: Self, seq: Seq) -> Self {
        let key = Key::draw("id of an item", &[map.as_uuid().as_bytes(), &seq.0.to_be_bytes()]);
        Self::from_uuid(id(after(map), seq, key))
    }
}

impl ExecutionId {
    /// The id of the execution that a step spawns.
    #[must_use]
    pub fn of_spawn(origin: &Origin<'_>) -> Self {
        Self::from_uuid(origin.id("id of an execution"))
    }
}

impl Origin<'_> {
    fn id(&self, of: &str) -> Uuid {
        let name = match self.kind {
            StepKind::Call | StepKind::Map | StepKind::Gather | StepKind::Spawn => split_version(self.name).0,
            StepKind::Sleep | StepKind::Inline | StepKind::Signal | StepKind::Join => self.name,
        };
        let key = Key::draw(
            of,
            &[
                self.parent.as_uuid().as_bytes(),
                &self.seq.0.to_be_bytes(),
                &self.failure.to_be_bytes(),
                self.kind.as_str().as_bytes(),
                name.as_bytes(),
            ],
        );
        let now = u64::try_from(self.now.as_micros() / 1_000).unwrap_or_default();
        id(now.max(after(self.parent)), self.seq, key)
    }
}

/// The first millisecond after that of an id. Zero for an id without a time: the caller of a dispatch may choose any id.
fn after(parent: TaskId) -> u64 {
    let (high, _) = parent.as_uuid().as_u64_pair();
    if parent.as_uuid().get_version_num() == 7 { (high >> 16) + 1 } else { 0 }
}

/// A version 7 UUID whose random bits are the position and, in the last 62 bits, a hash.
fn id(millis: u64, seq: Seq, hash: Key) -> Uuid {
    let millis = (millis + u64::from(seq.0 >> POSITION_BITS)).min(MILLIS_MAX);
    let position = seq.0 & ((1 << POSITION_BITS) - 1);
    let (_, low) = hash.as_uuid().as_u64_pair();
    let mut chance = [0; 10];
    chance[..2].copy_from_slice(&(position as u16).to_be_bytes());
    chance[2..].copy_from_slice(&low.to_be_bytes());
    Builder::from_unix_timestamp_millis(millis, &chance).into_uuid()
}

/// Bits of the position that have their own field.
const POSITION_BITS: u32 = 12;
/// The last moment that such an id can hold, in the year 10889.
const MILLIS_MAX: u64 = (1 << 48) - 1;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn task(n: u128) -> TaskId {
        TaskId::from_uuid(Uuid::from_u128(n))
    }

    fn charge(seq: u32) -> Origin<'static> {
        Origin {
            parent: task(7),
            seq: Seq(seq),
            failure: 0,
            kind: StepKind::Call,
            name: "charge",
            now: Timestamp::from_micros(1_800_000_000_123_456),
        }
    }

    #[test]
    fn ids_are_fixed_forever() {
        // Computed once by another program. A step that is cut off while a fleet is upgraded has the id that the old version
        // gave it.
        let map = TaskId::of_step(&Origin { kind: StepKind::Map, ..charge(2) });
        let far = Origin { now: Timestamp::MAX, ..charge(u32::MAX) };
        for (id, expected) in [
            (TaskId::of_step(&charge(0)), "01a3185c-507b-7000-8e12-fd694f0bf3fd"),
            (TaskId::of_step(&charge(1)), "01a3185c-507b-7001-b064-91e414dc5cf5"),
            (TaskId::of_step(&charge(4_097)), "01a3185c-507c-7001-bf05-55cf1761bfa9"),
            (TaskId::of_step(&Origin { failure: 3, ..charge(0) }), "01a3185c-507b-7000-917c-911578b28495"),
            (
                TaskId::of_step(&Origin { kind: StepKind::Inline, ..charge(0) }),
                "01a3185c-507b-7000-892b-0d65b79808da",
            ),
            (
                TaskId::of_step(&Origin { parent: task(8), name: "refund", ..charge(0) }),
                "01a3185c-507b-7000-8fa1-fba9eee26123",
            ),
            (map, "01a3185c-507b-7002-a1ac-d739a556abe2"),
            (TaskId::of_item(map, Seq(0)), "01a3185c-507c-7000-9d82-f061041bd911"),
            (TaskId::of_item(map, Seq(8_191)), "01a3185c-507d-7fff-ad2b-6b2ad95ac1fa"),
            (TaskId::of_step(&Origin { parent: map, ..charge(0) }), "01a3185c-507c-7000-be19-ecda8c2e6dfe"),
            (TaskId::of_step(&far), "ffffffff-ffff-7fff-b770-086f1b2c02d0"),
        ] {
            assert_eq!(id.to_string(), expected);
        }
        let spawned = ExecutionId::of_spawn(&Origin { kind: StepKind::Spawn, ..charge(0) });
        assert_eq!(spawned.to_string(), "01a3185c-507b-7000-b442-808eb482deda");
    }

    #[test]
    fn versions_of_a_function_are_the_same_step_and_names_with_an_at_sign_are_not() {
        let id = |kind, name| TaskId::of_step(&Origin { kind, name, ..charge(0) });
        assert_eq!(id(StepKind::Call, "charge@2"), id(StepKind::Call, "charge"));
        assert_eq!(id(StepKind::Map, "charge@2"), id(StepKind::Map, "charge@3"));
        assert_ne!(id(StepKind::Inline, "charge@2"), id(StepKind::Inline, "charge"));
    }

    #[test]
    fn a_step_and_the_execution_that_it_starts_have_two_ids() {
        let spawn = Origin { kind: StepKind::Spawn, ..charge(0) };
        assert_ne!(TaskId::of_step(&spawn), ExecutionId::of_spawn(&spawn).root());
    }

    #[test]
    fn a_time_before_1970_is_taken_for_1970() {
        let id = TaskId::of_step(&Origin { now: Timestamp::from_micros(-1), ..charge(0) });
        assert!(id.to_string().starts_with("00000000-0000-7000-"), "{id}");
    }

    #[test]
    fn a_child_is_greater_than_its_parent_whatever_the_clocks_say() {
        let map = TaskId::of_step(&Origin { kind: StepKind::Map, ..charge(4_095) });
        let earlier = Origin { parent: map, now: Timestamp::EPOCH, ..charge(0) };
        assert!(map < TaskId::of_step(&earlier) && map < TaskId::of_item(map, Seq(0)));
        assert!(map < ExecutionId::of_spawn(&earlier).root());
        // A parent whose id has no time; its children's ids have one all the same.
        let chosen = TaskId::from_uuid(Uuid::from_u128(u128::MAX));
        assert!(
            TaskId::of_step(&Origin { parent: chosen, ..charge(0) }).to_string().starts_with("01a3185c-507b")
        );
    }

    #[test]
    fn the_items_of_a_large_map_are_in_order_and_no_two_are_the_same() {
        let map = TaskId::of_step(&Origin { kind: StepKind::Map, ..charge(2) });
        let ids: Vec<_> = (0..300_000).map(|seq| TaskId::of_item(map, Seq(seq))).collect();
        assert!(ids.is_sorted_by(|earlier, later| earlier < later));
    }

    #[test]
    fn no_two_of_many_parents_have_a_child_in_common() {
        let mut ids = BTreeSet::new();
        for parent in 0..2_000 {
            for seq in 0..25 {
                let origin = Origin { parent: task(parent), ..charge(seq) };
                ids.insert(TaskId::of_step(&origin));
                ids.insert(TaskId::of_step(&Origin { failure: 1, ..origin }));
                ids.insert(TaskId::of_item(task(parent), Seq(seq)));
                ids.insert(ExecutionId::of_spawn(&origin).root());
            }
        }
        assert_eq!(ids.len(), 2_000 * 25 * 4);
    }

    fn kinds() -> impl Strategy<Value = StepKind> {
        prop_oneof![Just(StepKind::Call), Just(StepKind::Inline), Just(StepKind::Sleep), Just(StepKind::Map)]
    }

    type Parts = (u128, u32, u32, StepKind, String, i64);

    /// Parts from a small space, so that many pairs differ in one of them only.
    fn parts() -> impl Strategy<Value = Parts> {
        (0..3_u128, 0..3_u32, 0..3_u32, kinds(), "[ab]{0,2}", 0..3_i64)
    }

    fn of((parent, seq, failure, kind, name, millis): &Parts) -> TaskId {
        TaskId::of_step(&Origin {
            parent: task(*parent),
            seq: Seq(*seq),
            failure: *failure,
            kind: *kind,
            name,
            now: Timestamp::from_micros(millis * 1_000),
        })
    }

    proptest! {
        #[test]
        fn an_id_is_the_same_exactly_if_all_that_it_is_derived_from_is(one in parts(), two in parts()) {
            prop_assert_eq!(of(&one) == of(&two), one == two);
        }

        #[test]
        fn an_id_is_of_version_7(parent: u128, seq: u32, failure: u32, micros: i64) {
            let now = Timestamp::from_micros(micros);
            let origin = Origin { parent: task(parent), seq: Seq(seq), failure, now, ..charge(0) };
            for id in [TaskId::of_step(&origin), TaskId::of_item(task(parent), Seq(seq))] {
                prop_assert_eq!(id.as_uuid().get_version_num(), 7);
                prop_assert_eq!(id.as_uuid().get_variant(), uuid::Variant::RFC4122);
            }
        }

        /// For all names, failures and steps in between, later and further steps have greater ids.
        #[test]
        fn ids_of_one_parent_grow_with_its_time_and_positions(
            start in 0..1_i64 << 57,
            gaps in proptest::collection::vec((0..5_000_i64, 1..9_000_u32, 0..3_u32), 1..60),
        ) {
            let (mut now, mut seq, mut last) = (start, 0, None);
            for (later, further, failure) in gaps {
                now += later;
                seq += further;
                let now = Timestamp::from_micros(now);
                let id = TaskId::of_step(&Origin { seq: Seq(seq), failure, now, ..charge(0) });
                prop_assert!(last < Some(id));
                last = Some(id);
            }
        }
    }
}
