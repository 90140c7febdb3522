//! Steps, end to end: a client, an agent, a worker and a broker of a user each.

mod path;
