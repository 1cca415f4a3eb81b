//! Scripted code against records.
