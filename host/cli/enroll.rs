//! `enroll`: this runner and a broker get to know each other.

use crate::output::narrate;
use crate::{Global, client, output};
use attest_evidence::exchange::RunnerState;
use attest_evidence::report::{Fault, Report};
use attest_wire::client::{Answer, Request};
use clap::Args;
use serde::Serialize;
use std::io::Read as _;

/// Enrol with a broker.
#[derive(Debug, Args)]
pub(crate) struct Enroll {
    /// The broker: https://HOST[:PORT]
    #[arg(long, value_name = "URL")]
    broker: String,
    /// The one-time token from the broker's admin; `-` reads it from standard input, where no other user of
    /// this machine sees it
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true, default_value = "-")]
    token: String,
}

#[derive(Serialize)]
struct Enrolled {
    runner: String,
    state: RunnerState,
    class: String,
}

impl Enroll {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        let mut token = self.token;
        if token == "-" {
            token.clear();
            std::io::stdin()
                .take(4096)
                .read_to_string(&mut token)
                .map_err(|error| Report::new("AR-N202", Fault::Usage, format!("can't read the token: {error}")))?;
        } else if std::path::Path::new(attest_agent::config::ADMIN).exists() {
            narrate!(
                "warning: other users of this machine can read the token on the command line. `--token -` reads it from standard input"
            );
        }
        let request = Request::Enrol { broker: self.broker, token };
        let Answer::Enrolled { runner, state, class } = client::ask_one(global, request, Vec::new())? else {
            return Err(client::unexpected());
        };
        let enrolled = Enrolled { runner: runner.to_string(), state, class };
        output::print(global, "attest-run/enrolled/v1", &enrolled, || {
            format!("enrolled as `{}`, {}, TPM class {}", enrolled.runner, enrolled.state.as_str(), enrolled.class)
        });
        if state == RunnerState::Pending {
            narrate!("nobody vouches for this TPM: the broker's admin has to `attest-broker runner approve {runner}`");
        }
        Ok(())
    }
}
