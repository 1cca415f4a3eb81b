//! stent-macros
