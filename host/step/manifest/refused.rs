//! Why text is no manifest.

use super::{GuestPath, LONGEST_MANIFEST, LONGEST_WHY, MOST_DECLARATIONS};
use crate::suggestion::TomlError;
use attest_evidence::exchange::SecretUse;
use attest_evidence::report::{Explain, Fault, Report};

/// Text that is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadManifest {
    /// Longer than any manifest.
    #[error("a manifest has at most {LONGEST_MANIFEST} bytes, this has {0}")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("the manifest is not UTF-8 text")]
    NotText,
    /// Not TOML of this form.
    #[error("the manifest is wrong in {0}")]
    Toml(TomlError),
    /// More declarations than can be asked for at once.
    #[error("a manifest declares at most {MOST_DECLARATIONS} {kind}, this declares {count}")]
    TooMany {
        /// Of which kind.
        kind: String,
        /// How many.
        count: usize,
    },
    /// No reason, or one that nobody would read.
    #[error("`{declaration}` needs a `why` of 1 to {LONGEST_WHY} characters on one line")]
    Why {
        /// Which.
        declaration: String,
    },
    /// A description that nobody would read.
    #[error("a description has at most {LONGEST_WHY} characters, on one line")]
    Description,
    /// A key that may sign in no format.
    #[error("`{declaration}` lists no format, or one twice")]
    Formats {
        /// Which.
        declaration: String,
    },
    /// Formats for what signs nothing.
    #[error("`{declaration}` has `use = \"derive\"` and `formats`, and signs nothing")]
    FormatsOfDerivation {
        /// Which.
        declaration: String,
    },
    /// A limit above the host's.
    #[error("`limits.{limit}` is {value}, and 1 to {most} is allowed")]
    Limit {
        /// Which.
        limit: &'static str,
        /// What the manifest says.
        value: u32,
        /// The host's bound.
        most: u32,
    },
    /// A secret for requests, and no request.
    #[error("`{declaration}` is for requests, and `[http]` names nobody whom they go to")]
    NoHttp {
        /// Which.
        declaration: String,
    },
    /// A secret for requests to whom there are none.
    #[error("`{declaration}` is to go to {destination}, and `[http]` does not list that")]
    NotListed {
        /// Which.
        declaration: String,
        /// Where it is to go.
        destination: String,
    },
    /// Destinations of what goes nowhere.
    #[error("`{declaration}` has `to` and `use = \"{}\"`: only what is used in requests goes anywhere", .usage.as_str())]
    ToWithoutHttp {
        /// Which.
        declaration: String,
        /// How it is used.
        usage: SecretUse,
    },
    /// An environment variable without a name.
    #[error("`{declaration}` has `use = \"env\"` and no `variable`")]
    NoVariable {
        /// Which.
        declaration: String,
    },
    /// A variable for what stands in no environment.
    #[error("`{declaration}` has `variable` and `use = \"{}\"`: it stands in no environment", .usage.as_str())]
    VariableWithoutEnv {
        /// Which.
        declaration: String,
        /// How it is used.
        usage: SecretUse,
    },
    /// A variable that is none, or that steers programs.
    #[error("`{declaration}` can't be variable `{variable}`: {why}")]
    Variable {
        /// Which.
        declaration: String,
        /// The name.
        variable: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// One variable for two secrets.
    #[error("`{declaration}` has variable `{variable}`, and another has it too")]
    VariableTwice {
        /// The second of them.
        declaration: String,
        /// The name.
        variable: String,
    },
    /// Nobody to send requests to.
    #[error("`[http]` lists nobody whom requests go to")]
    EmptyHttp,
    /// One origin twice.
    #[error("`[http]` lists {origin} twice")]
    OriginTwice {
        /// Which.
        origin: String,
    },
    /// One destination twice.
    #[error("`{declaration}` lists {destination} twice")]
    DestinationTwice {
        /// Of which secret.
        declaration: String,
        /// Which.
        destination: String,
    },
    /// A token and a secret of one name.
    #[error("`{declaration}` has the name of a secret")]
    NameTwice {
        /// The token.
        declaration: String,
    },
    /// Two directories in one place.
    #[error("`{declaration}` is at {place}, and another directory is there too")]
    PlaceTwice {
        /// The second of them.
        declaration: String,
        /// Where.
        place: GuestPath,
    },
}

impl Explain for BadManifest {
    fn report(&self) -> Report {
        let report = |code| Report::new(code, Fault::Refused, self.to_string());
        match self {
            Self::TooLong(_) => report("AR-S101"),
            Self::NotText => report("AR-S102"),
            Self::Toml(error) => {
                let report = report("AR-S103").fact("line", error.line);
                match &error.meant {
                    Some(meant) => report.hint(format!("was `{meant}` meant?")),
                    None => report,
                }
            }
            Self::TooMany { .. } => report("AR-S104").hint("split the step"),
            Self::Why { .. } => {
                report("AR-S105").hint("say in a sentence what the step does with it: admins and auditors read it")
            }
            Self::Formats { .. } => {
                report("AR-S106").hint("`formats = [\"raw\"]`, `\"minisign\"`, `\"ssh\"`, `\"sigstore\"`")
            }
            Self::Limit { .. } => report("AR-S107"),
            Self::NoHttp { declaration } => report("AR-S108").hint(format!(
                "list them:\n[http]\nallow = [\"https://HOST\"]\nwhy = \"…\"\nor {}",
                if declaration.starts_with("tokens.") {
                    "leave the token out"
                } else {
                    "give the secret another `use`"
                }
            )),
            Self::NotListed { destination, .. } => report("AR-S109")
                .fact("destination", destination)
                .hint("add it to `allow` of `[http]`, or take it out of `to`"),
            Self::ToWithoutHttp { .. } => report("AR-S110").hint("leave `to` out, or say `use = \"http\"`"),
            Self::NoVariable { .. } => report("AR-S111").hint("`variable = \"NPM_TOKEN\"`"),
            Self::VariableWithoutEnv { .. } => {
                report("AR-S112").hint("leave `variable` out, or say `use = \"env\"` in so many words")
            }
            Self::Variable { .. } => report("AR-S113"),
            Self::VariableTwice { .. } => report("AR-S114").hint("each secret has a variable of its own"),
            Self::FormatsOfDerivation { .. } => report("AR-S115").hint("leave `formats` out, or say `use = \"sign\"`"),
            Self::EmptyHttp => report("AR-S116").hint("list them in `allow`, or leave `[http]` out"),
            Self::OriginTwice { .. } => {
                report("AR-S117").hint("list it once: in `private` if it may lie in a private network, else in `allow`")
            }
            Self::DestinationTwice { .. } => report("AR-S117").hint("list it once"),
            Self::PlaceTwice { .. } => report("AR-S118").hint("give one of them another `at`"),
            Self::NameTwice { .. } => report("AR-S120")
                .hint("a step opens secrets and tokens alike, by their names: give one of them another"),
            Self::Description => report("AR-S119").hint("what takes longer to say belongs into a README"),
        }
    }
}
