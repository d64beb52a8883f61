//! The replicated machine: what an entry does to keys, leases, alarms and members.
