//! Claims and turns in, exact transitions out.
