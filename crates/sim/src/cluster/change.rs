//! Changes of the members.

use std::time::Duration;

use super::Cluster;
use super::timeline::Event;
use crate::verdict::Checked;

impl Cluster {
    pub(super) fn change_members(&mut self) -> Checked {
        if self.healing || !self.mix.changes_members {
            return Ok(());
        }
        let pause = 500 + self.random.below(6000);
        self.timeline.after(Duration::from_millis(pause), Event::Change);
        Ok(())
    }
}
