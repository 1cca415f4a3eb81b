//! A task as bytes: a head of fixed width, which scripts change in place, and a tail, in which only the retry policy and the queue
//! ever change.
//!
//! The head begins with the revision: random bytes that every write draws anew. Revisions need no counter, and none repeats.
//! `claim.lua` writes into the head at the offsets below, which it repeats.

use serde::{Deserialize, Serialize};
use stent_core::backend::{Error, ErrorKind, Result};
use stent_core::ledger::Row;
use stent_core::model::{
    Epoch, Lane, LaneKey, Mark, Marks, NewTask, Nonce, RetryPolicy, Seq, Slot, StepKind, TaskStatus, Tree,
};
use stent_core::{Digest, ExecutionId, Key, Payload, TaskId, Timestamp, WorkerId};
use uuid::Uuid;

use crate::keys::{moment, shown, to_moment};
use crate::link::said;

/// The revision of a row or of a key entry.
pub(crate) type Revision = [u8; 8];

/// The part of a task that every transition reads and writes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) row: Row,
    pub(crate) seq: Seq,
    pub(crate) priority: i16,
    pub(crate) lane: LaneKey,
    pub(crate) created_at: Timestamp,
}

/// The part of a task that only its worker and operators read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tail {
    pub(crate) lane: Lane,
    pub(crate) args: Payload,
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) trace: Option<String>,
}

impl Tail {
    pub(crate) fn of(task: &NewTask) -> Self {
        Self {
            lane: task.lane.clone(),
            args: task.args.clone(),
            retry: task.retry.clone(),
            trace: task.trace.clone(),
        }
    }
}

/// The offset of each field. Absent optional fields are zero; the bits of `PRESENT` mark the fields that are set.
pub(crate) mod at {
    pub(crate) const REVISION: usize = 0;
    pub(crate) const STATUS: usize = 8;
    pub(crate) const MARKS: usize = 9;
    pub(crate) const KIND: usize = 10;
    pub(crate) const FORMAT: usize = 11;
    pub(crate) const PRESENT: usize = 12;
    pub(crate) const PRIORITY: usize = 14;
    pub(crate) const EPOCH: usize = 16;
    pub(crate) const COMMIT: usize = 24;
    pub(crate) const COMMIT_EPOCH: usize = 28;
    pub(crate) const CLAIMS: usize = 36;
    pub(crate) const ATTEMPTS: usize = 40;
    pub(crate) const CRASHES: usize = 44;
    pub(crate) const RELEASES: usize = 48;
    pub(crate) const READY_AT: usize = 52;
    pub(crate) const WORKER: usize = 60;
    pub(crate) const DONE: usize = 76;
    pub(crate) const WAKE: usize = 80;
    pub(crate) const ORDER: usize = 84;
    pub(crate) const FED: usize = 88;
    pub(crate) const TOTAL: usize = 92;
    pub(crate) const NOTED: usize = 96;
    pub(crate) const SEQ: usize = 100;
    pub(crate) const DIGEST: usize = 104;
    pub(crate) const KEY: usize = 112;
    pub(crate) const EXPIRES_AT: usize = 128;
    pub(crate) const SLOT: usize = 136;
    pub(crate) const STARTED_AT: usize = 144;
    pub(crate) const ENDED_AT: usize = 152;
    pub(crate) const CREATED_AT: usize = 160;
    pub(crate) const LANE: usize = 168;
    pub(crate) const ID: usize = 176;
    pub(crate) const EXECUTION: usize = 192;
    pub(crate) const PARENT: usize = 208;
    pub(crate) const OWNER: usize = 224;
    pub(crate) const LEN: usize = 240;
}

/// The bits of `PRESENT`.
mod bit {
    pub(super) const READY_AT: u16 = 1;
    pub(super) const WORKER: u16 = 1 << 1;
    pub(super) const WAKE: u16 = 1 << 2;
    pub(super) const ORDER: u16 = 1 << 3;
    pub(super) const TOTAL: u16 = 1 << 4;
    pub(super) const DIGEST: u16 = 1 << 5;
    pub(super) const KEY: u16 = 1 << 6;
    pub(super) const EXPIRES_AT: u16 = 1 << 7;
    pub(super) const SLOT: u16 = 1 << 8;
    pub(super) const STARTED_AT: u16 = 1 << 9;
    pub(super) const ENDED_AT: u16 = 1 << 10;
    pub(super) const PARENT: u16 = 1 << 11;
    pub(super) const OWNER: u16 = 1 << 12;
}

/// The format of the heads that this version writes.
const FORMAT: u8 = 1;

const STATUSES: [TaskStatus; 6] = [
    TaskStatus::Pending,
    TaskStatus::Running,
    TaskStatus::Waiting,
    TaskStatus::Completed,
    TaskStatus::Failed,
    TaskStatus::Cancelled,
];

const KINDS: [StepKind; 8] = [
    StepKind::Call,
    StepKind::Sleep,
    StepKind::Inline,
    StepKind::Map,
    StepKind::Gather,
    StepKind::Signal,
    StepKind::Spawn,
    StepKind::Join,
];

/// The marks in the order of their bits, which never changes.
const MARKS: [Mark; 5] = [Mark::Hit, Mark::Cancel, Mark::Expire, Mark::Redrive, Mark::Discard];

impl Head {
    pub(crate) fn of(task: &NewTask, row: Row, created_at: Timestamp) -> Self {
        Self { row, seq: task.seq, priority: task.priority, lane: task.lane.key(), created_at }
    }

    /// Encodes the head with a revision.
    pub(crate) fn encode(&self, revision: Revision) -> Vec<u8> {
        let row = &self.row;
        let mut out = Writer { bytes: vec![0; at::LEN], present: 0 };
        out.put(at::REVISION, &revision);
        out.put(at::STATUS, &[code(&STATUSES, row.status)]);
        out.put(at::MARKS, &[bits_of(row.marks)]);
        out.put(at::KIND, &[code(&KINDS, row.kind)]);
        out.put(at::FORMAT, &[FORMAT]);
        out.put(at::PRIORITY, &self.priority.to_be_bytes());
        out.epoch(at::EPOCH, row.epoch);
        out.put(at::COMMIT, &row.commit.to_be_bytes());
        out.epoch(at::COMMIT_EPOCH, row.commit_epoch);
        out.put(at::CLAIMS, &row.uncommitted_claims.to_be_bytes());
        out.put(at::ATTEMPTS, &row.attempts.to_be_bytes());
        out.put(at::CRASHES, &row.crashes.to_be_bytes());
        out.put(at::RELEASES, &row.releases.to_be_bytes());
        out.some(bit::READY_AT, at::READY_AT, row.ready_at.map(moment));
        out.some(bit::WORKER, at::WORKER, row.worker.map(|worker| *worker.as_uuid().as_bytes()));
        out.put(at::DONE, &row.done.to_be_bytes());
        out.some(bit::WAKE, at::WAKE, row.wake_threshold.map(u32::to_be_bytes));
        out.some(bit::ORDER, at::ORDER, row.done_order.map(u32::to_be_bytes));
        out.put(at::FED, &row.fed.to_be_bytes());
        out.some(bit::TOTAL, at::TOTAL, row.total.map(u32::to_be_bytes));
        out.put(at::NOTED, &row.noted.to_be_bytes());
        out.put(at::SEQ, &self.seq.0.to_be_bytes());
        out.some(bit::DIGEST, at::DIGEST, row.digest.map(|digest| digest.to_i64().to_be_bytes()));
        out.some(bit::KEY, at::KEY, row.key.map(|key| *key.as_uuid().as_bytes()));
        out.some(bit::EXPIRES_AT, at::EXPIRES_AT, row.expires_at.map(moment));
        out.some(bit::SLOT, at::SLOT, row.limit_key.map(|slot| slot.as_i64().to_be_bytes()));
        out.some(bit::STARTED_AT, at::STARTED_AT, row.started_at.map(moment));
        out.some(bit::ENDED_AT, at::ENDED_AT, row.ended_at.map(moment));
        out.put(at::CREATED_AT, &moment(self.created_at));
        out.put(at::LANE, &self.lane.as_i64().to_be_bytes());
        out.put(at::ID, row.id.as_uuid().as_bytes());
        out.put(at::EXECUTION, row.tree.execution.as_uuid().as_bytes());
        out.some(bit::PARENT, at::PARENT, row.tree.parent.map(|parent| *parent.as_uuid().as_bytes()));
        out.some(bit::OWNER, at::OWNER, row.tree.owner.map(|owner| *owner.as_uuid().as_bytes()));
        let present = out.present;
        out.put(at::PRESENT, &present.to_be_bytes());
        out.bytes
    }

    /// Decodes the head and its revision from a task's bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, Revision)> {
        let input = Reader { bytes, present: 0 };
        let (format, present) = match (bytes.get(at::FORMAT), bytes.len() >= at::LEN) {
            (Some(format), true) => (*format, u16::from_be_bytes(input.take(at::PRESENT))),
            _ => return Err(corrupt(format!("a task has {} bytes, which is no task", bytes.len()))),
        };
        if format != FORMAT {
            return Err(corrupt(format!("a task has format {format}; this program knows {FORMAT}")));
        }
        let input = Reader { bytes, present };
        let id = TaskId::from_uuid(input.uuid(at::ID));
        let tree = Tree {
            execution: ExecutionId::from_uuid(input.uuid(at::EXECUTION)),
            parent: input.has(bit::PARENT).then(|| TaskId::from_uuid(input.uuid(at::PARENT))),
            owner: input.has(bit::OWNER).then(|| TaskId::from_uuid(input.uuid(at::OWNER))),
        };
        let kind = word(&KINDS, input.byte(at::KIND), "kind")?;
        let row = Row {
            status: word(&STATUSES, input.byte(at::STATUS), "status")?,
            marks: marks(input.byte(at::MARKS))?,
            epoch: input.epoch(at::EPOCH)?,
            commit: input.int(at::COMMIT),
            commit_epoch: input.epoch(at::COMMIT_EPOCH)?,
            uncommitted_claims: input.int(at::CLAIMS),
            attempts: input.int(at::ATTEMPTS),
            crashes: input.int(at::CRASHES),
            releases: input.int(at::RELEASES),
            ready_at: input.moment(bit::READY_AT, at::READY_AT),
            worker: input.has(bit::WORKER).then(|| WorkerId::from_uuid(input.uuid(at::WORKER))),
            done: input.int(at::DONE),
            wake_threshold: input.has(bit::WAKE).then(|| input.int(at::WAKE)),
            done_order: input.has(bit::ORDER).then(|| input.int(at::ORDER)),
            fed: input.int(at::FED),
            total: input.has(bit::TOTAL).then(|| input.int(at::TOTAL)),
            noted: input.int(at::NOTED),
            digest: input
                .has(bit::DIGEST)
                .then(|| Digest::from_i64(i64::from_be_bytes(input.take(at::DIGEST)))),
            key: input.has(bit::KEY).then(|| Key::from_uuid(input.uuid(at::KEY))),
            expires_at: input.moment(bit::EXPIRES_AT, at::EXPIRES_AT),
            limit_key: input.has(bit::SLOT).then(|| Slot::from_i64(i64::from_be_bytes(input.take(at::SLOT)))),
            started_at: input.moment(bit::STARTED_AT, at::STARTED_AT),
            ended_at: input.moment(bit::ENDED_AT, at::ENDED_AT),
            ..Row::new(id, tree, kind)
        };
        let head = Self {
            row,
            seq: Seq(input.int(at::SEQ)),
            priority: i16::from_be_bytes(input.take(at::PRIORITY)),
            lane: LaneKey::from_i64(i64::from_be_bytes(input.take(at::LANE))),
            created_at: to_moment(input.take(at::CREATED_AT)),
        };
        Ok((head, input.take(at::REVISION)))
    }
}

struct Writer {
    bytes: Vec<u8>,
    present: u16,
}

impl Writer {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn some<const N: usize>(&mut self, bit: u16, at: usize, bytes: Option<[u8; N]>) {
        if let Some(bytes) = bytes {
            self.present |= bit;
            self.put(at, &bytes);
        }
    }

    fn epoch(&mut self, at: usize, epoch: Epoch) {
        self.put(at, &epoch.count.to_be_bytes());
        self.put(at + 4, &epoch.nonce.bits().to_be_bytes());
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    present: u16,
}

impl Reader<'_> {
    /// Returns bytes within the head. `Head::decode` has checked its length.
    fn take<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
    }

    fn byte(&self, at: usize) -> u8 {
        u8::from_be_bytes(self.take(at))
    }

    fn int(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.take(at))
    }

    fn uuid(&self, at: usize) -> Uuid {
        Uuid::from_bytes(self.take(at))
    }

    const fn has(&self, bit: u16) -> bool {
        self.present & bit != 0
    }

    fn moment(&self, bit: u16, at: usize) -> Option<Timestamp> {
        self.has(bit).then(|| to_moment(self.take(at)))
    }

    fn epoch(&self, at: usize) -> Result<Epoch> {
        let (count, nonce) = (self.int(at), self.int(at + 4));
        let nonce = if nonce == 0 { Nonce::NONE } else { Nonce::new(nonce) };
        Ok(Epoch::new(count, nonce))
    }
}

fn code<T: PartialEq + Copy>(words: &[T], word: T) -> u8 {
    let at = words.iter().position(|one| *one == word);
    at.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

fn word<T: Copy>(words: &[T], code: u8, what: &str) -> Result<T> {
    words.get(usize::from(code)).copied().ok_or_else(|| corrupt(format!("no {what} has the code {code}")))
}

/// Encodes marks with one bit each.
fn bits_of(marks: Marks) -> u8 {
    marks.iter().fold(0, |bits, mark| bits | 1 << code(&MARKS, mark))
}

fn marks(bits: u8) -> Result<Marks> {
    if u32::from(bits) >> MARKS.len() != 0 {
        return Err(corrupt(format!("no marks have the bits {bits:#b}")));
    }
    Ok(MARKS.iter().copied().filter(|mark| bits & bits_of(Marks::of(*mark)) != 0).collect())
}

pub(crate) fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, "decode").with_message(message)
}

/// Names the key of the value that cannot be decoded.
pub(crate) fn at_key(key: Vec<u8>, error: Error) -> Error {
    let message = format!("the value under {} is not Stent's ({})", shown(&key), said(&error));
    Error::new(error.kind(), error.operation()).with_message(message).with_source(error)
}

/// Encodes any other value as CBOR. Its payloads keep their bytes.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes)
        .map_err(|error| Error::new(ErrorKind::Limit, "encode").with_source(error))?;
    Ok(bytes)
}

pub(crate) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T> {
    ciborium::from_reader(bytes).map_err(|error| Error::new(ErrorKind::Corrupt, "decode").with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_bits() {
        let every: Marks = Mark::ALL.iter().copied().collect();
        let two = Marks::of(Mark::Cancel).with(Mark::Redrive);
        for (of, bits) in [(Marks::NONE, 0), (Marks::of(Mark::Cancel), 0b10), (two, 0b1010), (every, 0b11111)]
        {
            assert_eq!((bits_of(of), marks(bits).expect("decodes")), (bits, of));
        }
        assert!(marks(0b10_0000).is_err());
    }

    /// Returns the number that `claim.lua` gives a name: names and values are in lists of the same length.
    fn in_lua(name: &str) -> Option<u64> {
        include_str!("lua/claim.lua").lines().find_map(|line| {
            let (names, values) = line.strip_prefix("local ")?.split_once(" = ")?;
            let at = names.split(", ").position(|one| one == name)?;
            let value = values.split(", ").nth(at)?;
            value.trim_matches('\'').trim_start_matches('\\').parse().ok()
        })
    }

    #[test]
    fn the_script_knows_the_layout() {
        for (name, offset) in [
            ("REVISION", at::REVISION),
            ("STATUS", at::STATUS),
            ("PRESENT", at::PRESENT),
            ("EPOCH", at::EPOCH),
            ("CLAIMS", at::CLAIMS),
            ("CRASHES", at::CRASHES),
            ("READY_AT", at::READY_AT),
            ("WORKER", at::WORKER),
            ("DONE", at::DONE),
            ("ORDER", at::ORDER),
            ("EXPIRES_AT", at::EXPIRES_AT),
            ("SLOT", at::SLOT),
            ("STARTED_AT", at::STARTED_AT),
            ("ENDED_AT", at::ENDED_AT),
            ("EXECUTION", at::EXECUTION),
            ("LEN", at::LEN),
        ] {
            assert_eq!(in_lua(name), Some(offset as u64), "{name}");
        }
        for (name, bit) in [
            ("HAS_READY", bit::READY_AT),
            ("HAS_WORKER", bit::WORKER),
            ("HAS_WAKE", bit::WAKE),
            ("HAS_ORDER", bit::ORDER),
            ("HAS_EXPIRY", bit::EXPIRES_AT),
            ("HAS_SLOT", bit::SLOT),
            ("HAS_STARTED", bit::STARTED_AT),
            ("HAS_ENDED", bit::ENDED_AT),
        ] {
            assert_eq!(in_lua(name), Some(u64::from(bit)), "{name}");
        }
        for (name, status) in [("RUNNING", TaskStatus::Running), ("COMPLETED", TaskStatus::Completed)] {
            assert_eq!(in_lua(name), Some(u64::from(code(&STATUSES, status))), "{name}");
        }
    }
}
