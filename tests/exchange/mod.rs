//! Exchanges with a real broker, by an agent that misbehaves.

mod binding;
mod crash;
mod enrolment;
mod leases;
mod quotes;
mod replay;
