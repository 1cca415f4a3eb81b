//! Stent examples.
