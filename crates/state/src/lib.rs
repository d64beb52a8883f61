//! The replicated machine: what an entry does to keys, leases, alarms, members and users.
//!
//! ```text
//!   entry: index, term, bytes
//!     |  EntryRequest::read (also what etcd up to 3.5 wrote)
//!     v
//!   State::apply ── gates: corrupt? no space? may the caller? ──> Rejected (the same everywhere)
//!     |                                                        '> Error (this member stops)
//!     |─ txn ──── mvcc: keys, history ──┐
//!     |─ lease    what hangs on what    |── seal: one commit, with the entry's index
//!     |─ alarm, members, auth           |
//!     |─ schema   records as bytes ─────┘
//!     v
//!   Applied: Reply for the client, Effect for the node; Views for everybody who reads
//! ```
//!
//! What holds:
//!
//! * The same entries lead to the same bytes on every member, pintle or etcd. Only how much of
//!   a quota is used differs, and that changes an answer, never the data.
//! * What is on disk is the effect of whole entries, of exactly those up to the stored index.
//! * A refusal changes nothing and uses no revision; its index counts all the same.
//!
//! It never knows: the time (the leader's [`Expiry`] is told it), threads, sockets, who leads,
//! who waits for an answer beyond one bool.
//!
//! Files in reading order: `state`, `apply/`, `txn/`, `lease/`, `members/`, `alarm/`, `auth/`,
//! `quota`, `schema/`, `v2_request`, `reply`, `error`, `ids`, `version`, `go_json`.

mod alarm;
mod apply;
mod auth;
mod error;
mod go_json;
mod ids;
mod lease;
mod members;
mod quota;
mod reply;
mod schema;
mod state;
mod txn;
mod v2_request;
mod version;

pub use alarm::Alarms;
pub use apply::{Applied, ConfChanged, Effect};
pub use auth::{Auth, AuthInfo, Need};
pub use error::{Error, Rejected};
pub use ids::{LeaseId, MemberId};
pub use lease::{Expiry, ExpiryOptions, Lease, Leases, Renewal, min_lease_ttl};
pub use members::{
    Attributes, ChangeKind, ConfChangeContext, Downgrade, Member, MemberChange, Members,
    RaftAttributes, Roster, UrlError, V2StoreError, check_peer_urls, cluster_id, member_id,
};
pub use quota::{QuotaBytes, lease_cost, put_cost, txn_cost};
pub use reply::{
    AuthReply, DeleteRangeReply, OpReply, Outcome, PutReply, RangeReply, Reply, TxnReply,
};
pub use schema::{conf_state_from_json, conf_state_to_json};
pub use state::{EntryId, Options, State, Views};
pub use txn::{is_read_only, is_serializable, range_of};
pub use v2_request::{EntryError, EntryRequest};
pub use version::{Version, VersionError};
