//! `job`: the beginning and the end of a CI job, for the runner's hooks.

use crate::output::narrate;
use crate::{Global, ci, client, output};
use attest_evidence::report::{Fault, Report};
use attest_wire::client::{Answer, Request};
use clap::Subcommand;
use serde_json::json;

/// The CI job that this process belongs to.
#[derive(Debug, Subcommand)]
pub(crate) enum Job {
    /// Redeem the job's token, before any of its steps can
    Start {
        /// What the token must be for: what the broker's admin gave to `issuer add`
        #[arg(long, value_name = "AUDIENCE", default_value = ci::AUDIENCE)]
        audience: String,
    },
    /// Forget its session: what is left of the job gets nothing more
    End,
}

impl Job {
    pub(crate) fn execute(self, global: &Global) -> Result<(), Report> {
        match self {
            Self::Start { audience } => {
                let token = ci::token(&audience)?.ok_or_else(|| {
                    Report::new("AR-J403", Fault::Environment, "this is no CI job with a token").hint(
                        "GitHub: `permissions: id-token: write`. GitLab: `id_tokens: { ATTEST_RUN_ID_TOKEN: { aud: attest-run } }`",
                    )
                })?;
                match client::ask_one(global, Request::StartJob { token }, Vec::new())? {
                    Answer::Job(session) => {
                        match &session {
                            Some(session) => narrate!("the job's session is {session}"),
                            None => narrate!("the broker believes no tokens of this CI system: the job has no session"),
                        }
                        output::print(global, "attest-run/job/v1", &json!({ "session": session }), String::new);
                        Ok(())
                    }
                    _ => Err(client::unexpected()),
                }
            }
            Self::End => match client::ask_one(global, Request::EndJob, Vec::new())? {
                Answer::JobEnded(ended) => {
                    narrate!("{}", if ended { "the job's session is forgotten" } else { "the job had no session" });
                    output::print(global, "attest-run/job-ended/v1", &json!({ "ended": ended }), String::new);
                    Ok(())
                }
                _ => Err(client::unexpected()),
            },
        }
    }
}
