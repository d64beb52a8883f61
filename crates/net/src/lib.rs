//! Listeners, URLs and connection limits.
