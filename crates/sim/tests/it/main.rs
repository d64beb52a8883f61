//! Members live through seeds, and what is wrong on purpose is noticed.

mod bugs;
mod cluster_bugs;
mod clusters;
mod seeds;
