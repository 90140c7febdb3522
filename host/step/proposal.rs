//! What a manifest lacks, written into it.

use crate::check::{CheckedStep, Coverage};
use crate::component::Component;
use crate::interfaces::Section;
use crate::manifest::{BadManifest, Manifest};
use attest_evidence::name::StepName;

/// What a `why` says until somebody says why.
pub const FILL_IN: &str = "TODO: say why";
/// Whom requests go to until somebody says so (RFC 2606 §3).
const FILL_IN_HOST: &str = "example.com";

/// A manifest with what it lacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// All of its text: what was there, and the new sections behind it.
    pub text: String,
    /// The heads of the new sections.
    pub added: Vec<String>,
}

/// The least manifest, of a step with this name.
pub fn least_manifest(name: &StepName) -> String {
    format!("[step]\nname = \"{name}\"\ndescription = \"TODO: say what it does\"\n")
}

impl Proposal {
    /// Adds to a manifest what a component needs, and keeps what is there as it is. Names are made up, and each `why` is to be
    /// filled in; the text is a manifest as it stands.
    ///
    /// # Errors
    /// Where the text is no manifest, or can't be added to: sections that stand in one line.
    pub fn of(text: &str, component: &Component) -> Result<Self, BadManifest> {
        let manifest = Manifest::parse(text.as_bytes())?;
        let mut missing: Vec<Section> = Vec::new();
        for import in CheckedStep::imports(&manifest, component) {
            if let Coverage::Undeclared(sections) = import.coverage {
                missing.extend(sections);
            }
        }
        // A secret for requests, or a token, is nothing without them.
        let sent = |section: &Section| matches!(section, Section::HttpSecret | Section::Token);
        if missing.iter().any(sent) && manifest.http.is_empty() {
            missing.push(Section::Http);
        }
        missing.sort_unstable();
        missing.dedup();
        let mut proposal = Self { text: text.to_owned(), added: Vec::new() };
        if !text.is_empty() && !text.ends_with('\n') {
            proposal.text.push('\n');
        }
        for section in missing {
            let head = section.head().replace("NAME", &unused_name(section, &manifest));
            let body = section.body().replace("HOST", FILL_IN_HOST).replace('…', FILL_IN);
            proposal.text += &format!("\n{head}\n{body}\n");
            proposal.added.push(head);
        }
        Manifest::parse(proposal.text.as_bytes())?;
        Ok(proposal)
    }
}

/// A name that the manifest does not have, and another section of a proposal neither.
fn unused_name(section: Section, manifest: &Manifest) -> String {
    let base = match section {
        Section::HttpSecret => "my-token",
        Section::RevealedSecret => "my-secret",
        Section::Token => "my-service",
        Section::SigningKey => "my-key",
        Section::DerivationKey => "my-derivation-key",
        Section::Directory => "my-directory",
        Section::Output => "my-output",
        Section::Http | Section::Summary | Section::Annotations => "",
    };
    let is_used = |name: &str| match section {
        // Secrets and tokens share their names.
        Section::HttpSecret | Section::RevealedSecret | Section::Token => {
            manifest.secrets.keys().chain(manifest.tokens.keys()).any(|known| known.as_str() == name)
        }
        Section::SigningKey | Section::DerivationKey => manifest.keys.keys().any(|known| known.as_str() == name),
        Section::Directory => manifest.dirs.keys().any(|known| known.as_str() == name),
        Section::Output => manifest.outputs.keys().any(|known| known.as_str() == name),
        Section::Http | Section::Summary | Section::Annotations => false,
    };
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    std::iter::once(base.to_owned()).chain(numbered).find(|name| !is_used(name)).unwrap_or_default()
}

/// Whether somebody still has to fill something in.
pub fn is_unfinished(manifest: &Manifest) -> bool {
    let whys = manifest.secrets.values().map(|declared| &declared.why);
    let whys = whys.chain(manifest.tokens.values().map(|declared| &declared.why));
    let whys = whys.chain(manifest.keys.values().map(|declared| &declared.why));
    let whys = whys.chain(manifest.dirs.values().map(|declared| &declared.why));
    let whys = whys.chain(manifest.outputs.values().map(|declared| &declared.why));
    let whys = whys.chain(manifest.summary.iter().chain(&manifest.annotations).map(|declared| &declared.why));
    whys.chain([&manifest.http.why]).any(|why| why == FILL_IN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(imports: &[&str]) -> Component {
        Component {
            imports: imports.iter().map(ToString::to_string).collect(),
            exports: vec!["run".into()],
            manifest: None,
            digest: attest_evidence::Sha256Digest::of(b""),
        }
    }

    #[test]
    fn what_is_written_covers_what_is_imported_and_keeps_the_rest() {
        let all = [
            "attest:step/secrets@0.1.0",
            "attest:step/reveal@0.1.0",
            "attest:step/http@0.1.0",
            "attest:step/signing@0.1.0",
            "attest:step/derive@0.1.0",
            "attest:step/directories@0.1.0",
            "attest:step/outputs@0.1.0",
            "attest:step/summary@0.1.0",
            "attest:step/annotations@0.1.0",
            "wasi:filesystem/types@0.2.0",
            "wasi:http/outgoing-handler@0.2.0",
        ];
        let texts = [
            least_manifest(&"s".parse().unwrap()),
            "# A comment.\n[step] # and another\nname   = \"s\"".to_owned(),
            "[keys.my-key]\nuse = \"sign\"\nformats = [\"raw\"]\nwhy = \"w\"\n[step]\nname = \"s\"\n".to_owned(),
        ];
        for text in &texts {
            for imports in all.iter().map(std::slice::from_ref).chain([&all[..]]) {
                let component = component(imports);
                let proposal = Proposal::of(text, &component).unwrap();
                assert!(proposal.text.starts_with(text.as_str()), "{}", proposal.text);
                let manifest = Manifest::parse(proposal.text.as_bytes()).unwrap();
                assert_eq!(is_unfinished(&manifest), !proposal.added.is_empty());
                CheckedStep::check(manifest, component.clone()).unwrap();
                // Once is enough.
                assert_eq!(Proposal::of(&proposal.text, &component).unwrap().added, [""; 0]);
            }
        }
        let taken = texts[2].replace("my-key", "my-derivation-key");
        let proposal = Proposal::of(&taken, &component(&["attest:step/derive@0.1.0"])).unwrap();
        assert_eq!(proposal.added, ["[keys.my-derivation-key-2]"]);
        // Handles of secrets are for requests, where requests with secrets are what it sends.
        let proposal =
            Proposal::of(&texts[0], &component(&["attest:step/secrets@0.1.0", "attest:step/http@0.1.0"])).unwrap();
        assert_eq!(proposal.added, ["[http]", "[secrets.my-token]"]);
        let proposal =
            Proposal::of(&texts[0], &component(&["wasi:filesystem/types@0.2.0", "attest:step/signing@0.1.0"])).unwrap();
        assert_eq!(proposal.added, ["[keys.my-key]"]);
    }

    #[test]
    fn what_can_not_be_added_to_is_left_alone() {
        let inline = "step = { name = \"s\" }\nkeys = {}\n";
        let refused = Proposal::of(inline, &component(&["attest:step/signing@0.1.0"])).unwrap_err();
        assert!(matches!(refused, BadManifest::Toml(_)), "{refused:?}");
    }
}
