//! Wire messages of etcd, by the official package names, field names and numbers.
