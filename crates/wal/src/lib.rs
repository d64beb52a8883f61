//! The log and snapshot files on disk, in etcd's format.
