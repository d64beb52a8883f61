//! Txns: choose the branches, check all operations, then do them as one change.

mod compare;
mod execute;
mod plan;
mod read_only;
mod view;

pub(crate) use execute::{Execution, plain_delete, plain_put, plain_range};
pub(crate) use plan::Plan;
pub use plan::{is_read_only, is_serializable};
pub(crate) use read_only::read_txn;
pub use view::range_of;
pub(crate) use view::{Before, Numbers, View};
