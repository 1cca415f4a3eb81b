//! stent-conformance
