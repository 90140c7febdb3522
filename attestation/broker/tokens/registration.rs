//! An audience as an admin has registered it: whom tokens are minted for, and where they may go.

use crate::keys::{KeyError, Purpose, RootKey};
use crate::secrets::Destinations;
use attest_evidence::exchange::Audience;
use attest_evidence::name::{SecretName, Stage};

/// An audience, known by its name within a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Its stage.
    pub stage: Stage,
    /// Its name: what manifests call tokens for it.
    pub name: SecretName,
    /// What tokens for it say in `aud`.
    pub audience: Audience,
    /// Where they may go.
    pub destinations: Destinations,
}

impl Registration {
    /// What the store keeps beside its words. There is nothing secret in it: whoever may write to the database alone can't
    /// send tokens elsewhere, or have them minted for somebody else.
    ///
    /// # Errors
    /// The operating system gave no randomness.
    pub fn seal(&self, root: &RootKey) -> Result<Vec<u8>, KeyError> {
        root.seal(Purpose::Audiences, &[], &self.associated_data())
    }

    /// Whether [`Registration::seal`] made this of these words.
    ///
    /// # Errors
    /// [`KeyError::DoesNotOpen`] if it is of anything else.
    pub fn check(&self, root: &RootKey, sealed: &[u8]) -> Result<(), KeyError> {
        root.open(Purpose::Audiences, sealed, &self.associated_data()).map(drop)
    }

    /// Names and audiences have no newline, so that the parts can't be shifted.
    fn associated_data(&self) -> Vec<u8> {
        let Self { stage, name, audience, destinations } = self;
        format!("{stage}\n{name}\n{audience}\n{}", destinations.as_text()).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_that_somebody_changed_is_none() {
        let root = RootKey::generate().unwrap();
        let to = |url: &str| Destinations::new(vec![url.parse().unwrap()]);
        let registered = Registration {
            stage: Stage::Dev,
            name: "sts".parse().unwrap(),
            audience: "https://sts.example".parse().unwrap(),
            destinations: to("https://sts.example"),
        };
        let sealed = registered.seal(&root).unwrap();
        assert_eq!(registered.check(&root, &sealed), Ok(()));
        let changed = [
            Registration { stage: Stage::Prod, ..registered.clone() },
            Registration { name: "other".parse().unwrap(), ..registered.clone() },
            Registration { audience: "https://other.example".parse().unwrap(), ..registered.clone() },
            Registration { destinations: to("https://other.example"), ..registered.clone() },
        ];
        for changed in changed {
            let refused = Err(KeyError::DoesNotOpen("registration of an audience"));
            assert_eq!(changed.check(&root, &sealed), refused, "{changed:?}");
        }
        assert!(registered.check(&RootKey::generate().unwrap(), &sealed).is_err());
    }
}
