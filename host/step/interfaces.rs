//! What a component may import: for what, and what it needs. The one table that `check`, errors and the reference share.

use crate::component::Component;
use crate::manifest::Manifest;
use attest_evidence::exchange::{KeyUse, SecretUse};
use attest_evidence::report::excerpt;

/// The version of each package that this host serves, and how the versions begin that it takes a component for.
const PACKAGES: [(&str, &str, &str); 8] = [
    ("attest:step", "0.1.0", "0.1."),
    ("wasi:cli", "0.2.12", "0.2."),
    ("wasi:clocks", "0.2.12", "0.2."),
    ("wasi:filesystem", "0.2.12", "0.2."),
    ("wasi:http", "0.2.12", "0.2."),
    ("wasi:io", "0.2.12", "0.2."),
    ("wasi:random", "0.2.12", "0.2."),
    ("wasi:sockets", "0.2.12", "0.2."),
];

/// An interface that components may import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// Its name, without a version.
    pub name: &'static str,
    /// What it needs.
    pub need: Need,
    /// Whether a command has it without a declaration.
    pub in_commands: bool,
    /// What it is for and what it gives, in half a sentence.
    pub gives: &'static str,
}

/// What an import needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// One of these sections.
    Any(&'static [Section]),
    /// All of these sections.
    All(&'static [Section]),
    /// All of the first, and one of the second.
    AllAndAny(&'static [Section], &'static [Section]),
    /// More than any manifest can give: why.
    Never(&'static str),
}

impl Need {
    /// The sections of which all are needed, and those of which one is.
    pub const fn sections(self) -> (&'static [Section], &'static [Section]) {
        match self {
            Self::Nothing | Self::Never(_) => (&[], &[]),
            Self::Any(any) => (&[], any),
            Self::All(all) => (all, &[]),
            Self::AllAndAny(all, any) => (all, any),
        }
    }

    /// Them, in words.
    fn phrase(self) -> String {
        let (all, any) = self.sections();
        let (every, one) = (phrases(all, " and "), phrases(any, " or "));
        if all.is_empty() || any.is_empty() { every + &one } else { format!("{every}, and {one}") }
    }
}

/// A section of a manifest, as far as imports need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// `[http]`.
    Http,
    /// A secret for requests.
    HttpSecret,
    /// A secret that is revealed.
    RevealedSecret,
    /// A token.
    Token,
    /// A key that signs.
    SigningKey,
    /// A key to derive from.
    DerivationKey,
    /// A directory.
    Directory,
    /// An output.
    Output,
    /// `[summary]`.
    Summary,
    /// `[annotations]`.
    Annotations,
}

impl Section {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Http,
        Self::HttpSecret,
        Self::RevealedSecret,
        Self::Token,
        Self::SigningKey,
        Self::DerivationKey,
        Self::Directory,
        Self::Output,
        Self::Summary,
        Self::Annotations,
    ];

    /// Its head, in the words of a manifest.
    pub const fn head(self) -> &'static str {
        match self {
            Self::Http => "[http]",
            Self::HttpSecret | Self::RevealedSecret => "[secrets.NAME]",
            Self::Token => "[tokens.NAME]",
            Self::SigningKey | Self::DerivationKey => "[keys.NAME]",
            Self::Directory => "[dirs.NAME]",
            Self::Output => "[outputs.NAME]",
            Self::Summary => "[summary]",
            Self::Annotations => "[annotations]",
        }
    }

    /// What stands below its head. `HOST` and `…` are to be filled in.
    pub const fn body(self) -> &'static str {
        match self {
            Self::Http => "allow = [\"https://HOST\"]\nwhy = \"…\"",
            Self::HttpSecret => "use = \"http\"\nwhy = \"…\"",
            Self::RevealedSecret => "use = \"reveal\"\nwhy = \"…\"",
            Self::Token => "audience = \"https://HOST\"\nwhy = \"…\"",
            Self::SigningKey => "use = \"sign\"\nformats = [\"raw\"]\nwhy = \"…\"",
            Self::DerivationKey => "use = \"derive\"\nwhy = \"…\"",
            Self::Directory => "mode = \"read\"\nwhy = \"…\"",
            Self::Output | Self::Summary | Self::Annotations => "why = \"…\"",
        }
    }

    /// The lines of it, for people.
    pub fn lines(self) -> String {
        format!("{}\n{}", self.head(), self.body())
    }

    /// It, in a sentence.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Http => "`[http]`",
            Self::HttpSecret => "`[secrets.NAME]` with `use = \"http\"`",
            Self::RevealedSecret => "`[secrets.NAME]` with `use = \"reveal\"`",
            Self::Token => "`[tokens.NAME]`",
            Self::SigningKey => "`[keys.NAME]` with `use = \"sign\"`",
            Self::DerivationKey => "`[keys.NAME]` with `use = \"derive\"`",
            Self::Directory => "`[dirs.NAME]`",
            Self::Output => "`[outputs.NAME]`",
            Self::Summary => "`[summary]`",
            Self::Annotations => "`[annotations]`",
        }
    }

    /// Whether a manifest has it.
    pub fn is_in(self, manifest: &Manifest) -> bool {
        let secret = |usage: &[SecretUse]| manifest.secrets.values().any(|secret| usage.contains(&secret.usage));
        let key = |usage| manifest.keys.values().any(|key| key.usage == usage);
        match self {
            Self::Http => !manifest.http.is_empty(),
            Self::HttpSecret => secret(&[SecretUse::Http]),
            Self::RevealedSecret => secret(&[SecretUse::Reveal]),
            Self::Token => !manifest.tokens.is_empty(),
            Self::SigningKey => key(KeyUse::Sign),
            Self::DerivationKey => key(KeyUse::Derive),
            Self::Directory => !manifest.dirs.is_empty(),
            Self::Output => !manifest.outputs.is_empty(),
            Self::Summary => manifest.summary.is_some(),
            Self::Annotations => manifest.annotations.is_some(),
        }
    }
}

const NO_SOCKETS: Need = Need::Never("this host gives no sockets: requests go through wasi:http");
const FOR_COMMANDS: Need = Need::Never("only programs that export `wasi:cli/run` have it");

const fn interface(name: &'static str, need: Need, gives: &'static str) -> Interface {
    Interface { name, need, in_commands: false, gives }
}

/// What programs have beyond steps: they can't ask otherwise.
const fn of_commands(name: &'static str, need: Need, gives: &'static str) -> Interface {
    Interface { name, need, in_commands: true, gives }
}

/// Every interface that this host knows.
pub const INTERFACES: &[Interface] = &[
    interface("attest:step/types", Need::Nothing, "names the errors that the others share"),
    interface("attest:step/log", Need::Nothing, "writes messages for whoever reads the job's log, with secrets masked"),
    interface(
        "attest:step/secrets",
        Need::Any(&[Section::RevealedSecret, Section::HttpSecret, Section::Token]),
        "opens handles of secrets and tokens, which show nothing of them",
    ),
    interface("attest:step/reveal", Need::All(&[Section::RevealedSecret]), "gives the bytes of a secret, once"),
    interface(
        "attest:step/http",
        Need::AllAndAny(&[Section::Http], &[Section::HttpSecret, Section::Token]),
        "sends requests into which the host puts secrets and tokens that the step does not see",
    ),
    interface(
        "attest:step/signing",
        Need::All(&[Section::SigningKey]),
        "signs files and messages with keys that stay in the TPM",
    ),
    interface(
        "attest:step/derive",
        Need::All(&[Section::DerivationKey]),
        "derives symmetric keys from one that stays in the TPM",
    ),
    interface(
        "attest:step/directories",
        Need::All(&[Section::Directory]),
        "opens directories of the runner, and nothing outside them",
    ),
    interface("attest:step/outputs", Need::All(&[Section::Output]), "sets values for the steps that follow"),
    interface("attest:step/summary", Need::All(&[Section::Summary]), "adds text to the page of the job"),
    interface("attest:step/annotations", Need::All(&[Section::Annotations]), "makes remarks about lines of files"),
    interface("wasi:clocks/wall-clock", Need::Nothing, "tells the date and the time"),
    interface("wasi:clocks/monotonic-clock", Need::Nothing, "tells how much time has passed, and waits"),
    interface("wasi:random/random", Need::Nothing, "gives random numbers of the kernel"),
    interface("wasi:random/insecure", Need::Nothing, "gives random numbers that may be guessed"),
    interface("wasi:random/insecure-seed", Need::Nothing, "gives a seed for hash tables"),
    interface("wasi:io/error", Need::Nothing, "tells what went wrong with a stream"),
    interface("wasi:io/poll", Need::Nothing, "waits for one of several things"),
    interface("wasi:io/streams", Need::Nothing, "reads and writes what others have opened"),
    interface("wasi:http/types", Need::All(&[Section::Http]), "puts requests together and takes answers apart"),
    interface(
        "wasi:http/outgoing-handler",
        Need::All(&[Section::Http]),
        "sends requests to what is listed, and nowhere else",
    ),
    of_commands(
        "wasi:filesystem/types",
        Need::Any(&[Section::Directory, Section::SigningKey]),
        "reads and writes files of declared directories, and has none without",
    ),
    of_commands("wasi:filesystem/preopens", FOR_COMMANDS, "finds the declared directories, and is empty without"),
    of_commands(
        "wasi:cli/environment",
        FOR_COMMANDS,
        "gives the arguments, and the secrets declared with `use = \"env\"`",
    ),
    of_commands("wasi:cli/exit", FOR_COMMANDS, "ends the program"),
    of_commands("wasi:cli/stdin", FOR_COMMANDS, "reads standard input, which is empty"),
    of_commands("wasi:cli/stdout", FOR_COMMANDS, "writes to the job's log, with secrets masked"),
    of_commands("wasi:cli/stderr", FOR_COMMANDS, "writes to the job's log, with secrets masked"),
    of_commands("wasi:cli/terminal-input", FOR_COMMANDS, "would read from a terminal, and there is none"),
    of_commands("wasi:cli/terminal-output", FOR_COMMANDS, "would write to a terminal, and there is none"),
    of_commands("wasi:cli/terminal-stdin", FOR_COMMANDS, "asks whether standard input is a terminal: it is none"),
    of_commands("wasi:cli/terminal-stdout", FOR_COMMANDS, "asks whether standard output is a terminal: it is none"),
    of_commands("wasi:cli/terminal-stderr", FOR_COMMANDS, "asks whether standard error is a terminal: it is none"),
    interface("wasi:sockets/instance-network", NO_SOCKETS, "would reach the network"),
    interface("wasi:sockets/ip-name-lookup", NO_SOCKETS, "would resolve names"),
    interface("wasi:sockets/network", NO_SOCKETS, "would reach the network"),
    interface("wasi:sockets/tcp", NO_SOCKETS, "would open connections"),
    interface("wasi:sockets/tcp-create-socket", NO_SOCKETS, "would open connections"),
    interface("wasi:sockets/udp", NO_SOCKETS, "would send datagrams"),
    interface("wasi:sockets/udp-create-socket", NO_SOCKETS, "would send datagrams"),
];

impl Interface {
    /// Its sentence: what it is for, what it gives, what it needs.
    pub fn sentence(&self) -> String {
        let needs = match self.need {
            Need::Nothing => "needs nothing".to_owned(),
            Need::Any(_) | Need::All(_) | Need::AllAndAny(..) => format!("needs {}", self.need.phrase()),
            Need::Never(why) => why.to_owned(),
        };
        let commands = match self.need {
            Need::Any(_) | Need::All(_) | Need::AllAndAny(..) if self.in_commands => {
                ", and nothing in a program that exports `wasi:cli/run`"
            }
            _ => "",
        };
        format!("{}; {needs}{commands}", self.gives)
    }
}

fn phrases(sections: &[Section], between: &str) -> String {
    sections.iter().map(|section| section.phrase()).collect::<Vec<_>>().join(between)
}

/// An import, as the table knows it.
pub(crate) enum Known {
    /// It is in the table, in a version that is served.
    Interface(&'static Interface),
    /// Its package is, in a version that isn't.
    Version {
        /// `attest:step`.
        package: &'static str,
        /// Against which it was built.
        built: String,
        /// Which is served.
        served: &'static str,
    },
    /// Nothing of it is.
    Nothing,
}

/// What the table knows of an import, or of an export.
pub(crate) fn known(name: &str) -> Known {
    let (interface, version) = name.split_once('@').map_or((name, None), |(name, version)| (name, Some(version)));
    let package = interface.split('/').next().unwrap_or_default();
    let Some((package, served, begins)) = PACKAGES.into_iter().find(|(known, ..)| *known == package) else {
        return Known::Nothing;
    };
    let is_served = version.and_then(|version| version.strip_prefix(begins)).is_some_and(|patch| {
        !patch.is_empty() && patch.len() <= 4 && patch.bytes().all(|digit| digit.is_ascii_digit())
    });
    if !is_served {
        let built = excerpt(version.unwrap_or("no version"));
        return Known::Version { package, built, served };
    }
    match INTERFACES.iter().find(|known| known.name == interface) {
        Some(interface) => Known::Interface(interface),
        None => Known::Nothing,
    }
}

/// Whether a component imports an interface, in a version that is served.
pub(crate) fn imports(component: &Component, interface: &str) -> bool {
    component.imports.iter().any(|import| match known(import) {
        Known::Interface(known) => known.name == interface,
        Known::Version { .. } | Known::Nothing => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_served_or_told() {
        let version = |name: &str| match known(name) {
            Known::Version { package, built, served } => format!("{package} {built} {served}"),
            Known::Interface(interface) => interface.name.to_owned(),
            Known::Nothing => "nothing".to_owned(),
        };
        for (name, is) in [
            ("attest:step/log@0.1.0", "attest:step/log"),
            ("attest:step/log@0.1.7", "attest:step/log"),
            ("attest:step/log@0.2.0", "attest:step 0.2.0 0.1.0"),
            ("attest:step/later@0.2.0", "attest:step 0.2.0 0.1.0"),
            ("attest:step/later@0.1.0", "nothing"),
            ("attest:step/log@0.1.0-rc", "attest:step 0.1.0-rc 0.1.0"),
            ("attest:step/log@0.1.", "attest:step 0.1. 0.1.0"),
            ("attest:step/log", "attest:step no version 0.1.0"),
            ("wasi:io/poll@0.2.0", "wasi:io/poll"),
            ("wasi:io/poll@0.2.99", "wasi:io/poll"),
            ("wasi:io/poll@0.3.0", "wasi:io 0.3.0 0.2.12"),
            ("wasi:io/poll@0.2.0-rc-2023-11-10", "wasi:io 0.2.0-rc-2023-11-10 0.2.12"),
            ("wasi:keyvalue/store@0.2.0", "nothing"),
            ("env", "nothing"),
            ("", "nothing"),
        ] {
            assert_eq!(version(name), is, "{name}");
        }
    }

    #[test]
    fn the_reference_has_the_table() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/manifest.md");
        let page = std::fs::read_to_string(page).unwrap();
        let need = |need: Need| match need {
            Need::Nothing => "nothing".to_owned(),
            Need::Any(_) | Need::All(_) | Need::AllAndAny(..) => need.phrase(),
            Need::Never(why) => format!("never: {why}"),
        };
        let row = |interface: &Interface| {
            let in_step = need(interface.need);
            let in_command = if interface.in_commands { "nothing".to_owned() } else { in_step.clone() };
            format!("| `{}` | {} | {in_step} | {in_command} |\n", interface.name, interface.gives)
        };
        let table: String = INTERFACES.iter().map(row).collect();
        assert!(page.ends_with(&table), "docs/reference/manifest.md ends with this table:\n{table}");
    }

    #[test]
    fn the_table_has_all_that_the_contract_has() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/step.wit");
        let contract = std::fs::read_to_string(root).unwrap();
        let names = contract.lines().filter_map(|line| line.strip_prefix("interface ")?.strip_suffix(" {"));
        let names: Vec<_> = names.map(|name| format!("attest:step/{name}")).collect();
        assert!(names.len() > 8);
        let table: Vec<_> = INTERFACES.iter().map(|interface| interface.name).collect();
        for name in &names {
            assert!(table.contains(&name.as_str()), "{name}");
        }
        assert_eq!(table.iter().filter(|name| name.starts_with("attest:")).count(), names.len());
        // What the host serves of the contract is the contract that lies there.
        assert!(contract.contains(&format!("package attest:step@{};", PACKAGES[0].1)));
    }
}
