//! Steps, end to end: a client, an agent, a worker and a broker of a user each.

mod agent;
mod canary;
mod checking;
mod derived_keys;
mod direct;
mod endings;
mod formats;
mod handles;
mod impostors;
mod input;
mod leased_keys;
mod limits;
mod manifests;
mod measure;
mod measured;
mod path;
mod rehearsals;
mod secret_scan;
mod system_calls;
mod walls;

use crate::support::{Broker, Runner};

/// A runner on which the hostile step has its key and its secret.
fn ready() -> (Broker, Runner) {
    let broker = Broker::start();
    let runner = Runner::enrolled(&broker, "builder");
    provide(&broker, &runner);
    (broker, runner)
}

/// What the hostile step declares.
fn provide(broker: &Broker, runner: &Runner) {
    broker.set_secret("dev", "release/npm-token", "npm_secret_of_dev");
    runner.as_user(0, &["keys", "create", "release"]).ok();
}
