//! One test binary: what no single module can promise alone.

mod bench_top;
mod crash;
mod disasters;
mod faults;
mod layers;
mod model;
mod stories;
