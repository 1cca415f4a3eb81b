//! The window of a map: how many of its items may be open at once, and when more are added.

use crate::Digest;
use crate::limits::{MAP_CHUNK, MAP_WINDOW_CHUNKS};
use crate::model::{NewTask, Progress};

/// The progress of a map, and the data that the next turn writes about it.
#[derive(Debug, Default)]
pub struct MapWindow {
    progress: Progress,
    /// The digest of the items so far.
    pub(super) digest: Option<Digest>,
    /// Items that the next turn writes.
    pub(super) chunk: Vec<NewTask>,
    /// Whether the next turn writes anything about the map.
    pub(super) changed: bool,
}

#[expect(clippy::cast_possible_truncation, reason = "both limits are small constants")]
const CHUNK: u32 = MAP_CHUNK as u32;
#[expect(clippy::cast_possible_truncation, reason = "both limits are small constants")]
const WINDOW: u32 = (MAP_CHUNK * MAP_WINDOW_CHUNKS) as u32;

impl MapWindow {
    pub(super) const fn new() -> Self {
        Self::recorded(Progress { fed: 0, total: None, done: 0 }, None)
    }

    pub(super) const fn recorded(progress: Progress, digest: Option<Digest>) -> Self {
        Self { progress, digest, chunk: Vec::new(), changed: false }
    }

    pub(super) fn learn(&mut self, progress: Progress, digest: Option<Digest>) {
        self.progress.done = self.progress.done.max(progress.done);
        if progress.fed > self.progress.fed {
            self.progress = progress;
            self.digest = digest;
        }
    }

    /// The map's progress, including the data that the next turn writes.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        self.progress
    }

    /// How many items may be added now: a whole chunk or nothing, so that chunks stay full.
    #[must_use]
    pub fn room(&self) -> usize {
        let open = self.progress.fed - self.progress.done.min(self.progress.fed);
        let may = self.progress.total.is_none() && self.chunk.is_empty() && open + CHUNK <= WINDOW;
        if may { MAP_CHUNK } else { 0 }
    }

    pub(super) fn feed(&mut self, items: Vec<NewTask>, last: bool, digest: Option<Digest>) {
        self.digest = digest;
        self.progress.fed += u32::try_from(items.len()).unwrap_or(u32::MAX);
        self.progress.total = last.then_some(self.progress.fed);
        self.chunk = items;
        self.changed = true;
    }

    /// How many items must be done before the map is fed again: then half of the window is free.
    pub(super) fn threshold(&self) -> Option<u32> {
        self.progress.total.is_none().then(|| (self.progress.fed + WINDOW / 2).saturating_sub(WINDOW).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_whole_chunks_until_it_is_full_and_again_when_half_is_done() {
        let mut window = MapWindow::recorded(Progress { fed: WINDOW - CHUNK, total: None, done: 0 }, None);
        assert_eq!(window.room(), MAP_CHUNK);

        window.progress.fed = WINDOW;
        assert_eq!(window.room(), 0);
        assert_eq!(window.threshold(), Some(WINDOW / 2));

        window.learn(Progress { fed: WINDOW, total: None, done: WINDOW / 2 }, None);
        assert_eq!(window.room(), MAP_CHUNK);
    }

    #[test]
    fn a_map_that_knows_its_total_takes_no_more() {
        let mut window = MapWindow::new();
        window.feed(Vec::new(), true, None);
        assert_eq!((window.room(), window.threshold(), window.progress().total), (0, None, Some(0)));
    }
}
