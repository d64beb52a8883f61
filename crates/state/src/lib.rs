//! The replicated machine: what an entry does to keys, leases, alarms and members.
#![expect(dead_code, unused_imports, reason = "what an entry does with these parts follows")]

mod alarm;
mod auth;
mod error;
mod go_json;
mod ids;
mod lease;
mod members;
mod quota;
mod reply;
mod schema;
mod v2_request;
mod version;

pub use alarm::Alarms;
pub use auth::Auth;
pub use error::{Error, Rejected};
pub use ids::{LeaseId, MemberId};
pub use lease::{Expiry, ExpiryOptions, Lease, Leases, Renewal, min_lease_ttl};
pub use members::{
    Attributes, ChangeKind, ConfChangeContext, Downgrade, Member, MemberChange, Members,
    RaftAttributes, Roster, UrlError, check_peer_urls, cluster_id, member_id,
};
pub use quota::{QuotaBytes, lease_cost, put_cost, txn_cost};
pub use reply::{
    AuthReply, DeleteRangeReply, OpReply, Outcome, PutReply, RangeReply, Reply, TxnReply,
};
pub use schema::{conf_state_from_json, conf_state_to_json};
pub use v2_request::{EntryError, EntryRequest};
pub use version::{Version, VersionError};
