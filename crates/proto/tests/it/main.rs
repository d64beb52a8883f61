//! What the wire and the files of etcd look like, against the messages here.

mod bytes;
mod json;
mod names;
