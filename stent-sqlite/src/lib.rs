//! stent-sqlite
