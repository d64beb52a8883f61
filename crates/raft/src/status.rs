//! A look at a node, without a copy.

use crate::error::Fatal;
use crate::tracker::Config;
use crate::tracker::progress::Progress;
use crate::types::{HardState, LogIndex, NodeId, SoftState};

/// A look at a node; borrows, so it allocates nothing.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    pub id: NodeId,
    pub hard_state: HardState,
    pub soft_state: SoftState,
    /// Reported applied.
    pub applied: LogIndex,
    /// Handed out to be applied.
    pub applying: LogIndex,
    pub first_index: LogIndex,
    pub last_index: LogIndex,
    pub is_learner: bool,
    /// To whom this leader hands over.
    pub transferee: Option<NodeId>,
    /// In force; ahead of what is applied while a received snapshot is being installed.
    pub config: &'a Config,
    /// By ascending id. Means something on a leader only.
    pub progress: &'a [(NodeId, Progress)],
    pub fatal: Option<&'a Fatal>,
}
