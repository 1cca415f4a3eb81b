//! The routes. Handlers only translate between HTTP and the shop.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use stent::{ExecutionId, ExecutionStatus, Handle, Stent};
use tokio::sync::watch;

use crate::events;
use crate::orders::{Orders, Taken};
use crate::shop::{Order, PAYMENT, Payment, Receipt};

/// The state that all handlers share.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) stent: Stent,
    pub(crate) orders: Orders,
    pub(crate) webhook_secret: Option<Arc<str>>,
    /// Becomes true when the service is about to close its connections.
    pub(crate) closing: watch::Receiver<bool>,
}

pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/orders", post(take))
        .route("/orders/{number}", get(show))
        .route("/orders/{number}/events", get(events::stream))
        .route("/webhooks/payment", post(paid))
        .with_state(app)
}

/// The links of an order.
#[derive(Debug, Serialize)]
struct Links {
    status: String,
    events: String,
}

/// An order, as a client sees it.
#[derive(Debug, Serialize)]
struct Shown {
    status: ExecutionStatus,
    progress: Vec<String>,
    receipt: Option<Receipt>,
}

/// Takes an order and answers at once, with a link to its status. Asking again for the same order starts nothing.
async fn take(State(app): State<App>, Json(order): Json<Order>) -> Result<Response, Problem> {
    let is_number = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if order.number.is_empty() || order.number.len() > 64 || !order.number.chars().all(is_number) {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the number of an order has 1 to 64 letters, digits and hyphens",
        ));
    }
    let status = format!("/orders/{}", order.number);
    let code = match app.orders.take(&app.stent, order).await? {
        Taken::New => StatusCode::ACCEPTED,
        Taken::Before => StatusCode::OK,
    };
    let links = Links { events: format!("{status}/events"), status: status.clone() };
    Ok((code, [(header::LOCATION, status)], Json(links)).into_response())
}

async fn show(State(app): State<App>, Path(number): Path<String>) -> Result<Response, Problem> {
    let run = app.fulfilment(&number).await?;
    let status = run.status().await?;
    let receipt = if status.is_terminal() { app.receipt(run.id()).await? } else { None };
    let progress = run.notes().await?.progress.into_iter().map(|entry| entry.text).collect();
    Ok(Json(Shown { status, progress, receipt }).into_response())
}

/// The payment provider knows the order's number, and nothing of executions.
async fn paid(
    State(app): State<App>,
    headers: HeaderMap,
    Json(payment): Json<Payment>,
) -> Result<StatusCode, Problem> {
    let sent = headers.get("x-webhook-secret").map(HeaderValue::as_bytes);
    if app.webhook_secret.as_ref().is_some_and(|secret| sent != Some(secret.as_bytes())) {
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "the secret of the webhook is missing or wrong"));
    }
    let run = app.fulfilment(&payment.order).await?;
    // A provider may send its news twice: the second value replaces the first, or comes too late.
    match run.signal(PAYMENT, &payment).await {
        Ok(()) => Ok(StatusCode::ACCEPTED),
        Err(stent::Error::Ended { .. }) => Ok(StatusCode::OK),
        Err(error) => Err(error.into()),
    }
}

impl App {
    /// The execution that fulfils an order.
    pub(crate) async fn fulfilment(&self, number: &str) -> Result<Handle<Receipt>, Problem> {
        let found = self.orders.execution(number).await?;
        let id = found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("no order {number}")))?;
        Ok(self.stent.handle(id))
    }

    /// The outcome of an order whose execution has ended; `None` if it failed.
    pub(crate) async fn receipt(&self, id: ExecutionId) -> stent::Result<Option<Receipt>> {
        match self.stent.result_of(id).await {
            Ok(payload) => Ok(payload.and_then(|payload| payload.decode().ok())),
            Err(stent::Error::Failed(_) | stent::Error::Cancelled | stent::Error::TimedOut) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct Problem {
    code: StatusCode,
    message: String,
}

impl Problem {
    fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<stent::Error> for Problem {
    fn from(error: stent::Error) -> Self {
        // Asking again may help if the store is contended or away.
        let code = match error.is_transient() {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => StatusCode::INTERNAL_SERVER_ERROR,
        };
        tracing::error!(%error, "a request failed");
        Self::new(code, "the request failed; the log has the reason")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.code, Json(serde_json::json!({ "error": self.message }))).into_response()
    }
}
