//! How one call is made, where it says something other than its function's attribute. Calls, dispatches and maps share it.

use std::time::Duration;

use stent_core::Timestamp;
use stent_core::duration::IntoDuration;
use stent_core::model::RetryPolicy;

use crate::error::{Error, Result};

/// The options of a call, a dispatch or the items of a map.
#[derive(Debug, Default)]
pub(crate) struct CallOptions {
    pub(crate) queue: Option<String>,
    pub(crate) priority: Option<i16>,
    pub(crate) start: Option<StartAt>,
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) max_duration: Option<Duration>,
    pub(crate) idempotency_key: Option<String>,
    /// The last option that does not fit. It is reported when the call is used.
    invalid: Option<Error>,
}

impl CallOptions {
    pub(crate) fn set_delay(&mut self, delay: impl IntoDuration) {
        match delay.into_duration() {
            Ok(delay) => self.start = Some(StartAt::After(delay)),
            Err(error) => self.refuse(error),
        }
    }

    pub(crate) fn set_max_duration(&mut self, limit: impl IntoDuration) {
        match limit.into_duration() {
            Ok(limit) => self.max_duration = Some(limit),
            Err(error) => self.refuse(error),
        }
    }

    pub(crate) fn add_tag(&mut self, tag: impl Into<String>) {
        self.tags.get_or_insert_default().push(tag.into());
    }

    /// Notes an option that does not fit.
    pub(crate) fn refuse(&mut self, error: impl Into<Error>) {
        self.invalid = Some(error.into());
    }

    /// Whether all options fit.
    ///
    /// # Errors
    /// The last option that does not.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.invalid.take().map_or(Ok(()), Err)
    }
}

/// Before when a call does not start.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StartAt {
    /// So long after it was asked for.
    After(Duration),
    /// This moment.
    Moment(Timestamp),
}

impl StartAt {
    /// The moment. One that has passed is now, so that a date of long ago does not go before all that is due.
    pub(crate) fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::After(delay) => now + delay,
            Self::Moment(moment) => moment.max(now),
        }
    }
}
