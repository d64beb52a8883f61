use sha1::{Digest, Sha1};

use crate::MemberId;

/// The id of a member: made from its peer URLs, the cluster's token (bootstrap) or nothing
/// (a runtime add), and the wall time in seconds (a runtime add only).
pub fn member_id<S: AsRef<str>>(
    peer_urls: &[S],
    cluster_token: &str,
    unix_seconds: Option<i64>,
) -> MemberId {
    let mut urls: Vec<&str> = peer_urls.iter().map(AsRef::as_ref).collect();
    urls.sort_unstable();
    let mut hash = Sha1::new();
    for url in urls {
        hash.update(url.as_bytes());
    }
    hash.update(cluster_token.as_bytes());
    if let Some(seconds) = unix_seconds {
        hash.update(seconds.to_string().as_bytes());
    }
    MemberId(first_eight(hash))
}

/// The id of a cluster: made from the ids of its first members.
pub fn cluster_id(members: impl IntoIterator<Item = MemberId>) -> u64 {
    let mut ids: Vec<MemberId> = members.into_iter().collect();
    ids.sort_unstable();
    let mut hash = Sha1::new();
    for id in ids {
        hash.update(id.0.to_be_bytes());
    }
    first_eight(hash)
}

fn first_eight(hash: Sha1) -> u64 {
    let digest = hash.finalize();
    let mut first = [0; 8];
    for (to, from) in first.iter_mut().zip(digest) {
        *to = from;
    }
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_bootstrapped_member_and_its_cluster_are_etcds() {
        let id = member_id(&["http://127.0.0.1:14380"], "etcd-cluster", None);
        assert_eq!(id, MemberId(0x6183_1347_28c2_0dcd));
        assert_eq!(cluster_id([id]), 0xd11f_c824_6bb9_2517);
    }

    #[test]
    fn order_of_urls_and_members_does_not_matter() {
        let one = member_id(&["http://b:1", "http://a:1"], "", Some(1_700_000_000));
        let two = member_id(&["http://a:1", "http://b:1"], "", Some(1_700_000_000));
        assert_eq!(one, two);
        assert_ne!(one, member_id(&["http://a:1", "http://b:1"], "", Some(1_700_000_001)));
        assert_eq!(cluster_id([MemberId(2), MemberId(1)]), cluster_id([MemberId(1), MemberId(2)]));
    }
}
