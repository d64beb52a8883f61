//! One member: boot, drive, propose, read, snapshot, compact.
