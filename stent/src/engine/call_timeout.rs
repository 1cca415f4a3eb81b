//! A timeout for each call of a store, whatever store it is. Stores that talk to a server have shorter timeouts of their own.

use std::time::Duration;

use stent_core::backend::{Error, ErrorKind, Result};

/// How long a store may take for one call, where nothing else is said: longer than any waits for its turn to write.
const DEFAULT: Duration = Duration::from_mins(2);

/// How long a store may take for one call; `Duration::MAX` is no limit. Nobody knows the fate of a call that took longer, and it
/// is made again, as after every outage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallTimeout(pub(crate) Duration);

impl Default for CallTimeout {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl CallTimeout {
    /// Gives the store's answer, or an error if there is none in time.
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
