//! The engine in one thread, over a simulated world.

mod attempt;
mod day;
mod deliver;
mod dispatch;
mod fairness;
mod orders;
mod protocols;
mod real_hosts;
mod sessions;
mod world;
