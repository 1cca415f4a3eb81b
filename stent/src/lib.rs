//! stent
