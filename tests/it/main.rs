//! One test binary: what no single module can promise alone.

mod model;
