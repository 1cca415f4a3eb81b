//! One claim about a store, and the list of all of them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::guarantee::Guarantee;
use crate::model;
use crate::world::World;

/// A named claim about a store, and the code that checks it.
#[derive(Clone)]
pub struct Case {
    name: String,
    guarantee: Guarantee,
    body: Body,
}

/// Runs a case in its world; panics when the claim does not hold.
pub(crate) type Script = fn(World) -> Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Clone, Copy)]
pub(crate) enum Body {
    Script(Script),
    Model { seed: u64 },
}

/// A case as the files under `cases/` list it.
pub(crate) struct Listed {
    pub(crate) name: &'static str,
    pub(crate) guarantee: Guarantee,
    pub(crate) script: Script,
}

/// Lists the cases of one area by guarantee and name.
macro_rules! list {
    ($area:ident: $($guarantee:ident $name:ident,)+) => {
        pub(super) const CASES: &[$crate::case::Listed] = &[$($crate::case::Listed {
            name: concat!(stringify!($area), "::", stringify!($name)),
            guarantee: $crate::guarantee::Guarantee::$guarantee,
            script: |world| Box::pin($name(world)),
        }),+];
    };
}
pub(crate) use list;

impl Case {
    /// Area and claim: `fence::stale_epoch_changes_nothing`. Names stay as they are from one release to the next.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The guarantee that it belongs to.
    #[must_use]
    pub const fn guarantee(&self) -> Guarantee {
        self.guarantee
    }

    pub(crate) const fn body(&self) -> Body {
        self.body
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case([{}] {})", self.guarantee, self.name)
    }
}

/// Every case, by area: those written by hand, then so many seeds of the model as `STENT_SEEDS` says.
#[must_use]
pub fn cases() -> Vec<Case> {
    let written = crate::cases::AREAS.iter().flat_map(|area| area.iter()).map(|listed| Case {
        name: listed.name.to_owned(),
        guarantee: listed.guarantee,
        body: Body::Script(listed.script),
    });
    let drawn = (0..model::seeds()).map(|seed| Case {
        name: format!("model::agrees_with_memory_seed_{seed}"),
        guarantee: Guarantee::G1,
        body: Body::Model { seed },
    });
    written.chain(drawn).collect()
}
