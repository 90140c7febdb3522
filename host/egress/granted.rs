//! What the step was granted: where it may send, and which secrets may go where.

use crate::refusal::{MayNot, Refusal};
use attest_evidence::SecretBytes;
use attest_evidence::exchange::{Destination, GrantedOrigin, Method, Origin};
use attest_evidence::name::SecretName;
use attest_leaks::{BadValues, Values};
use attest_wire::egress::{HttpSecret, SecretInRequest};
use std::sync::Arc;
use zeroize::Zeroizing;

/// What one lease may send.
#[derive(Debug)]
pub struct Granted {
    origins: Vec<GrantedOrigin>,
    secrets: Vec<Secret>,
    /// What is looked for in answers; nothing without a secret.
    values: Option<Arc<Values>>,
    is_ascii: bool,
}

#[derive(Debug)]
struct Secret {
    name: SecretName,
    value: SecretBytes,
    destinations: Vec<Destination>,
    /// Whether any place in a request will do.
    any_place: bool,
}

/// The line of a request that decides where its secrets may stand.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// To whom.
    pub origin: &'a Origin,
    /// With which method.
    pub method: Method,
    /// The path, without the query.
    pub path: &'a str,
}

/// A secret that may stand in a request where it was asked for: [`Granted::secret`] alone makes one.
#[derive(Debug, Clone, Copy)]
pub struct Permitted<'a> {
    secret: &'a Secret,
    private: bool,
}

impl<'a> Permitted<'a> {
    /// Its value.
    pub fn value(self) -> &'a SecretBytes {
        &self.secret.value
    }

    /// Its name.
    pub fn name(self) -> &'a SecretName {
        &self.secret.name
    }

    /// Whether the destination may lie in a private network.
    pub fn private(self) -> bool {
        self.private
    }

    /// That it may not, with where it may go.
    pub fn may_not(self, may_not: MayNot) -> Refusal {
        self.secret.refused(may_not)
    }
}

impl Secret {
    fn refused(&self, may_not: MayNot) -> Refusal {
        let destinations = self.destinations.iter().map(Destination::to_string).collect();
        Refusal::Secret { name: self.name.clone(), may_not, destinations }
    }
}

impl Granted {
    /// What was granted, made ready to be looked for.
    ///
    /// # Errors
    /// See [`BadValues`]: a secret that could not be found in an answer is not sent either.
    pub fn new(origins: Vec<GrantedOrigin>, secrets: Vec<HttpSecret>) -> Result<Self, BadValues> {
        let secrets: Vec<Secret> = secrets
            .into_iter()
            .map(|HttpSecret { name, value, destinations }| Secret {
                name,
                value: value.into_secret(),
                destinations,
                any_place: false,
            })
            .collect();
        let copies: Vec<Zeroizing<Vec<u8>>> =
            secrets.iter().map(|secret| secret.value.expose(|bytes| Zeroizing::new(bytes.to_vec()))).collect();
        let named = secrets.iter().zip(&copies).map(|(secret, bytes)| (secret.name.as_str(), bytes.as_slice()));
        let values = Values::new(named)?;
        let values = (!values.is_empty()).then(|| Arc::new(values));
        let is_ascii = copies.iter().all(|value| value.is_ascii());
        Ok(Self { origins, secrets, values, is_ascii })
    }

    /// Lets a secret stand in any place of a request, which no grant does: for a rehearsal whose author has not said in which.
    #[must_use]
    pub fn in_any_place(mut self, name: &SecretName) -> Self {
        self.secrets.iter_mut().filter(|secret| secret.name == *name).for_each(|secret| secret.any_place = true);
        self
    }

    /// What is looked for in every answer.
    pub fn values(&self) -> Option<&Arc<Values>> {
        self.values.as_ref()
    }

    /// Whether all secrets are made of ASCII.
    pub(crate) const fn is_ascii(&self) -> bool {
        self.is_ascii
    }

    /// The name of the secret in that place among [`Granted::values`].
    pub fn name(&self, value: usize) -> Option<&SecretName> {
        self.secrets.get(value).map(|secret| &secret.name)
    }

    /// Whether requests to `origin` may go into a private network.
    ///
    /// # Errors
    /// [`Refusal::Origin`] where none may go there at all.
    pub fn origin(&self, origin: &Origin) -> Result<bool, Refusal> {
        let mut covering = self.origins.iter().filter(|granted| granted.origin.covers(origin)).peekable();
        if covering.peek().is_none() {
            let granted = self.origins.iter().map(|granted| granted.origin.to_string()).collect();
            return Err(Refusal::Origin { asked: origin.clone(), granted });
        }
        Ok(covering.any(|granted| granted.private))
    }

    /// Whether any secret may go to `origin`: what comes from there must be readable as a whole.
    pub fn is_destination(&self, origin: &Origin) -> bool {
        self.secrets.iter().flat_map(|secret| &secret.destinations).any(|to| to.origin.covers(origin))
    }

    /// The secret that is asked for, if it may stand there in a request with that line.
    ///
    /// # Errors
    /// [`Refusal::NoSecret`], or [`Refusal::Secret`] with the first of origin, path, method and place that none of its
    /// destinations goes along with.
    pub fn secret(&self, asked: &SecretInRequest, line: Line<'_>) -> Result<Permitted<'_>, Refusal> {
        let secret = self.secrets.iter().find(|secret| secret.name == asked.name);
        let secret = secret.ok_or_else(|| Refusal::NoSecret(asked.name.clone()))?;
        let Line { origin, method, path } = line;
        let mut left: Vec<&Destination> = secret.destinations.iter().collect();
        let mut keep = |goes_along: &dyn Fn(&Destination) -> bool, may_not: MayNot| {
            left.retain(|to| goes_along(to));
            if left.is_empty() { Err(secret.refused(may_not)) } else { Ok(()) }
        };
        keep(&|to| to.origin.covers(origin), MayNot::Origin(origin.clone()))?;
        keep(&|to| to.path.covers(path), MayNot::Path(path.to_owned()))?;
        keep(&|to| to.methods.contains(&method), MayNot::Method(method))?;
        keep(&|to| secret.any_place || to.places.contains(&asked.place), MayNot::Place(asked.place.clone()))?;
        Ok(Permitted { secret, private: left.iter().any(|to| to.private) })
    }
}
