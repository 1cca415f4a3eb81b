//! stent-sql
