use bytes::Bytes;
use proto::authpb::permission::Type;
use proto::authpb::{Permission, Role};

/// Where a range ends: before a key, or never.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// Before this key.
    Key(Bytes),
    /// Nowhere. (Sorts behind every key.)
    Never,
}

impl End {
    fn is_behind(&self, key: &[u8]) -> bool {
        match self {
            Self::Key(end) => key < end.as_ref(),
            Self::Never => true,
        }
    }
}

/// What one role may read and write: for each the union of its permissions, as ranges that
/// neither overlap nor touch, in key order.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoleRanges {
    read: Vec<(Bytes, End)>,
    write: Vec<(Bytes, End)>,
}

/// What somebody wants to do to a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

impl RoleRanges {
    pub(crate) fn new(role: &Role) -> Self {
        let ranges = |wanted: &[i32]| {
            let granted = role.key_permission.iter();
            union(granted.filter(|granted| wanted.contains(&granted.perm_type)))
        };
        Self {
            read: ranges(&[Type::Read as i32, Type::Readwrite as i32]),
            write: ranges(&[Type::Write as i32, Type::Readwrite as i32]),
        }
    }

    /// The end of the range that holds `key`.
    fn end_after(&self, access: Access, key: &[u8]) -> Option<&End> {
        let ranges = match access {
            Access::Read => &self.read,
            Access::Write => &self.write,
        };
        let behind = ranges.partition_point(|(begin, _)| begin.as_ref() <= key);
        let (_, end) = ranges.get(behind.checked_sub(1)?)?;
        end.is_behind(key).then_some(end)
    }
}

/// Whether the roles together cover the request's `key` and `range_end`. An empty range needs
/// the place where it stands, as in etcd.
pub(crate) fn covers<'a>(
    roles: impl Iterator<Item = &'a RoleRanges> + Clone,
    access: Access,
    key: &[u8],
    range_end: &[u8],
) -> bool {
    let goal = match range_end {
        [] => None,
        [0] => Some(End::Never),
        end => Some(End::Key(Bytes::copy_from_slice(end))),
    };
    let mut at = key;
    loop {
        let reach = roles.clone().filter_map(|role| role.end_after(access, at)).max();
        match (reach, &goal) {
            (None, _) => return false,
            (Some(_), None) => return true,
            (Some(end), Some(goal)) if end >= goal => return true,
            (Some(End::Never), _) => return true,
            (Some(End::Key(end)), _) => at = end,
        }
    }
}

fn union<'a>(permissions: impl Iterator<Item = &'a Permission>) -> Vec<(Bytes, End)> {
    let mut ranges: Vec<(Bytes, End)> = permissions
        .map(|permission| (permission.key.clone(), end_of(permission)))
        .filter(|(begin, end)| end.is_behind(begin))
        .collect();
    ranges.sort_unstable();
    let mut merged: Vec<(Bytes, End)> = Vec::with_capacity(ranges.len());
    for (begin, end) in ranges {
        match merged.last_mut() {
            Some((_, last)) if *last >= End::Key(begin.clone()) => *last = end.max(last.clone()),
            _ => merged.push((begin, end)),
        }
    }
    merged
}

fn end_of(permission: &Permission) -> End {
    match permission.range_end.as_ref() {
        [] => {
            let mut next = permission.key.to_vec();
            next.push(0);
            End::Key(next.into())
        }
        [0] => End::Never,
        _ => End::Key(permission.range_end.clone()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn permission(kind: Type, key: &[u8], range_end: &[u8]) -> Permission {
        Permission {
            perm_type: kind as i32,
            key: Bytes::copy_from_slice(key),
            range_end: Bytes::copy_from_slice(range_end),
        }
    }

    fn role(permissions: &[Permission]) -> RoleRanges {
        RoleRanges::new(&Role { name: Bytes::new(), key_permission: permissions.to_vec() })
    }

    fn reads(role: &RoleRanges, key: &str, range_end: &str) -> bool {
        covers([role].into_iter(), Access::Read, key.as_bytes(), range_end.as_bytes())
    }

    #[test]
    fn a_single_key_is_only_itself() {
        let role = role(&[permission(Type::Read, b"a", b"")]);
        assert!(reads(&role, "a", "") && reads(&role, "a", "a\0"));
        assert!(!reads(&role, "a\0", "") && !reads(&role, "a", "b") && !reads(&role, "a", "\0"));
    }

    #[test]
    fn neighbours_add_up_and_gaps_do_not() {
        let touching =
            role(&[permission(Type::Read, b"b", b"c"), permission(Type::Readwrite, b"a", b"b")]);
        assert!(reads(&touching, "a", "c"));
        let gap = role(&[permission(Type::Read, b"a", b"b"), permission(Type::Read, b"b\0", b"c")]);
        assert!(!reads(&gap, "a", "c"));
        assert!(!covers([&touching].into_iter(), Access::Write, b"a", b"c"));
    }

    #[test]
    fn roles_add_up() {
        let one = role(&[permission(Type::Write, b"a", b"f")]);
        let two = role(&[permission(Type::Write, b"c", b"\0")]);
        let covers = |roles: &[&RoleRanges], end: &[u8]| {
            super::covers(roles.iter().copied(), Access::Write, b"a", end)
        };
        assert!(covers(&[&one, &two], b"z") && covers(&[&one, &two], b"\0"));
        assert!(!covers(&[&one], b"z") && !covers(&[&two], b"z"));
    }

    #[test]
    fn an_empty_range_needs_the_place_where_it_stands() {
        let role = role(&[permission(Type::Read, b"b", b"d")]);
        assert!(reads(&role, "c", "a"));
        assert!(!reads(&role, "e", "a"));
        assert!(!reads(&role, "d", "c"));
    }

    #[test]
    fn a_turned_permission_permits_nothing() {
        let role = role(&[permission(Type::Read, b"d", b"b")]);
        assert!(!reads(&role, "c", "") && !reads(&role, "d", ""));
    }

    proptest! {
        #[test]
        fn covering_is_what_it_is_key_by_key(
            grants in prop::collection::vec((0..8_u8, 0..9_u8, 0..2_usize), 0..8),
            (key, end) in (0..8_u8, 0..9_u8),
        ) {
            // Keys are single bytes 1..=8 and every range ends at one, so testing the keys
            // inside is exact.
            let mut roles = [vec![], vec![]];
            for (begin, end, role) in &grants {
                roles[*role].push(permission(Type::Read, &[begin + 1], &[end + 1]));
            }
            let held = |key: u8| {
                grants.iter().any(|(begin, end, _)| (*begin..*end).contains(&key))
            };
            let roles = roles.map(|permissions| role(&permissions));
            let covered = covers(roles.iter(), Access::Read, &[key + 1], &[end + 1]);
            let expected = held(key) && (key..end).all(held);
            prop_assert_eq!(covered, expected);
        }
    }
}
