//! The lock of a namespace, and large batches, which are written in pieces behind it.
//!
//! A script blocks the server, so a large batch is cut into pieces, and the writes of a piece are not seen by checks of another
//! caller: claims and other writes wait for the lock. The lock's holder checks everything, and stages the commands in a list, the
//! journal. Until then nothing is written, and if the holder dies, lock and journal expire. Then one script *decides*: the lock
//! becomes the journal and no longer expires. From then on, every caller that finds the lock advances the journal by a
//! piece, so the batch ends even if its caller dies. A piece is taken and run in one script, so it runs once.

use std::time::Duration;

use stent_core::backend::Result;
use uuid::Uuid;

use crate::apply::{APPLY, Batch, number};
use crate::store::RedisStore;

/// How long the lock and an undecided journal last if the holder dies.
const LOCK: Duration = Duration::from_secs(2);

/// The shortest pause of a caller that waits for another caller's lock. The longest is eight times as long.
const LOCKED_PAUSE: Duration = Duration::from_millis(1);

/// The answer of a script that did nothing, because another caller has the lock.
pub(crate) const LOCKED: [usize; 1] = [0];

impl RedisStore {
    /// Takes the lock of the namespace. The write that it is for releases it; if that never comes, it expires.
    pub(crate) async fn lock(&self, operation: &'static str) -> Result<Vec<u8>> {
        let token = [b"l", Uuid::new_v4().as_bytes().as_slice()].concat();
        loop {
            let mut set = redis::cmd("SET");
            set.arg(self.keys.one("lock")).arg(&token).arg("NX").arg("PX").arg(LOCK.as_millis() as u64);
            let taken: Option<String> = self.link.run(operation, &set).await?;
            if taken.is_some() {
                return Ok(token);
            }
            self.wait(operation).await?;
        }
    }

    /// Waits a while for another caller's lock, or does a piece of the work that it is for. Returns whether there was a journal.
    pub(crate) async fn wait(&self, operation: &'static str) -> Result<bool> {
        let left = self.advance(operation).await?;
        if left.is_none() {
            // A random time, so that callers do not come back together.
            let chance = u32::from(Uuid::new_v4().as_bytes()[0] % 8) + 1;
            tokio::time::sleep(LOCKED_PAUSE * chance).await;
        }
        Ok(left.is_some())
    }

    /// Releases the caller's lock, if it still has it, and forgets what it has staged.
    pub(crate) async fn release(&self, operation: &'static str, token: &[u8]) -> Result<()> {
        self.apply(operation, &[b"release".to_vec(), token.to_vec()]).await.map(drop)
    }

    /// Writes a piece of the namespace's journal. Returns the number of pieces that are left, or `None` if there is no journal.
    async fn advance(&self, operation: &'static str) -> Result<Option<usize>> {
        let left: Vec<usize> = self.apply(operation, &[b"advance".to_vec()]).await?;
        Ok(left.first().copied())
    }

    async fn apply(&self, operation: &'static str, args: &[Vec<u8>]) -> Result<Vec<usize>> {
        self.link.script(operation, &APPLY, &self.keys.one("lock"), args).await
    }

    /// Sends a batch in one call. Returns the numbers of the checks that failed, or [`LOCKED`].
    pub(crate) async fn send_at_once(
        &self,
        operation: &'static str,
        batch: Batch,
        token: &[u8],
    ) -> Result<Vec<usize>> {
        self.apply(operation, &batch.into_call(token)).await
    }

    /// Sends a batch in pieces, under the caller's lock. Returns the numbers of the checks that failed, or [`LOCKED`] if the lock has
    /// expired: in both cases nothing is written.
    pub(crate) async fn send_in_pieces(
        &self,
        operation: &'static str,
        batch: Batch,
        token: &[u8],
    ) -> Result<Vec<usize>> {
        let [checks, commands] = batch.into_pieces();
        let head = |staged: usize| {
            let lifetime = number(usize::try_from(LOCK.as_millis()).unwrap_or(usize::MAX));
            vec![b"stage".to_vec(), token.to_vec(), lifetime, number(staged)]
        };
        let (mut before, mut stale) = (0, Vec::new());
        for (count, words) in checks {
            let args = [head(0), vec![number(count)], words].concat();
            let failed = self.apply(operation, &args).await?;
            if failed == LOCKED {
                return Ok(failed);
            }
            stale.extend(failed.into_iter().map(|check| check + before));
            before += count;
        }
        if !stale.is_empty() {
            return Ok(stale);
        }
        let pieces = commands.len();
        for (staged, (_, words)) in commands.into_iter().enumerate() {
            let args = [head(staged), vec![number(0)], words].concat();
            if self.apply(operation, &args).await? == LOCKED {
                return Ok(LOCKED.to_vec());
            }
        }
        let decided = self.apply(operation, &[b"decide".to_vec(), token.to_vec(), number(pieces)]).await?;
        if decided == LOCKED {
            return Ok(decided);
        }
        while self.advance(operation).await?.is_some_and(|left| left > 0) {}
        Ok(Vec::new())
    }
}
