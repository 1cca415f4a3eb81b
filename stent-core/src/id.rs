//! Identifiers. All are UUIDs that the caller creates (version 7, so that they sort by age); a store never creates one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID inside.
            #[must_use]
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

pub(crate) use id;

id! {
    /// Names one execution. It is the id of the execution's root task.
    ExecutionId
}

id! {
    /// Names one task: the root of an execution, or a step.
    TaskId
}

id! {
    /// Names one worker while it runs.
    WorkerId
}

impl ExecutionId {
    /// The root task of this execution, which has the same id.
    #[must_use]
    pub const fn root(self) -> TaskId {
        TaskId(self.0)
    }
}

impl TaskId {
    /// The execution of which this task is the root. Meaningful only for root tasks.
    #[must_use]
    pub const fn execution(self) -> ExecutionId {
        ExecutionId(self.0)
    }
}
