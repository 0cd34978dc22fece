//! One test binary: what no single module can promise alone.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test that cannot go on ends, and may say what it measured"
)]

mod ahead;
mod bench_top;
mod citations;
mod clients;
mod clock;
mod commands;
mod crash;
mod cutting;
mod disasters;
mod events;
mod example;
mod fair;
mod faults;
mod foreign;
mod foreign_more;
mod foreign_s3;
mod fourshared;
mod hanging;
mod hooks;
mod hosts;
mod keys;
mod kills;
mod kinds;
mod koodrive;
mod layers;
mod links;
#[cfg(target_os = "linux")]
mod live;
mod manager;
mod measuring;
mod messages;
mod migrations;
mod model;
mod packaging;
mod parts;
mod planted;
mod reference;
mod reload;
mod replies;
mod requests;
mod s3;
mod said;
mod service;
mod sessions;
mod silent;
mod skip;
mod steer;
mod stories;
mod torn;
mod tus;
mod users;
mod webdav;
mod world;
