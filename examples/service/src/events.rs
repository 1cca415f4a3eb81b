//! The progress of an order as server-sent events. Any instance of the service can serve them, because progress is in the store.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Sse};
use futures::stream::{self, Stream};
use stent::Handle;
use stent::view::ProgressView;

use crate::api::{App, Problem};
use crate::shop::Receipt;

/// How often the store is asked for further progress. Each open stream asks.
const PAUSE: Duration = Duration::from_millis(250);

/// A reader of an order's progress.
struct Reader {
    app: App,
    run: Handle<Receipt>,
    /// The id of the last entry that was sent, here or on an earlier connection.
    last: Option<String>,
    ready: VecDeque<Event>,
    is_over: bool,
}

/// Streams an entry `progress` for each entry of the progress, and `end` with the receipt in the end. A reader that reconnects
/// with `Last-Event-ID`, as browsers do, gets the entries after that one.
pub(crate) async fn stream(
    State(app): State<App>,
    Path(number): Path<String>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let run = app.fulfilment(&number).await?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let reader = Reader { app, run, last, ready: VecDeque::new(), is_over: false };
    Ok(Sse::new(events(reader)).keep_alive(KeepAlive::default()))
}

fn events(reader: Reader) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    })
}

impl Reader {
    /// The next event; `None` after the last, and when the service shuts down.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.is_over || *self.app.closing.borrow() {
                return None;
            }
            if let Err(error) = self.read().await {
                // The reader connects again, and gets the rest then.
                tracing::warn!(%error, "cannot read the progress of an order");
                return None;
            }
            if self.ready.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    _ = self.app.closing.changed() => {}
                }
            }
        }
    }

    async fn read(&mut self) -> stent::Result<()> {
        // In this order: whatever an execution that has ended says is in its notes.
        let status = self.run.status().await?;
        let progress = self.run.notes().await?.progress;
        let known = progress.iter().position(|entry| self.last == Some(entry.id.to_string()));
        let new = known.map_or(0, |known| known + 1);
        self.ready.extend(progress[new..].iter().map(shown));
        if let Some(entry) = progress.last() {
            self.last = Some(entry.id.to_string());
        }
        if status.is_terminal() {
            self.is_over = true;
            let receipt = self.app.receipt(self.run.id()).await?;
            let end = serde_json::json!({ "status": status, "receipt": receipt });
            self.ready.push_back(Event::default().event("end").data(end.to_string()));
        }
        Ok(())
    }
}

fn shown(entry: &ProgressView) -> Event {
    // An event has one line; a text with several would be several fields.
    Event::default().event("progress").id(entry.id.to_string()).data(entry.text.replace(['\r', '\n'], " "))
}
