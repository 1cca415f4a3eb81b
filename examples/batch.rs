//! A file of orders, row by row: valid rows are booked, and invalid rows are listed with their line and the reason.
//!
//! ```sh
//! cargo run --release --example batch                     # the 10,000 orders that come with the example
//! cargo run --release --example batch -- my-orders.csv
//! ```
//!
//! ```text
//! import(file) ─┬─ read(file, place), …    one page of rows after another
//!               └─ book::map(rows)         a task for each row
//! ```
//!
//! A bad row is an outcome and not a failure: retrying it would not help, and the first failure of an item ends the whole map.
//! So an item fails only for transient reasons, and is then retried.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde::{Deserialize, Deserializer, Serialize};
use stent::prelude::*;
use tokio::task::spawn_blocking;

/// Rows in a page: about 80 kB, well below the size that a record should have.
const PAGE: usize = 1_000;

/// The columns, in order.
const COLUMNS: [&str; 8] =
    ["order", "date", "customer", "country", "article", "quantity", "unit_price", "currency"];

/// A row as written in the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    line: u64,
    fields: Vec<String>,
}

/// A valid row. Fields that this example does not use are only checked for presence.
#[derive(Debug, Deserialize)]
struct Order {
    #[serde(rename = "order")]
    _order: u32,
    #[serde(rename = "date")]
    _date: String,
    #[serde(rename = "customer")]
    _customer: String,
    #[serde(rename = "country")]
    _country: String,
    #[serde(rename = "article")]
    _article: String,
    quantity: NonZeroU32,
    #[serde(deserialize_with = "cents")]
    unit_price: u64,
    currency: Currency,
}

/// The currencies that the shop accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Currency {
    Chf,
    Eur,
    Gbp,
    Usd,
}

/// The outcome of a row.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Outcome {
    Booked { currency: Currency, cents: u64 },
    Bad { line: u64, reason: String },
}

/// The beginning of a page of the file.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Place {
    byte: u64,
    line: u64,
}

/// Some rows, and where the next ones begin.
#[derive(Debug, Serialize, Deserialize)]
struct Page {
    rows: Vec<Row>,
    next: Option<Place>,
}

/// The result of the import.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Report {
    /// Orders and cents by currency.
    totals: BTreeMap<Currency, (u64, u64)>,
    /// Line and reason, in the order of the lines.
    bad: Vec<(u64, String)>,
}

/// Imports the whole file. After a crash it continues with the recorded rows, even if the file has changed.
#[durable]
async fn import(file: PathBuf) -> Result<Report, stent::Error> {
    let mut rows = Vec::new();
    let mut place = Some(Place::default());
    while let Some(from) = place {
        let page = read(file.clone(), from).await?;
        rows.extend(page.rows);
        place = page.next;
    }
    Ok(book::map(rows).await?.into_iter().collect())
}

/// One page of rows.
#[durable(retry(max_attempts = 3, initial_delay = "200ms"))]
async fn read(file: PathBuf, from: Place) -> Result<Page, Box<dyn Error + Send + Sync>> {
    spawn_blocking(move || {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(File::open(file)?);
        if from.byte > 0 {
            let mut position = csv::Position::new();
            position.set_byte(from.byte).set_line(from.line);
            reader.seek(position)?;
        }
        let mut rows = Vec::with_capacity(PAGE);
        for record in reader.records().take(PAGE) {
            let record = record?;
            let line = record.position().map_or(0, csv::Position::line);
            rows.push(Row { line, fields: record.iter().map(str::to_owned).collect() });
        }
        let at = reader.position();
        let next = (rows.len() == PAGE).then(|| Place { byte: at.byte(), line: at.line() });
        Ok(Page { rows, next })
    })
    .await?
}

/// Books one row. This one only adds up; a real one would write to the shop's ledger under the order's number, so that a
/// repeated row is booked once.
#[durable]
async fn book(row: Row) -> Outcome {
    match parse(&row) {
        Ok(Order { quantity, unit_price, currency, .. }) => {
            Outcome::Booked { currency, cents: u64::from(quantity.get()) * unit_price }
        }
        Err(reason) => Outcome::Bad { line: row.line, reason },
    }
}

fn parse(row: &Row) -> Result<Order, String> {
    if let Some(empty) = row.fields.iter().position(String::is_empty) {
        return Err(format!("`{}` is missing", COLUMNS.get(empty).unwrap_or(&"?")));
    }
    if row.fields.len() != COLUMNS.len() {
        return Err(format!("{} fields instead of {}", row.fields.len(), COLUMNS.len()));
    }
    let record = csv::StringRecord::from(row.fields.as_slice());
    record.deserialize(None).map_err(|error| match error.into_kind() {
        csv::ErrorKind::Deserialize { err, .. } => {
            let column = err.field().and_then(|field| COLUMNS.get(usize::try_from(field).ok()?));
            match column {
                Some(column) => format!("`{column}`: {}", err.kind()),
                None => err.kind().to_string(),
            }
        }
        kind => format!("{kind:?}"),
    })
}

/// `"12.50"` as 1250.
fn cents<'de, D: Deserializer<'de>>(field: D) -> Result<u64, D::Error> {
    let text = String::deserialize(field)?;
    let amount = text.split_once('.').filter(|(_, cents)| cents.len() == 2).and_then(|(whole, cents)| {
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        (digits(whole) && digits(cents)).then(|| format!("{whole}{cents}").parse().ok())?
    });
    amount.ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a price")))
}

impl Report {
    fn write(&self, mut out: impl Write) -> io::Result<()> {
        for (currency, (orders, cents)) in &self.totals {
            writeln!(out, "{currency} {orders:>6} orders {:>12}.{:02}", cents / 100, cents % 100)?;
        }
        writeln!(out, "{} rows were not booked", self.bad.len())?;
        for (line, reason) in &self.bad {
            writeln!(out, "  line {line}: {reason}")?;
        }
        Ok(())
    }
}

impl FromIterator<Outcome> for Report {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        let mut report = Self::default();
        for outcome in outcomes {
            match outcome {
                Outcome::Booked { currency, cents } => {
                    let total = report.totals.entry(currency).or_default();
                    *total = (total.0 + 1, total.1 + cents);
                }
                Outcome::Bad { line, reason } => report.bad.push((line, reason)),
            }
        }
        report
    }
}

/// Books a CSV file of orders and reports totals by currency, and the rows that could not be booked
#[derive(Debug, Parser)]
#[command(name = "batch")]
struct Options {
    /// The file, with the columns order,date,customer,country,article,quantity,unit_price,currency
    #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/data/orders.csv"))]
    file: PathBuf,

    /// The store that records the import
    #[arg(long, value_name = "URL", default_value = "sqlite://batch.db")]
    store: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("batch: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let stent = Stent::connect(&options.store).await?;
    let worker = stent.worker().start().await?;

    let report = stent.dispatch(import(options.file)).await?.result().await?;
    match report.write(io::stdout().lock()) {
        // A reader that takes only the first lines, such as `head`, has what it wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }

    worker.drain().await?;
    stent.close().await?;
    Ok(())
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chf => "CHF",
            Self::Eur => "EUR",
            Self::Gbp => "GBP",
            Self::Usd => "USD",
        })
    }
}
