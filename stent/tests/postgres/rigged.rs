//! A store that gets hints through another handle than the one it uses.

use std::sync::Arc;

use stent::backend::{Forward, Listener, Store, Topic};

#[derive(Debug)]
pub(crate) struct Ears {
    inner: Arc<dyn Store>,
    ears: Arc<dyn Store>,
}

impl Ears {
    /// A store that gets only the hints of another handle on the same store.
    pub(crate) fn with_ears(inner: &Arc<dyn Store>, ears: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner: inner.clone(), ears })
    }
}

impl Forward for Ears {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    fn listen(&self, topic: Topic) -> Box<dyn Listener> {
        self.ears.listen(topic)
    }
}
