//! The JSON inside `.snap` files: etcd's old v2 store, of which only the membership is left.
//!
//! Nobody but etcd up to 3.6 reads it (and 3.7 for a downgrade), but they insist on it. It is
//! made new for every snapshot from the members, the removed ids and the cluster version, as
//! etcd since 3.6 does: by replaying "create" and "set" on an empty store, one index each.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Roster;
use crate::go_json;

/// Places in the ring of recent events; unused ones are written as `null`.
const HISTORY_CAPACITY: usize = 1000;

/// What Go prints for a time that was never set: a node without TTL.
const NEVER: &str = "0001-01-01T00:00:00Z";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Store {
    root: Node,
    watcher_hub: WatcherHub,
    current_index: u64,
    stats: Stats,
    current_version: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    path: String,
    created_index: u64,
    modified_index: u64,
    expire_time: &'static str,
    value: String,
    /// `null` marks a leaf.
    children: Option<BTreeMap<String, Node>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct WatcherHub {
    event_history: EventHistory,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EventHistory {
    queue: Queue,
    start_index: u64,
    last_index: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Queue {
    events: Vec<Option<Event>>,
    size: usize,
    front: usize,
    back: usize,
    capacity: usize,
}

#[derive(Serialize)]
struct Event {
    action: &'static str,
    node: EventNode,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventNode {
    key: String,
    value: String,
    modified_index: u64,
    created_index: u64,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Stats {
    gets_success: u64,
    gets_fail: u64,
    sets_success: u64,
    sets_fail: u64,
    delete_success: u64,
    delete_fail: u64,
    update_success: u64,
    update_fail: u64,
    create_success: u64,
    create_fail: u64,
    compare_and_swap_success: u64,
    compare_and_swap_fail: u64,
    compare_and_delete_success: u64,
    compare_and_delete_fail: u64,
    expire_count: u64,
    watchers: u64,
}

impl Roster {
    /// The data of a `.snap` file (`raftpb.Snapshot.data`).
    pub fn to_v2_json(&self) -> Vec<u8> {
        let mut store = Store::empty();
        for member in self.members() {
            let path = format!("/0/members/{}", member.id);
            let raft = member.raft_attributes_json();
            store.write("create", format!("{path}/raftAttributes"), raft);
            if !member.client_urls.is_empty() {
                store.write("set", format!("{path}/attributes"), member.attributes_json());
            }
        }
        for id in self.removed() {
            store.write("create", format!("/0/removed_members/{id}"), String::new());
        }
        if let Some(version) = self.cluster_version() {
            store.write("set", "/0/version".to_owned(), version.to_string());
        }
        let queue = &mut store.watcher_hub.event_history.queue;
        queue.events.resize_with(HISTORY_CAPACITY, || None);
        go_json::to_vec(&store)
    }
}

impl Store {
    fn empty() -> Self {
        let mut root = Node::directory("/".to_owned(), 0);
        for name in ["0", "1"] {
            root.child(name, || Node::directory(format!("/{name}"), 0));
        }
        let queue =
            Queue { events: Vec::new(), size: 0, front: 0, back: 0, capacity: HISTORY_CAPACITY };
        Self {
            root,
            watcher_hub: WatcherHub {
                event_history: EventHistory { queue, start_index: 0, last_index: 0 },
            },
            current_index: 0,
            // etcd looks for members in the empty store before it fills it.
            stats: Stats { gets_fail: 1, ..Stats::default() },
            current_version: 2,
        }
    }

    fn write(&mut self, action: &'static str, path: String, value: String) {
        self.current_index += 1;
        let index = self.current_index;
        let mut node = &mut self.root;
        let mut at = 0;
        while let Some(slash) = path.get(at + 1..).and_then(|rest| rest.find('/')) {
            let (name, upto) = (&path[at + 1..at + 1 + slash], &path[..at + 1 + slash]);
            node = node.child(name, || Node::directory(upto.to_owned(), index));
            at += 1 + slash;
        }
        let leaf =
            Node { value: value.clone(), children: None, ..Node::directory(path.clone(), index) };
        node.child(&path[at + 1..], || leaf);
        if action == "set" {
            self.stats.sets_success += 1;
        } else {
            self.stats.create_success += 1;
        }
        let node = EventNode { key: path, value, modified_index: index, created_index: index };
        self.watcher_hub.event_history.remember(Event { action, node }, index);
    }
}

impl EventHistory {
    /// Keeps the newest events, as etcd's ring does.
    fn remember(&mut self, event: Event, index: u64) {
        self.last_index = index;
        let queue = &mut self.queue;
        if queue.size == queue.capacity {
            queue.events[queue.back] = Some(event);
            queue.front = (queue.front + 1) % queue.capacity;
            self.start_index = index + 1 - queue.capacity as u64;
        } else {
            queue.events.push(Some(event));
            queue.size += 1;
            self.start_index = 1;
        }
        queue.back = (queue.back + 1) % queue.capacity;
    }
}

impl Node {
    fn directory(path: String, index: u64) -> Self {
        Self {
            path,
            created_index: index,
            modified_index: index,
            expire_time: NEVER,
            value: String::new(),
            children: Some(BTreeMap::new()),
        }
    }

    fn child(&mut self, name: &str, make: impl FnOnce() -> Self) -> &mut Self {
        let children = self.children.get_or_insert_default();
        children.entry(name.to_owned()).or_insert_with(make)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::Member;
    use crate::{MemberId, Version};

    fn member(id: u64, client_urls: &[&str]) -> Member {
        Member {
            id: MemberId(id),
            peer_urls: vec![format!("http://127.0.0.1:{id}")],
            is_learner: id == 11,
            name: format!("n{id}"),
            client_urls: client_urls.iter().map(|url| (*url).to_owned()).collect(),
        }
    }

    /// The whole text of a 3.7.1 member's snapshot, its 997 unused places aside.
    #[test]
    fn one_member_gives_the_text_that_etcd_gives() {
        let member = Member {
            id: MemberId(0x6183_1347_28c2_0dcd),
            peer_urls: vec!["http://127.0.0.1:14380".into()],
            is_learner: false,
            name: "n1".into(),
            client_urls: vec!["http://127.0.0.1:14379".into()],
        };
        let roster = Roster::new([member], [], Some(Version::new(3, 7)));
        let json = String::from_utf8(roster.to_v2_json()).expect("text");
        let json = json.replace(&"null,".repeat(996), "");
        let expected = include_str!("v2_store_3.7.1.json").trim_end();
        assert_eq!(json, expected);
    }

    #[test]
    fn learners_removed_ids_and_silent_members_are_written() {
        let roster = Roster::new([member(10, &[]), member(11, &["x"])], [MemberId(12)], None);
        let value: serde_json::Value =
            serde_json::from_slice(&roster.to_v2_json()).expect("valid JSON");
        let zero = &value["Root"]["Children"]["0"]["Children"];
        let members = &zero["members"]["Children"];
        assert!(members["a"]["Children"].get("attributes").is_none());
        assert_eq!(
            members["b"]["Children"]["raftAttributes"]["Value"],
            r#"{"peerURLs":["http://127.0.0.1:11"],"isLearner":true}"#
        );
        assert!(members["b"]["Children"]["attributes"]["Children"].is_null());
        assert!(zero["removed_members"]["Children"]["c"]["Children"].is_null());
        assert!(zero.get("version").is_none());
        let queue = &value["WatcherHub"]["EventHistory"]["Queue"];
        assert_eq!(queue["Events"].as_array().map(Vec::len), Some(1000));
        assert_eq!(queue["Size"], 4);
    }

    #[test]
    fn more_members_than_places_keep_the_newest_events() {
        let members = (1..=700).map(|id| member(id, &["x"]));
        let roster = Roster::new(members, [], None);
        let value: serde_json::Value =
            serde_json::from_slice(&roster.to_v2_json()).expect("valid JSON");
        let history = &value["WatcherHub"]["EventHistory"];
        assert_eq!(history["Queue"]["Events"].as_array().map(Vec::len), Some(1000));
        assert_eq!((&history["LastIndex"], &history["StartIndex"]), (&1400.into(), &401.into()));
        assert_eq!(history["Queue"]["Front"], 400);
    }
}
