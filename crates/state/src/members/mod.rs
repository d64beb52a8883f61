//! Who belongs to the cluster: ids, attributes, the checks of a conf change, and the old v2
//! store's JSON for snapshots.

mod change;
mod id;
mod member;
mod roster;
mod urls;
mod v2_read;
mod v2_store;
mod view;

pub(crate) use change::ChangeError;
pub use change::{ChangeKind, MemberChange};
pub use id::{cluster_id, member_id};
pub use member::{Attributes, ConfChangeContext, Member, RaftAttributes};
pub use roster::{Downgrade, Roster};
pub use urls::{UrlError, check_peer_urls};
pub use v2_read::V2StoreError;
pub use view::Members;
