//! Options of a single call, which take precedence over its function's attribute. Calls, dispatches and maps share
//! them.

use std::time::Duration;

use stent_core::Timestamp;
use stent_core::duration::IntoDuration;
use stent_core::model::RetryPolicy;

use crate::error::{Error, Result};
use crate::names::{check_name, check_tags};

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
    /// The last invalid option. It is reported when the call is used.
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

    /// Stores the error of an invalid option.
    pub(crate) fn refuse(&mut self, error: impl Into<Error>) {
        self.invalid = Some(error.into());
    }

    /// Checks the names and the policy.
    ///
    /// # Errors
    /// [`Error::Option`].
    pub(crate) fn validate(&self) -> Result<()> {
        self.queue.iter().try_for_each(|queue| check_name("queue", queue))?;
        if let Some(Err(error)) = self.retry.as_ref().map(RetryPolicy::validate) {
            return Err(Error::Option { option: "retry", problem: error.to_string() });
        }
        check_tags(self.tags.as_deref().unwrap_or_default())
    }

    /// Checks all options.
    ///
    /// # Errors
    /// The last invalid option.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.invalid.take().map_or(Ok(()), Err)
    }
}

/// The earliest start of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StartAt {
    /// This long after the call was made.
    After(Duration),
    /// At this moment.
    Moment(Timestamp),
}

impl StartAt {
    /// The moment. A moment in the past becomes now, so that an old date does not precede other due work.
    pub(crate) fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::After(delay) => now + delay,
            Self::Moment(moment) => moment.max(now),
        }
    }
}
