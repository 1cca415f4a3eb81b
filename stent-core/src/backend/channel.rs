//! A channel of hints beside a store, such as a Redis server beside a Postgres database.

use async_trait::async_trait;

use super::{Hints, Topic};

/// A channel through which processes that share a store wake each other, in addition to the store's own hints.
///
/// A runtime notifies the channel of its changes after the store has committed them, and listens to the changes of others.
/// Everything works without the channel, only later (G17), so no method fails.
///
/// # Behaviour
/// 1. A listener gets a hint after another user of the channel has notified it of the same topic. A listener may also get hints of
///    its own process, which only cost a look.
/// 2. While the channel is broken, it repairs itself, and it may lose hints. When it works again, its listeners get a hint of every
///    topic, because they may have missed one.
/// 3. It logs one warning per outage.
#[async_trait]
pub trait HintChannel: Hints {
    /// Notifies the other users of the channel that something of this topic may have changed.
    ///
    /// Returns at once and keeps nothing that grows: notifications that have not been sent yet become one.
    fn notify(&self, topic: Topic);

    /// Waits until the channel has had more than `seen` outages since it was opened, and returns how many it has had. An outage
    /// is counted when it begins.
    ///
    /// # Cancel safety
    /// Safe: outages are counted whether or not anybody waits.
    async fn outages(&self, seen: u64) -> u64;

    /// Sends the notifications that have not been sent yet, for about a second at most, and closes the channel. Afterwards,
    /// notifications are lost, and listeners get no more hints. Closing again does nothing.
    ///
    /// # Cancel safety
    /// If the call is dropped, notifications may be lost. Call it again to close the channel.
    async fn close(&self);
}
