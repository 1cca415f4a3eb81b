//! A trip of three bookings: if one of them fails, the earlier ones are cancelled, the last one first.
//!
//! ```sh
//! cargo run --example saga                       # flight, hotel and car are booked
//! cargo run --example saga -- --sold-out car     # the hotel is cancelled, then the flight
//! ```
//!
//! The list of bookings to undo is a plain `Vec` in the function: after a crash the code runs again, gets the recorded
//! bookings, and so builds the list again. An undone trip is not a failure of the execution, which completes with a result that
//! says so.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};
use stent::prelude::*;

/// The parts of a trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
enum Part {
    Flight,
    Hotel,
    Car,
}

/// A booking, which can be cancelled.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Booking {
    part: Part,
    number: String,
}

/// How a trip ends.
#[derive(Debug, Serialize, Deserialize)]
enum Trip {
    Booked(Vec<Booking>),
    /// The cancelled bookings in order, and the reason.
    Undone {
        cancelled: Vec<Booking>,
        because: String,
    },
}

/// Why a booking failed. It is not retried, because asking again would not free a seat.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("there is no {0} left")]
struct SoldOut(Part);

/// The outside world: it sells everything except one thing.
#[derive(Clone, Debug)]
struct Agency {
    sold_out: Option<Part>,
}

/// Books one part of the trip. A real agency would get an idempotency key, the same in each attempt, to recognize a repeated
/// booking.
#[durable]
async fn book(
    part: Part,
    traveller: String,
    State(agency): State<Agency>,
) -> Result<Booking, stent::Failure> {
    if agency.sold_out == Some(part) {
        return Err(stent::fatal(SoldOut(part)));
    }
    let booking = Booking { part, number: format!("{traveller}-{part}") };
    println!("booked    {booking}");
    Ok(booking)
}

/// Cancels a booking, with more patience than usual: a person must undo everything that is not undone here.
#[durable(retry(max_attempts = 20, initial_delay = "1s", max_delay = "10m"))]
async fn cancel(booking: Booking) -> Result<Booking, stent::Failure> {
    println!("cancelled {booking}");
    Ok(booking)
}

/// Books the whole trip, or nothing.
#[durable]
async fn trip(traveller: String) -> Result<Trip, stent::Error> {
    let mut booked = Vec::new();
    for part in [Part::Flight, Part::Hotel, Part::Car] {
        match book(part, traveller.clone()).await {
            Ok(booking) => booked.push(booking),
            Err(stent::Error::Failed(failure)) => return undo(booked, failure.message).await,
            Err(other) => return Err(other),
        }
    }
    Ok(Trip::Booked(booked))
}

/// Cancels the bookings from the last to the first. Each cancellation is a step of the calling function.
async fn undo(booked: Vec<Booking>, because: String) -> Result<Trip, stent::Error> {
    let mut cancelled = Vec::new();
    for booking in booked.into_iter().rev() {
        cancelled.push(cancel(booking).await?);
    }
    Ok(Trip::Undone { cancelled, because })
}

/// Books a trip, or undoes its bookings
#[derive(Debug, Parser)]
#[command(name = "saga")]
struct Options {
    /// The store that records the trip
    #[arg(long, value_name = "URL", default_value = "sqlite://saga.db")]
    store: String,

    /// The part that is sold out
    #[arg(long, value_name = "PART")]
    sold_out: Option<Part>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("saga: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let stent = Stent::connect(&options.store).await?;
    let worker = stent.worker().state(Agency { sold_out: options.sold_out }).start().await?;

    let run = stent.dispatch(trip("kim".to_owned())).await?;
    let trip = run.result().timeout("1m").await?;
    println!("the execution is {}", run.status().await?);
    match trip {
        Trip::Booked(bookings) => println!("have a good trip with {}", list(&bookings)),
        Trip::Undone { cancelled, because } => {
            println!("no trip: {because}; cancelled {}", list(&cancelled));
        }
    }

    worker.drain().await?;
    stent.close().await?;
    Ok(())
}

fn list(bookings: &[Booking]) -> String {
    let bookings: Vec<_> = bookings.iter().map(ToString::to_string).collect();
    if bookings.is_empty() { "nothing".to_owned() } else { bookings.join(", ") }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flight => "flight",
            Self::Hotel => "hotel",
            Self::Car => "car",
        })
    }
}

impl fmt::Display for Booking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.number)
    }
}
