//! Bounds what a store may take for one call, whatever store it is. Those that talk to a server know better what is long there,
//! and give up sooner; this is for one that does not.

use std::time::Duration;

use stent_core::backend::{Error, ErrorKind, Result};

/// How long a store may take for one call, where nothing else is said: longer than any waits for its turn to write.
const CALL_TIMEOUT: Duration = Duration::from_mins(2);

/// How long a store may take for one call; `Duration::MAX` is no limit. After that nobody knows what has become of it, and it is made again, as after every
/// outage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience(pub(crate) Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(CALL_TIMEOUT)
    }
}

impl Patience {
    /// What the store answers, if it does in time.
    pub(crate) async fn answered<T>(
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
