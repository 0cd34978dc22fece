//! The engine in one thread, over a simulated world.

mod day;
