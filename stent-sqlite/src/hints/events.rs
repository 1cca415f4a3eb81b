//! The kernel's reports of writes to the log. Where it gives none, there are no events, and looks at intervals are all.

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::Events;
#[cfg(target_os = "linux")]
pub(super) use linux::Events;

#[cfg(target_os = "linux")]
mod linux {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
    use tokio::sync::Notify;

    /// Pause between two reports. A commit is several writes, and a busy process commits hundreds of times a second: what is
    /// written during the pause is one report.
    const PAUSE: Duration = Duration::from_millis(2);

    /// Reports of one file. They end when this value is dropped.
    #[derive(Debug)]
    pub(in crate::hints) struct Events {
        shared: Arc<Shared>,
        watches: Watches,
        log: WatchDescriptor,
    }

    #[derive(Debug, Default)]
    struct Shared {
        written: Notify,
        is_over: AtomicBool,
    }

    impl Events {
        /// Reports of writes to this file; `None` if the kernel refuses. The file is not opened.
        ///
        /// A thread waits for them: a runtime need not have its I/O driver on.
        pub(in crate::hints) fn of(log: &Path) -> Option<Self> {
            let inotify = Inotify::init().ok()?;
            let mut watches = inotify.watches();
            let log = watches.add(log, WatchMask::MODIFY).ok()?;
            let shared = Arc::new(Shared::default());
            let events = Self { shared: shared.clone(), watches, log };
            thread::Builder::new()
                .name("stent-sqlite".to_owned())
                .spawn(move || wait(inotify, &shared))
                .ok()?;
            Some(events)
        }

        /// The file was written since the last report.
        ///
        /// # Cancel safety
        /// Cancel safe: no report is lost.
        pub(in crate::hints) async fn written(&self) {
            self.shared.written.notified().await;
        }

        /// Whether there are no more reports, because the file is gone.
        pub(in crate::hints) fn is_over(&self) -> bool {
            self.shared.is_over.load(Ordering::Acquire)
        }
    }

    impl Drop for Events {
        fn drop(&mut self) {
            // The thread is told, and ends. If the file is gone, it has ended.
            let _ = self.watches.remove(self.log.clone());
        }
    }

    fn wait(mut inotify: Inotify, shared: &Shared) {
        let mut buffer = [0; 1_024];
        while let Ok(mut events) = inotify.read_events_blocking(&mut buffer) {
            let is_over = events.any(|event| event.mask.contains(EventMask::IGNORED));
            if is_over {
                break;
            }
            shared.written.notify_one();
            thread::sleep(PAUSE);
        }
        shared.is_over.store(true, Ordering::Release);
    }

    #[cfg(test)]
    mod tests {
        use std::fs::{self, File};
        use std::io::Write;

        use super::*;

        const DEADLINE: Duration = Duration::from_secs(60);

        #[tokio::test]
        async fn each_write_is_reported_until_the_file_is_gone() {
            let folder = tempfile::tempdir().expect("a folder");
            let log = folder.path().join("log");
            assert!(Events::of(&log).is_none(), "there is no file yet");
            let mut file = File::create(&log).expect("a file");
            let events = Events::of(&log).expect("the kernel reports writes");

            for _ in 0..3 {
                file.write_all(b"frame").expect("written");
                tokio::time::timeout(DEADLINE, events.written()).await.expect("a report");
            }
            drop(file);
            fs::remove_file(&log).expect("removed");

            let over = async {
                while !events.is_over() {
                    tokio::time::sleep(PAUSE).await;
                }
            };
            tokio::time::timeout(DEADLINE, over).await.expect("no more reports");
        }

        #[tokio::test]
        async fn the_thread_ends_with_the_value() {
            let folder = tempfile::tempdir().expect("a folder");
            let log = folder.path().join("log");
            fs::write(&log, b"frame").expect("written");
            let events = Events::of(&log).expect("the kernel reports writes");
            let shared = Arc::downgrade(&events.shared);

            drop(events);

            let ended = async {
                while shared.strong_count() > 0 {
                    tokio::time::sleep(PAUSE).await;
                }
            };
            tokio::time::timeout(DEADLINE, ended).await.expect("the thread has ended");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::path::Path;

    /// No reports.
    #[derive(Debug)]
    pub(in crate::hints) enum Events {}

    impl Events {
        pub(in crate::hints) const fn of(_: &Path) -> Option<Self> {
            None
        }

        pub(in crate::hints) async fn written(&self) {
            match *self {}
        }

        pub(in crate::hints) const fn is_over(&self) -> bool {
            match *self {}
        }
    }
}
