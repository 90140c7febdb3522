//! Steps, end to end: a client, an agent, a worker and a broker of a user each.

mod agent;
mod canary;
mod derived_keys;
mod direct;
mod handles;
mod impostors;
mod input;
mod limits;
mod path;
mod walls;
