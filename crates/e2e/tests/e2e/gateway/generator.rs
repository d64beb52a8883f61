//! Requests by chance as JSON: as they should be, spelled in all ways that are allowed, and broken.

use e2e::{Generator, Mix, Request};
use env::Random;
use proto::json::{self, Style};
use serde_json::Value;

use super::http::{Post, Reply};

/// The path of each call behind `/v3/`, by its gRPC path.
const PATHS: &[(&str, &[&str])] = &[
    ("KV/Range", &["kv/range"]),
    ("KV/Put", &["kv/put"]),
    ("KV/DeleteRange", &["kv/deleterange"]),
    ("KV/Txn", &["kv/txn"]),
    ("KV/Compact", &["kv/compaction"]),
    ("Lease/LeaseGrant", &["lease/grant"]),
    ("Lease/LeaseRevoke", &["lease/revoke", "kv/lease/revoke"]),
    ("Lease/LeaseKeepAlive", &["lease/keepalive"]),
    ("Lease/LeaseTimeToLive", &["lease/timetolive", "kv/lease/timetolive"]),
    ("Lease/LeaseLeases", &["lease/leases", "kv/lease/leases"]),
    ("Cluster/MemberList", &["cluster/member/list"]),
    ("Maintenance/Alarm", &["maintenance/alarm"]),
    ("Maintenance/Status", &["maintenance/status"]),
    ("Maintenance/Defragment", &["maintenance/defragment"]),
    ("Maintenance/HashKV", &["maintenance/hashkv"]),
    ("Auth/AuthStatus", &["auth/status"]),
    ("Auth/UserAdd", &["auth/user/add"]),
    ("Auth/UserGet", &["auth/user/get"]),
    ("Auth/UserList", &["auth/user/list"]),
    ("Auth/UserDelete", &["auth/user/delete"]),
    ("Auth/UserChangePassword", &["auth/user/changepw"]),
    ("Auth/UserGrantRole", &["auth/user/grant"]),
    ("Auth/UserRevokeRole", &["auth/user/revoke"]),
    ("Auth/RoleAdd", &["auth/role/add"]),
    ("Auth/RoleGet", &["auth/role/get"]),
    ("Auth/RoleList", &["auth/role/list"]),
    ("Auth/RoleDelete", &["auth/role/delete"]),
    ("Auth/RoleGrantPermission", &["auth/role/grant"]),
    ("Auth/RoleRevokePermission", &["auth/role/revoke"]),
];

/// What a broken text gets more of.
const SCRAPS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u",
    "\\ud800",
    "null",
    "true",
    "1",
    "-",
    "1.5",
    "1e3",
    "1e400",
    "\"Zg\"",
    "\"Zg=\"",
    "\"_-\"",
    "\"9223372036854775808\"",
    "\u{fc}",
    "\n",
    "\"key\":\"eA==\",",
];

pub(super) struct Requests {
    random: Random,
    generator: Generator,
}

impl Requests {
    pub(super) fn new(seed: u64) -> Self {
        let generator = Generator::new(seed, Mix { auth: true, reads: true });
        Self { random: Random::new(seed ^ 1), generator }
    }

    pub(super) fn next(&mut self) -> (Request, Post) {
        let request = loop {
            let request = self.generator.next_request();
            if super::is_there(&request) {
                break request;
            }
        };
        let (rpc, wire) = request.wire();
        let schema = json::method(rpc).expect("is a call").request;
        let mut text = Vec::new();
        json::write(schema, &wire, Style::Plain, &mut text).expect("is a message");
        let mut text = String::from_utf8(text).expect("is text");
        let (_, paths) = PATHS
            .iter()
            .find(|(name, _)| rpc.ends_with(&format!(".{name}")))
            .expect("every call has a path");
        let path = format!("/v3/{}", paths[self.random.index(paths.len())]);
        match self.random.below(10) {
            // A lease whose id got lost gets one by chance.
            _ if matches!(request, Request::LeaseGrant(_)) => {}
            0..4 => {}
            4..7 => text = self.spelled(&text),
            _ => {
                if self.random.chance(1, 2) {
                    text = self.spelled(&text);
                }
                return (request, Post::new(path, self.broken(text)));
            }
        }
        (request, Post::new(path, text))
    }

    pub(super) fn learn(&mut self, request: &Request, reply: &Reply) {
        let revision = super::revision(&reply.json());
        let text = String::new();
        self.generator.learn(request, &e2e::Answer { text, revision });
    }

    /// The same in other words. Some of them do not mean the same any more: what is a number may
    /// have been bytes.
    fn spelled(&mut self, text: &str) -> String {
        let value = serde_json::from_str(text).expect("it was JSON");
        let mut out = String::new();
        self.spell(&value, &mut out);
        out
    }

    fn spell(&mut self, value: &Value, out: &mut String) {
        self.blank(out);
        match value {
            Value::Object(fields) => {
                out.push('{');
                let mut first = true;
                let mut separate = |out: &mut String| {
                    if !std::mem::take(&mut first) {
                        out.push(',');
                    }
                };
                for (name, value) in fields {
                    separate(out);
                    let name = if self.random.chance(1, 3) { camel(name) } else { name.clone() };
                    out.push_str(&Value::from(name).to_string());
                    self.blank(out);
                    out.push(':');
                    if self.random.chance(1, 40) {
                        out.push_str("null");
                    } else {
                        self.spell(value, out);
                    }
                }
                if self.random.chance(1, 6) {
                    separate(out);
                    out.push_str(r#""unknown":[{"a":[1,2.5e7,"\ud83d\ude00"]},null]"#);
                }
                self.blank(out);
                out.push('}');
            }
            Value::Array(values) => {
                out.push('[');
                for (number, value) in values.iter().enumerate() {
                    if number > 0 {
                        out.push(',');
                    }
                    self.spell(value, out);
                }
                out.push(']');
            }
            Value::String(text) => {
                let text = self.string(text);
                out.push_str(&text);
            }
            other => out.push_str(&other.to_string()),
        }
        self.blank(out);
    }

    fn string(&mut self, text: &str) -> String {
        let is_number = text.parse::<i64>().is_ok();
        match self.random.below(8) {
            0 | 1 if is_number => text.to_owned(),
            2 if is_number => format!("{text}.0"),
            3 if is_number => format!("\"{text}0e-1\""),
            4 => format!("\"{}\"", text.trim_end_matches('=')),
            5 => format!("\"{}\"", text.replace('+', "-").replace('/', "_")),
            6 if !text.is_empty() => {
                let number = u32::from(text.as_bytes()[0]);
                format!("\"\\u{number:04x}{}\"", &text[1..])
            }
            _ => format!("\"{text}\""),
        }
    }

    fn blank(&mut self, out: &mut String) {
        if self.random.chance(1, 10) {
            out.push_str([" ", "\n", "\t", "\r\n"][self.random.index(4)]);
        }
    }

    /// Bytes missing, bytes too many, or bytes twice.
    fn broken(&mut self, text: String) -> Vec<u8> {
        let mut bytes = text.into_bytes();
        for _ in 0..1 + self.random.below(2) {
            let at = self.random.index(bytes.len() + 1);
            let end = (at + 1 + self.random.index(6)).min(bytes.len());
            match self.random.below(6) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let scrap = SCRAPS[self.random.index(SCRAPS.len())];
                    bytes.splice(at..at, scrap.bytes());
                }
                3 => {
                    let scrap = SCRAPS[self.random.index(SCRAPS.len())];
                    bytes.splice(at..end, scrap.bytes());
                }
                4 => {
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => {
                    let byte = self.random.below(256) as u8;
                    bytes.splice(at..end.min(at + 1), [byte]);
                }
            }
        }
        bytes
    }
}

/// `range_end` as `rangeEnd`.
fn camel(name: &str) -> String {
    let mut out = String::new();
    let mut up = false;
    for c in name.chars() {
        match c {
            '_' => up = true,
            c if std::mem::take(&mut up) => out.push(c.to_ascii_uppercase()),
            c => out.push(c),
        }
    }
    out
}
