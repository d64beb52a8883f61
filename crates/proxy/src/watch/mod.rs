//! `etcdserverpb.Watch`: one watch at a member for all watchers of the same keys.
//!
//! ```text
//!   client --stream--> session --join--> hub: keys -> broadcasts, each with its watchers
//!                         ^                             |  one stream to a member each
//!                         '------- inbox <--- events ---'
//! ```
//!
//! A watcher knows the next revision that it wants, and so does a broadcast; who joins one that is
//! not ahead of him misses nothing and passes over what he does not want. A broadcast that has
//! caught up with another one gives its watchers to it. A watcher whose client does not read falls
//! out, and joins again from where it was when its client has read.

mod hub;
mod inbox;
mod session;

pub(crate) use hub::Hub;
pub(crate) use session::watch;

/// The path of the call.
pub(crate) const WATCH: &str = "/etcdserverpb.Watch/Watch";
