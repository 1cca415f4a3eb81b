//! Durations and rates, which every option accepts as a value or as text: `"1m 30s"`, `"100/m"`.

pub use stent_core::duration::{DurationError, IntoDuration, IntoTimeout};
pub use stent_core::model::{IntoRate, RateError};
