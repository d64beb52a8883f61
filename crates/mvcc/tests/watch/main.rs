//! The watch hub against stores of one's own making: what a client may rely on, one test each.

mod conversations;
mod model;
mod real_store;
mod store;
mod threads;
