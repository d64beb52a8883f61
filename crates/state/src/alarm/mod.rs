//! Alarms: cluster-wide facts, each raised by (or for) one member. One of a kind puts all
//! members into that mode.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use proto::etcdserverpb::{AlarmMember, AlarmType};

/// The alarms as other threads see them. Clones share them; only apply changes them.
#[derive(Debug, Clone, Default)]
pub struct Alarms {
    set: Arc<RwLock<AlarmSet>>,
}

impl Alarms {
    pub(crate) fn new(set: AlarmSet) -> Self {
        Self { set: Arc::new(RwLock::new(set)) }
    }

    /// All alarms of one kind; [`AlarmType::None`] means all. By kind, then by member.
    pub fn get(&self, kind: AlarmType) -> Vec<AlarmMember> {
        self.read().get(kind as i32)
    }

    /// Whether any alarm of this kind stands.
    pub fn any(&self, kind: AlarmType) -> bool {
        self.read().any(kind)
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, AlarmSet> {
        self.set.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, AlarmSet> {
        self.set.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The standing alarms: kind and member.
#[derive(Debug, Default)]
pub(crate) struct AlarmSet {
    standing: BTreeSet<(i32, u64)>,
}

impl AlarmSet {
    pub(crate) fn restore(alarms: impl IntoIterator<Item = AlarmMember>) -> Self {
        let standing = alarms.into_iter().map(|alarm| (alarm.alarm, alarm.member_id)).collect();
        Self { standing }
    }

    /// Raises an alarm; true when it is new.
    pub(crate) fn activate(&mut self, alarm: AlarmMember) -> bool {
        self.standing.insert((alarm.alarm, alarm.member_id))
    }

    /// Takes exactly this alarm back; true when it stood. No member id means "all".
    pub(crate) fn deactivate(&mut self, alarm: AlarmMember) -> bool {
        self.standing.remove(&(alarm.alarm, alarm.member_id))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.standing.is_empty()
    }

    pub(crate) fn any(&self, kind: AlarmType) -> bool {
        let kind = kind as i32;
        self.standing.range((kind, 0)..=(kind, u64::MAX)).next().is_some()
    }

    pub(crate) fn get(&self, kind: i32) -> Vec<AlarmMember> {
        let all = kind == AlarmType::None as i32;
        let standing = self.standing.iter().filter(|(stands, _)| all || *stands == kind);
        standing.map(|&(alarm, member_id)| AlarmMember { member_id, alarm }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn alarm(member_id: u64, kind: AlarmType) -> AlarmMember {
        AlarmMember { member_id, alarm: kind as i32 }
    }

    #[test]
    fn raising_twice_is_raising_once() {
        let mut set = AlarmSet::default();
        assert!(set.activate(alarm(1, AlarmType::Nospace)));
        assert!(!set.activate(alarm(1, AlarmType::Nospace)));
        assert!(set.any(AlarmType::Nospace) && !set.any(AlarmType::Corrupt));
        assert!(set.deactivate(alarm(1, AlarmType::Nospace)));
        assert!(!set.any(AlarmType::Nospace));
    }

    #[test]
    fn member_zero_is_just_a_member() {
        let mut set =
            AlarmSet::restore([alarm(0, AlarmType::Corrupt), alarm(7, AlarmType::Nospace)]);
        assert!(!set.deactivate(alarm(0, AlarmType::Nospace)));
        assert_eq!(set.get(0), [alarm(7, AlarmType::Nospace), alarm(0, AlarmType::Corrupt)]);
        assert_eq!(set.get(2), [alarm(0, AlarmType::Corrupt)]);
        assert!(set.any(AlarmType::Corrupt));
    }

    #[test]
    fn alarms_of_a_later_etcd_are_kept() {
        let set = AlarmSet::restore([AlarmMember { member_id: 1, alarm: 9 }]);
        assert_eq!(set.get(9).len(), 1);
        assert_eq!(set.get(0).len(), 1);
    }
}
