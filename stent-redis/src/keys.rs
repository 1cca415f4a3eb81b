//! The keys of a namespace. All keys share the hash tag of the namespace, so a namespace lives in one slot of a cluster.
//!
//! All members of sorted sets except `seen` have the score 0, so the server orders them by their bytes. Members contain moments in
//! an encoding that sorts by time, ids as their bytes, and positions as big-endian numbers.
//!
//! | Key | Type | Holds |
//! |---|---|---|
//! | `t` task | string | the task's row: see [`row`](crate::row) |
//! | `r` task | string | the task's result, or the failure of its last attempt |
//! | `h` task | list | the task's ended claims |
//! | `k` key | string | the key entry |
//! | `lanes` | hash | lanes that have open tasks, by their key and priority |
//! | `lp`, `lw`, `lr` lane | due moment, task | tasks that may be claimed: pending, parked, running |
//! | `lo` lane | task | other open tasks of the lane |
//! | `due` | priority, due moment, task, class, lane | the first member of each `lp`, `lw` and `lr`: see `lanes.lua` |
//! | `m` function | end of the lease, task | tasks that hold a slot of a limit |
//! | `s` function | hash | starts by bucket, for rates |
//! | `c` task | position, task | the task's children |
//! | `f` task | completion, task | the task's ended children, in the order of completion |
//! | `om` task | task | the task's children that are open maps |
//! | `z` task | due moment, position, task | the task's open sleeps |
//! | `e`, `o` execution | task | the execution's tasks, and its open tasks, both without the root |
//! | `u` key | task | open tasks that have the key |
//! | `p` execution | key | the execution's result entries that have no value yet |
//! | `q` execution | key | the execution's entries of signals, and of its dispatch |
//! | `rt`, `rx` | moment, key | kept results, by the moment of their end, and by their expiry |
//! | `roots`, `open` | task | roots, and open roots |
//! | `x` status | task | ended roots by status |
//! | `xf`, `xq`, `xt` name | task | roots by function, queue and tag |
//! | `dl` | task | dead letters |
//! | `old`, `dead` | end, task | ended roots that are not dead letters, and dead letters |
//! | `det` | end, task | ended roots that may have details to compact |
//! | `d` | deadline, task | open tasks with a deadline |
//! | `run` | end of the lease, task | running tasks |
//! | `stop` worker | task | running tasks that were asked to end |
//! | `w` worker | string | the record of a worker |
//! | `workers` | worker | all workers |
//! | `seen` | worker | all workers; the score is when each was last seen |
//! | `nc`, `ns`, `nm` execution | hash | counters, states, summary |
//! | `np` execution | id, entry | progress |
//! | `hints` | stream | hints |
//! | `lock` | string | who writes alone, or which journal is being written: see [`journal`](crate::journal) |
//! | `journal` token | list | the pieces of a large batch that are still to be written |

use stent_core::model::{FunctionKey, Seq};
use stent_core::{ExecutionId, Key, TaskId, Timestamp, WorkerId};

/// Builds the keys of one namespace.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: Vec<u8>,
}

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident($tag:literal, $id:ty);)*) => {
        $(
            $(#[$doc])*
            pub(crate) fn $name(&self, id: $id) -> Vec<u8> {
                self.of($tag, id.as_uuid().as_bytes())
            }
        )*
    };
}

impl Keys {
    pub(crate) fn new(namespace: &str) -> Self {
        Self { prefix: format!("stent:{{{namespace}}}:").into_bytes() }
    }

    /// Returns the key of a tag: one per namespace, or one for each `rest`.
    pub(crate) fn of(&self, tag: &str, rest: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(self.prefix.len() + tag.len() + 1 + rest.len());
        key.extend_from_slice(&self.prefix);
        key.extend_from_slice(tag.as_bytes());
        if !rest.is_empty() {
            key.push(b':');
            key.extend_from_slice(rest);
        }
        key
    }

    pub(crate) fn one(&self, tag: &str) -> Vec<u8> {
        self.of(tag, &[])
    }

    keys! {
        task("t", TaskId);
        result("r", TaskId);
        history("h", TaskId);
        entry("k", Key);
        children("c", TaskId);
        finished("f", TaskId);
        open_maps("om", TaskId);
        sleeps("z", TaskId);
        tasks("e", ExecutionId);
        open_tasks("o", ExecutionId);
        under_key("u", Key);
        pending_keys("p", ExecutionId);
        other_keys("q", ExecutionId);
        counters("nc", ExecutionId);
        states("ns", ExecutionId);
        summary("nm", ExecutionId);
        progress("np", ExecutionId);
        stopping("stop", WorkerId);
        worker("w", WorkerId);
    }

    /// The first bytes of every key of the namespace.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Returns the type of the value under a key, as `TYPE` names it; `None` if no key of the namespace has this form.
    pub(crate) fn type_of(&self, key: &[u8]) -> Option<&'static str> {
        let rest = key.strip_prefix(self.prefix.as_slice())?;
        let tag = rest.split(|byte| *byte == b':').next()?;
        Some(match tag {
            b"t" | b"r" | b"k" | b"w" | b"lock" | b"probe" => "string",
            b"h" | b"journal" => "list",
            b"lanes" | b"s" | b"nc" | b"ns" | b"nm" => "hash",
            b"hints" => "stream",
            b"lp" | b"lw" | b"lr" | b"lo" | b"due" | b"m" | b"c" | b"f" | b"om" | b"z" | b"e" | b"o"
            | b"u" | b"p" | b"q" | b"rt" | b"rx" | b"roots" | b"open" | b"x" | b"xf" | b"xq" | b"xt"
            | b"dl" | b"old" | b"dead" | b"det" | b"d" | b"run" | b"stop" | b"workers" | b"seen" | b"np" => {
                "zset"
            }
            _ => return None,
        })
    }

    /// The keys of which a namespace has one each.
    pub(crate) fn singles(&self) -> Vec<Vec<u8>> {
        let tags = [
            "lock", "lanes", "due", "run", "d", "hints", "roots", "open", "dl", "old", "dead", "det", "rt",
            "rx", "workers", "seen",
        ];
        tags.map(|tag| self.one(tag)).into()
    }

    /// Whether a key is that of a set of a lane, which only `lanes.lua` writes.
    pub(crate) fn is_of_lane(&self, key: &[u8]) -> bool {
        matches!(key.strip_prefix(self.prefix.as_slice()), Some([b'l', _, b':', ..]))
    }

    pub(crate) fn slots(&self, function: FunctionKey) -> Vec<u8> {
        self.of("m", &function.as_i64().to_be_bytes())
    }
}

/// Shows a key as `redis-cli` does, with its ids as escaped bytes.
pub(crate) fn shown(key: &[u8]) -> String {
    format!("\"{}\"", key.escape_ascii())
}

/// Encodes a moment as eight bytes whose order is the order of time.
pub(crate) const fn moment(at: Timestamp) -> [u8; 8] {
    (at.as_micros() ^ i64::MIN).to_be_bytes()
}

/// Decodes eight bytes of [`moment`].
pub(crate) const fn to_moment(bytes: [u8; 8]) -> Timestamp {
    Timestamp::from_micros(i64::from_be_bytes(bytes) ^ i64::MIN)
}

/// Concatenates the parts of a member of a sorted set.
pub(crate) fn member(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub(crate) fn id(task: &TaskId) -> &[u8] {
    task.as_uuid().as_bytes()
}

pub(crate) const fn seq(seq: Seq) -> [u8; 4] {
    seq.0.to_be_bytes()
}

/// Returns the id at the end of a member.
pub(crate) fn last_id(member: &[u8]) -> Option<TaskId> {
    let bytes = member.len().checked_sub(16).and_then(|from| member.get(from..))?;
    uuid::Uuid::from_slice(bytes).ok().map(TaskId::from_uuid)
}

/// Returns the key at the end of a member.
pub(crate) fn last_key(member: &[u8]) -> Option<Key> {
    last_id(member).map(|id| Key::from_uuid(*id.as_uuid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tags of the table at the top, with the types that it names.
    fn listed() -> Vec<(String, String)> {
        let rows = include_str!("keys.rs").lines().filter_map(|line| line.strip_prefix("//! | `"));
        let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
        let mut listed = Vec::new();
        for cells in cells {
            let kind = match cells[1] {
                kind @ ("string" | "list" | "hash" | "stream") => kind,
                _ => "zset",
            };
            for key in cells[0].split(", ") {
                let tag = key.trim_matches('`').split(['`', ' ']).next().unwrap_or_default();
                listed.push((tag.to_owned(), kind.to_owned()));
            }
        }
        listed
    }

    #[test]
    fn the_type_of_every_key_in_the_table_is_known() {
        let keys = Keys::new("a");
        let listed = listed();
        assert!(listed.len() > 40, "{listed:?}");
        for (tag, kind) in listed {
            assert_eq!(keys.type_of(&keys.of(&tag, b"x")), Some(kind.as_str()), "{tag}");
            assert_eq!(keys.type_of(&keys.one(&tag)), Some(kind.as_str()), "{tag}");
        }
        assert_eq!((keys.type_of(b"stent:{b}:t"), keys.type_of(b"stent:{a}:other")), (None, None));
    }
}
