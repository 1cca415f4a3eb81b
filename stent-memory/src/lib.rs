//! stent-memory
