//! Transitions in, exact rows out.
