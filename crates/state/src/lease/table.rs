use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use super::Lease;
use crate::{LeaseId, Rejected};

/// The longest TTL in seconds that can be asked for.
pub(crate) const MAX_TTL: i64 = 9_000_000_000;

/// All leases and what hangs on them.
///
/// Two maps say the same from both sides: a key is in `keys` of the lease that `attached`
/// names for it, and in no other.
#[derive(Debug, Default)]
pub(crate) struct LeaseTable {
    leases: BTreeMap<LeaseId, Entry>,
    /// Never iterated, so its order reaches nobody.
    attached: HashMap<Bytes, LeaseId>,
}

#[derive(Debug)]
struct Entry {
    lease: Lease,
    keys: BTreeSet<Bytes>,
}

impl LeaseTable {
    /// Checks a grant and gives the lease that it makes: too short TTLs are raised.
    pub(crate) fn check_grant(
        &self,
        id: LeaseId,
        ttl: i64,
        min_ttl: i64,
    ) -> Result<Lease, Rejected> {
        if id.is_none() {
            return Err(Rejected::LeaseNotFound);
        }
        if ttl > MAX_TTL {
            return Err(Rejected::LeaseTtlTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(Rejected::LeaseExists);
        }
        Ok(Lease { id, ttl: ttl.max(min_ttl), remaining_ttl: 0 })
    }

    pub(crate) fn insert(&mut self, lease: Lease) {
        self.leases.insert(lease.id, Entry { lease, keys: BTreeSet::new() });
    }

    pub(crate) fn lease(&self, id: LeaseId) -> Option<Lease> {
        self.leases.get(&id).map(|entry| entry.lease)
    }

    pub(crate) fn contains(&self, id: LeaseId) -> bool {
        self.leases.contains_key(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.leases.len()
    }

    /// All leases by ascending id.
    pub(crate) fn leases(&self) -> impl Iterator<Item = Lease> {
        self.leases.values().map(|entry| entry.lease)
    }

    /// The keys of a lease in ascending byte order, which is the order they are revoked in.
    pub(crate) fn keys(&self, id: LeaseId) -> Option<Vec<Bytes>> {
        self.leases.get(&id).map(|entry| entry.keys.iter().cloned().collect())
    }

    /// As [`LeaseTable::keys`], to look at; none where there is no such lease.
    pub(crate) fn keys_of(&self, id: LeaseId) -> impl Iterator<Item = &Bytes> {
        self.leases.get(&id).into_iter().flat_map(|entry| &entry.keys)
    }

    /// Forgets a lease. Keys that still hang on it are let go.
    pub(crate) fn remove(&mut self, id: LeaseId) -> Option<Lease> {
        let entry = self.leases.remove(&id)?;
        for key in &entry.keys {
            self.attached.remove(key);
        }
        Some(entry.lease)
    }

    /// Notes what is left of a lease; zero means all of its TTL. An unknown lease is skipped.
    pub(crate) fn checkpoint(&mut self, id: LeaseId, remaining_ttl: i64) -> Option<Lease> {
        let entry = self.leases.get_mut(&id)?;
        entry.lease.remaining_ttl = remaining_ttl;
        Some(entry.lease)
    }

    /// Hangs a key on `id` and takes it from the lease it hung on; [`LeaseId::NONE`] only
    /// takes it off. False where there is no such lease: the key then hangs on none.
    pub(crate) fn attach(&mut self, key: &[u8], id: LeaseId) -> bool {
        if !self.attached.is_empty() {
            if self.attached.get(key) == Some(&id) {
                return true;
            }
            self.detach(key);
        }
        if id.is_none() {
            return true;
        }
        let Some(entry) = self.leases.get_mut(&id) else { return false };
        // A copy: the caller's bytes may be a slice of something much larger.
        let key = Bytes::copy_from_slice(key);
        entry.keys.insert(key.clone());
        self.attached.insert(key, id);
        true
    }

    /// Takes a key off its lease, if it has one.
    pub(crate) fn detach(&mut self, key: &[u8]) {
        if self.attached.is_empty() {
            return;
        }
        if let Some(id) = self.attached.remove(key)
            && let Some(entry) = self.leases.get_mut(&id)
        {
            entry.keys.remove(key);
        }
    }

    /// Whether no key hangs on any lease, so that deletes need not look.
    pub(crate) fn is_unattached(&self) -> bool {
        self.attached.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(ids: &[i64]) -> LeaseTable {
        let mut table = LeaseTable::default();
        for &id in ids {
            table.insert(Lease { id: LeaseId(id), ttl: 10, remaining_ttl: 0 });
        }
        table
    }

    #[test]
    fn grants_are_checked_in_etcds_order() {
        let table = table(&[5]);
        let check = |id, ttl| table.check_grant(LeaseId(id), ttl, 2).map(|lease| lease.ttl);
        assert_eq!(check(0, MAX_TTL + 1), Err(Rejected::LeaseNotFound));
        assert_eq!(check(5, MAX_TTL + 1), Err(Rejected::LeaseTtlTooLarge));
        assert_eq!(check(5, 1), Err(Rejected::LeaseExists));
        assert_eq!(check(6, i64::MIN), Ok(2));
        assert_eq!(check(-6, MAX_TTL), Ok(MAX_TTL));
    }

    #[test]
    fn a_put_moves_a_key_between_leases() {
        let mut table = table(&[1, 2]);
        assert!(table.attach(b"k", LeaseId(1)));
        assert!(table.attach(b"k", LeaseId(2)));
        assert_eq!(table.keys(LeaseId(1)), Some(vec![]));
        assert_eq!(table.keys(LeaseId(2)), Some(vec![Bytes::from_static(b"k")]));
        assert!(table.attach(b"k", LeaseId::NONE));
        assert_eq!(table.keys(LeaseId(2)), Some(vec![]));
    }

    #[test]
    fn an_unknown_lease_leaves_the_key_on_none() {
        let mut table = table(&[1]);
        assert!(table.attach(b"k", LeaseId(1)));
        assert!(!table.attach(b"k", LeaseId(7)));
        assert_eq!(table.keys(LeaseId(1)), Some(vec![]));
        assert!(table.is_unattached());
    }

    #[test]
    fn keys_of_a_lease_come_in_byte_order() {
        let mut table = table(&[1]);
        for key in ["b", "a", "\u{ff}", "aa", ""] {
            table.attach(key.as_bytes(), LeaseId(1));
        }
        let keys = table.keys(LeaseId(1)).expect("the lease");
        assert!(keys.is_sorted());
        assert_eq!(keys.len(), 5);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Grant(i64),
        Revoke(i64),
        Put(u8, i64),
        Delete(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..4_i64).prop_map(Step::Grant),
            (1..4_i64).prop_map(Step::Revoke),
            (0..6_u8, 0..5_i64).prop_map(|(key, id)| Step::Put(key, id)),
            (0..6_u8).prop_map(Step::Delete),
        ]
    }

    proptest! {
        #[test]
        fn both_maps_agree_with_a_plain_model(steps in prop::collection::vec(step(), 0..60)) {
            let mut table = LeaseTable::default();
            let mut leases = BTreeSet::new();
            let mut keys: BTreeMap<u8, i64> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Grant(id) => {
                        if let Ok(lease) = table.check_grant(LeaseId(id), 5, 1) {
                            prop_assert!(leases.insert(id));
                            table.insert(lease);
                        } else {
                            prop_assert!(leases.contains(&id));
                        }
                    }
                    Step::Revoke(id) => {
                        prop_assert_eq!(table.remove(LeaseId(id)).is_some(), leases.remove(&id));
                        keys.retain(|_, lease| *lease != id);
                    }
                    Step::Put(key, id) => {
                        table.attach(&[key], LeaseId(id));
                        keys.remove(&key);
                        if leases.contains(&id) {
                            keys.insert(key, id);
                        }
                    }
                    Step::Delete(key) => {
                        table.detach(&[key]);
                        keys.remove(&key);
                    }
                }
                for &id in &leases {
                    let expected: Vec<Bytes> = keys
                        .iter()
                        .filter(|(_, lease)| **lease == id)
                        .map(|(key, _)| Bytes::copy_from_slice(&[*key]))
                        .collect();
                    prop_assert_eq!(table.keys(LeaseId(id)), Some(expected));
                }
                prop_assert_eq!(table.attached.len(), keys.len());
                prop_assert_eq!(table.len(), leases.len());
            }
        }
    }
}
