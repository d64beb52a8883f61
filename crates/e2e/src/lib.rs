//! Real binaries, real peers, real clients.
