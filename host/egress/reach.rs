//! Where a host lies: asked once per lease, and the same from then on. A name that first leads to one address and then to
//! another (DNS rebinding) leads to the first.

use crate::addresses::{Network, network};
use crate::refusal::{NoAnswer, Refusal};
use attest_evidence::exchange::{Host, Origin};
use attest_wire::egress::Failure;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// Names of one lease: a wildcard lets a step make up any number, and each is remembered.
const MOST_HOSTS: usize = 1024;
/// Addresses of one name. Those that follow would be tried after ten seconds of others.
const MOST_ADDRESSES: usize = 16;

/// Asks for the addresses of a name.
pub trait Resolve: Send + Sync {
    /// Its addresses, in the order in which they are to be tried.
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a>;
}

/// Addresses to come.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, ResolveError>> + Send + 'a>>;

/// Why a name has no addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Nobody has that name.
    #[error("nobody has that name")]
    NoSuchHost,
    /// Name servers don't answer.
    #[error("no name server answered in time")]
    TimedOut,
    /// Something else.
    #[error("its address could not be had: {0}")]
    Failed(String),
}

/// The addresses of one name, once they are known.
type Pinned = Arc<OnceCell<Arc<[IpAddr]>>>;

/// The hosts of one lease, each with its addresses.
pub struct Hosts {
    resolver: Box<dyn Resolve>,
    pinned: Mutex<HashMap<String, Pinned>>,
}

impl fmt::Debug for Hosts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Hosts").finish_non_exhaustive()
    }
}

impl Hosts {
    /// None yet.
    pub fn new(resolver: Box<dyn Resolve>) -> Self {
        Self { resolver, pinned: Mutex::default() }
    }

    /// The addresses of the origin's host. It is asked for them the first time only.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn addresses(&self, origin: &Origin) -> Result<Arc<[IpAddr]>, NoAnswer> {
        let name = match origin.host() {
            Host::Address(address) => return Ok(Arc::new([*address])),
            Host::Name(name) | Host::Below(name) => name,
        };
        let cell = self.cell(name)?;
        let addresses = cell.get_or_try_init(|| self.ask(name)).await.map_err(|error| NoAnswer::Failed {
            failure: match error {
                ResolveError::NoSuchHost | ResolveError::Failed(_) => Failure::NoSuchHost,
                ResolveError::TimedOut => Failure::TimedOut,
            },
            to: origin.clone(),
            why: error.to_string(),
        })?;
        Ok(Arc::clone(addresses))
    }

    /// The addresses that the host was found to have. Asks nobody.
    pub fn known(&self, host: &Host) -> Option<Arc<[IpAddr]>> {
        match host {
            Host::Address(address) => Some(Arc::new([*address])),
            Host::Name(name) => {
                let pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
                pinned.get(name).and_then(|cell| cell.get()).cloned()
            }
            Host::Below(_) => None,
        }
    }

    fn cell(&self, name: &str) -> Result<Pinned, Refusal> {
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = pinned.get(name) {
            return Ok(Arc::clone(cell));
        }
        if pinned.len() >= MOST_HOSTS {
            return Err(Refusal::Hosts(MOST_HOSTS));
        }
        Ok(Arc::clone(pinned.entry(name.to_owned()).or_default()))
    }

    async fn ask(&self, name: &str) -> Result<Arc<[IpAddr]>, ResolveError> {
        // RFC 6761 §6.3: it is this machine, whatever name servers say.
        let mut addresses = if name == "localhost" || name.ends_with(".localhost") {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        } else {
            self.resolver.resolve(name).await?
        };
        addresses.truncate(MOST_ADDRESSES);
        if addresses.is_empty() { Err(ResolveError::NoSuchHost) } else { Ok(addresses.into()) }
    }
}

/// An address that does not lie in the Internet, and what kind it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotPublic(pub IpAddr, pub &'static str);

/// Whether a host may have all of these addresses: one that leads elsewhere is no host to talk to, whatever the others are.
/// `private` says whether its origin was granted for private networks too. Says of one that it is in such a network.
///
/// # Errors
/// [`Refusal::Address`].
pub(crate) fn permit(origin: &Origin, addresses: &[IpAddr], private: bool) -> Result<Option<NotPublic>, Refusal> {
    let by_address = matches!(origin.host(), Host::Address(_));
    let mut not_public = None;
    for address in addresses {
        let refused =
            |what, wanted| Err(Refusal::Address { host: origin.authority_text(), address: *address, what, wanted });
        match network(*address) {
            Network::Public => {}
            Network::Private(what) if private => not_public = Some(NotPublic(*address, what)),
            Network::Local(what) if private && by_address => not_public = Some(NotPublic(*address, what)),
            Network::Private(what) => return refused(what, "it was not granted with `private = true`"),
            Network::Local(what) => {
                return refused(what, "it is reached only where the address itself was granted, with `private = true`");
            }
        }
    }
    Ok(not_public)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A name that is here first, and there from then on.
    struct Rebinding(AtomicUsize);

    impl Resolve for Rebinding {
        fn resolve<'a>(&'a self, _: &'a str) -> Resolving<'a> {
            let answer = match self.0.fetch_add(1, Ordering::Relaxed) {
                0 => Err(ResolveError::TimedOut),
                1 => Ok(vec![IpAddr::from([1, 1, 1, 1])]),
                _ => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
            };
            Box::pin(async { answer })
        }
    }

    fn origin(text: &str) -> Origin {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn g03_a_name_leads_where_it_led_first() {
        let hosts = Hosts::new(Box::new(Rebinding(AtomicUsize::new(0))));
        let here = origin("https://rebinding.example");
        assert_eq!(hosts.known(here.host()), None);
        let failed = hosts.addresses(&here).await.unwrap_err();
        assert_eq!(failed.failure(), Failure::TimedOut);
        for _ in 0..3 {
            assert_eq!(*hosts.addresses(&here).await.unwrap(), [IpAddr::from([1, 1, 1, 1])]);
            assert_eq!(*hosts.known(here.host()).unwrap(), [IpAddr::from([1, 1, 1, 1])]);
        }
    }

    #[tokio::test]
    async fn localhost_is_this_machine_and_nobody_is_asked() {
        let hosts = Hosts::new(Box::new(Rebinding(AtomicUsize::new(0))));
        for name in ["https://localhost", "https://a.localhost:8443"] {
            assert!(hosts.addresses(&origin(name)).await.unwrap().iter().all(IpAddr::is_loopback));
        }
    }

    #[tokio::test]
    async fn names_are_bounded() {
        struct Anything;
        impl Resolve for Anything {
            fn resolve<'a>(&'a self, _: &'a str) -> Resolving<'a> {
                Box::pin(async { Ok(vec![IpAddr::from([1, 1, 1, 1])]) })
            }
        }
        let hosts = Hosts::new(Box::new(Anything));
        for number in 0..MOST_HOSTS {
            hosts.addresses(&origin(&format!("https://a{number}.example.com"))).await.unwrap();
        }
        let refused = hosts.addresses(&origin("https://b.example.com")).await.unwrap_err();
        assert!(matches!(refused, NoAnswer::Refused(Refusal::Hosts(MOST_HOSTS))));
        assert!(hosts.addresses(&origin("https://a0.example.com")).await.is_ok());
    }

    #[test]
    fn g03_private_addresses_need_a_grant_and_local_ones_their_own_name() {
        let public: IpAddr = "1.1.1.1".parse().unwrap();
        let private: IpAddr = "10.0.0.1".parse().unwrap();
        let metadata: IpAddr = "169.254.169.254".parse().unwrap();
        let (name, address) = (origin("https://a.example"), origin("https://169.254.169.254"));
        assert!(matches!(permit(&name, &[public], false), Ok(None)));
        let wanted = |refused: Result<_, Refusal>| match refused {
            Err(Refusal::Address { wanted, .. }) => wanted,
            _ => panic!("it was not refused for its address"),
        };
        let by_grant = wanted(permit(&name, &[public, private], false));
        assert!(by_grant.contains("private"), "{by_grant}");
        assert!(matches!(permit(&name, &[public, private], true), Ok(Some(NotPublic(at, _))) if at == private));
        let by_name = wanted(permit(&name, &[metadata], true));
        assert_ne!(by_name, by_grant);
        assert_eq!(wanted(permit(&address, &[metadata], false)), by_name);
        assert!(permit(&address, &[metadata], true).is_ok());
    }
}
