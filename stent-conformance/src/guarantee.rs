//! The guarantees of Stent, numbered.

use std::fmt;

macro_rules! guarantees {
    ($($id:ident $promise:literal,)+) => {
        /// A guarantee that every store keeps. The suite has cases for each, and a failing case prints the guarantee's text.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Guarantee {
            $(#[doc = $promise] $id,)+
        }

        impl Guarantee {
            /// Every guarantee, in order.
            pub const ALL: &'static [Self] = &[$(Self::$id),+];

            /// Its number, such as `G3`.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self {
                    $(Self::$id => stringify!($id),)+
                }
            }

            /// The text of the guarantee.
            #[must_use]
            pub const fn promise(self) -> &'static str {
                match self {
                    $(Self::$id => $promise,)+
                }
            }
        }
    };
}

guarantees! {
    G1 "A transition is all-or-nothing; no crash leaves an execution without its root task or a result without its state.",
    G2 "At most one live lease per task; the epoch strictly grows.",
    G3 "A stale epoch, or a repeated commit, changes nothing.",
    G4 "A recorded step never runs again and its recorded result never changes; replay sees completions in the recorded order.",
    G5 "No lost wake-up: a parked task whose wait is satisfied becomes claimable, whatever raced with the parking.",
    G6 "Nothing runs before its time: delays, retries (computed delay), schedules.",
    G7 "Terminal states are final.",
    G8 "Running tasks of a function never exceed its `max_concurrent`, cluster-wide, under any race.",
    G9 "Claim order: priority, then due time, then age; blocked heads never starve what is behind them.",
    G10 "Workers claim only what their queues and tags allow; untagged tasks are for everyone.",
    G11 "Signals: latest value wins, sent before or during the wait, never lost, consumed once.",
    G12 "Idempotency and cache hits include falsy values; a hit never re-executes.",
    G13 "Crash loops end in a dead letter, with the history of its claims.",
    G14 "Payloads come back byte-identical; nothing is truncated in silence.",
    G15 "Cancel and expiry reach every descendant; a late result of a cancelled task changes nothing.",
    G16 "Purge respects its bound and never touches an open execution.",
    G17 "Losing all wakes, or a skewed worker clock within the stated bound, breaks none of the above.",
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}
