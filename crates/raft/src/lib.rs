//! Consensus, pure: messages in, Ready out.
