//! Entries as etcd up to 3.5 wrote them: v2 requests, raw or wrapped.
//!
//! A 3.4 or 3.5 member publishes itself, and its leader sets the cluster version, with a PUT on
//! the old v2 store. Go's 3.7 stops at such an entry; here the two are read as what they mean
//! since 3.6, and every other v2 request is named so that the caller can warn and pass over it:
//! it cannot touch what v3 clients see.

use bytes::{Buf, Bytes};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use proto::etcdserverpb::{InternalRaftRequest, Request, RequestHeader};
use proto::membershippb;
use proto::{DecodeError, Message};

use crate::MemberId;
use crate::members::Attributes;

/// What stands in the data of a normal entry.
#[derive(Debug, Clone, PartialEq)]
pub enum EntryRequest {
    /// Nothing: a new leader's first entry, or what raft made of a refused conf change.
    Empty,
    /// A request, also one that came in the old form.
    Request(Box<InternalRaftRequest>),
    /// A v2 request that has no meaning here.
    Ignored {
        /// `SYNC`, `PUT`, `QGET` ...
        method: String,
        /// The v2 key.
        path: String,
    },
}

/// The data of an entry cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// It is no request.
    #[error("not a request: {0}")]
    Decode(#[from] DecodeError),
    /// A member publishes itself in words that cannot be read.
    #[error("cannot read what member {0} says of itself: {1}")]
    Attributes(MemberId, String),
}

impl EntryRequest {
    /// Reads the data of a normal entry. The request shares its memory.
    pub fn read(data: &Bytes) -> Result<Self, EntryError> {
        if data.is_empty() {
            return Ok(Self::Empty);
        }
        if is_raw_v2(data) {
            return from_v2(&Request::decode(data.clone())?);
        }
        let request = InternalRaftRequest::decode(data.clone())?;
        match &request.v2 {
            Some(v2) => from_v2(v2),
            None => Ok(Self::Request(Box::new(request))),
        }
    }
}

/// Whether the data is a v2 `Request` itself: the field that would hold a wrapped one holds
/// the word for a method. Go writes fields in order, so anything else starts behind field 2.
fn is_raw_v2(data: &Bytes) -> bool {
    const FIELD_1: u8 = 0x08;
    const FIELD_2: u8 = 0x12;
    matches!(data.first(), Some(&(FIELD_1 | FIELD_2))) && names_method(data.clone()) == Some(true)
}

fn names_method(mut rest: Bytes) -> Option<bool> {
    const METHODS: [&[u8]; 7] = [b"PUT", b"POST", b"DELETE", b"GET", b"QGET", b"SYNC", b"HEAD"];
    while rest.has_remaining() {
        let (number, wire_type) = decode_key(&mut rest).ok()?;
        if number == 2 && wire_type == WireType::LengthDelimited {
            let len = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
            return rest.get(..len).map(|method| METHODS.contains(&method));
        }
        skip_field(wire_type, number, &mut rest, DecodeContext::default()).ok()?;
    }
    Some(false)
}

fn from_v2(request: &Request) -> Result<EntryRequest, EntryError> {
    let ignored = || EntryRequest::Ignored {
        method: request.method().to_owned(),
        path: request.path().to_owned(),
    };
    if request.method() != "PUT" {
        return Ok(ignored());
    }
    let header = Some(RequestHeader { id: request.id(), ..RequestHeader::default() });
    let mut mapped = InternalRaftRequest { header, ..InternalRaftRequest::default() };
    if let Some(id) = published_member(request.path()) {
        let attributes: Attributes = serde_json::from_str(request.val())
            .map_err(|error| EntryError::Attributes(id, error.to_string()))?;
        let attributes =
            membershippb::Attributes { name: attributes.name, client_urls: attributes.client_urls };
        mapped.cluster_member_attr_set =
            Some(Box::new(membershippb::ClusterMemberAttrSetRequest {
                member_id: id.0,
                member_attributes: Some(attributes),
            }));
    } else if request.path() == "/0/version" {
        let ver = request.val().to_owned();
        mapped.cluster_version_set = Some(Box::new(membershippb::ClusterVersionSetRequest { ver }));
    } else {
        return Ok(ignored());
    }
    Ok(EntryRequest::Request(Box::new(mapped)))
}

/// The id in `/0/members/<1 to 16 hex digits>/attributes`.
fn published_member(path: &str) -> Option<MemberId> {
    let id = path.strip_prefix("/0/members/")?.strip_suffix("/attributes")?;
    let hex = (1..=16).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex { id.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proto::etcdserverpb::PutRequest;

    use super::*;

    /// As Go writes it: every scalar, also when zero.
    fn v2(method: &str, path: &str, val: &str) -> Request {
        Request {
            id: Some(42),
            method: Some(method.into()),
            path: Some(path.into()),
            val: Some(val.into()),
            dir: Some(false),
            prev_value: Some(String::new()),
            prev_index: Some(0),
            expiration: Some(0),
            wait: Some(false),
            since: Some(0),
            recursive: Some(false),
            sorted: Some(false),
            quorum: Some(false),
            time: Some(0),
            stream: Some(false),
            ..Request::default()
        }
    }

    fn read(message: &impl Message) -> EntryRequest {
        EntryRequest::read(&message.encode_to_vec().into()).expect("readable")
    }

    fn request(entry: EntryRequest) -> InternalRaftRequest {
        match entry {
            EntryRequest::Request(request) => *request,
            other => panic!("no request: {other:?}"),
        }
    }

    #[test]
    fn a_members_publication_is_read_raw_and_wrapped() {
        let val = r#"{"name":"n1","clientURLs":["http://127.0.0.1:2379"]}"#;
        let old = v2("PUT", "/0/members/6183134728c20dcd/attributes", val);
        let wrapped = InternalRaftRequest {
            v2: Some(Box::new(old.clone())),
            ..InternalRaftRequest::default()
        };
        for entry in [read(&old), read(&wrapped)] {
            let request = request(entry);
            assert_eq!(request.header.map(|header| header.id), Some(42));
            let set = request.cluster_member_attr_set.expect("attributes");
            assert_eq!(set.member_id, 0x6183_1347_28c2_0dcd);
            let attributes = set.member_attributes.expect("attributes");
            assert_eq!(attributes.name, "n1");
            assert_eq!(attributes.client_urls, ["http://127.0.0.1:2379"]);
        }
    }

    #[test]
    fn a_cluster_version_is_read() {
        let request = request(read(&v2("PUT", "/0/version", "3.5.0")));
        assert_eq!(request.cluster_version_set.map(|set| set.ver), Some("3.5.0".into()));
    }

    #[test]
    fn other_v2_requests_are_named_and_ignored() {
        for (method, path) in [
            ("SYNC", ""),
            ("QGET", "/1/a"),
            ("PUT", "/1/a"),
            ("DELETE", "/0/version"),
            ("PUT", "/0/members/xyz/attributes"),
            ("PUT", "/0/members//attributes"),
            ("PUT", "/0/members/00000000000000001/attributes"),
        ] {
            let ignored = EntryRequest::Ignored { method: method.into(), path: path.into() };
            assert_eq!(read(&v2(method, path, "")), ignored);
        }
    }

    #[test]
    fn requests_of_today_stay_what_they_are() {
        assert_eq!(EntryRequest::read(&Bytes::new()), Ok(EntryRequest::Empty));
        // A put of a 3.5.1 member, and one with the id in front as before 3.1.
        let put = PutRequest {
            key: Bytes::from_static(b"fromn2"),
            value: Bytes::from_static(b"w"),
            ..PutRequest::default()
        };
        let data = b"\x22\x0b\x0a\x06fromn2\x12\x01w\xa2\x06\x0b\x08\x85\xe0\x9e\xa4\x89\
                     \xbf\xa8\x86\xfc\x01";
        let read_put = request(EntryRequest::read(&Bytes::from_static(data)).expect("readable"));
        assert_eq!(read_put.put, Some(put.clone()));
        assert!(read_put.header.is_some_and(|header| header.id != 0));
        let old = InternalRaftRequest { id: 7, put: Some(put), ..InternalRaftRequest::default() };
        assert_eq!(request(read(&old)), old);
    }

    #[test]
    fn nonsense_is_an_error() {
        for data in [&b"\x12\x03PUT\x1a"[..], b"\x08", b"\x22\x05a", b"\xff"] {
            assert!(EntryRequest::read(&Bytes::copy_from_slice(data)).is_err(), "{data:?}");
        }
        let bad = v2("PUT", "/0/members/1/attributes", "{");
        let error = EntryRequest::read(&bad.encode_to_vec().into());
        assert!(matches!(error, Err(EntryError::Attributes(MemberId(1), _))));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_lead_to_a_panic(data in proptest::collection::vec(0_u8.., 0..200)) {
            drop(EntryRequest::read(&Bytes::from(data)));
        }

        #[test]
        fn no_damage_to_an_old_entry_leads_to_a_panic(at in 0..100_usize, byte in 0_u8..) {
            let val = r#"{"name":"n1","clientURLs":["http://127.0.0.1:2379"]}"#;
            let mut data = v2("PUT", "/0/members/61/attributes", val).encode_to_vec();
            if let Some(place) = data.get_mut(at) {
                *place = byte;
            }
            drop(EntryRequest::read(&Bytes::from(data)));
        }
    }
}
