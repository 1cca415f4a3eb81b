//! A timeout for each call to a store, whichever store it is. Stores that talk to a server have shorter timeouts of
//! their own.

use std::time::Duration;

use stent_core::backend::{Error, ErrorKind, Result};

/// Default timeout of a call: longer than any call waits for its turn to write.
const DEFAULT: Duration = Duration::from_mins(2);

/// Longest duration of a call to the store; `Duration::MAX` means no limit. The fate of a call that timed out is
/// unknown, so it is repeated, as after every outage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallTimeout(pub(crate) Duration);

impl Default for CallTimeout {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl CallTimeout {
    /// Returns the store's answer, or an error if it takes too long.
    pub(crate) async fn bound<T>(
        self,
        operation: &'static str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::time::timeout(self.0, call).await.unwrap_or_else(|_| {
            let message = format!("no answer within {:?}", self.0);
            Err(Error::new(ErrorKind::Unavailable, operation).with_message(message))
        })
    }
}
