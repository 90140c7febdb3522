//! The name servers and the hosts file of this machine.

use crate::reach::{Resolve, ResolveError, Resolving};
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, TokioResolver};

/// Asks as this machine does.
pub(crate) struct SystemNames(TokioResolver);

impl SystemNames {
    /// Reads `/etc/resolv.conf` and `/etc/hosts`, once. To be called within the runtime. A machine without name servers has
    /// its hosts file.
    ///
    /// # Errors
    /// What makes of it no resolver.
    pub(crate) fn read() -> Result<Self, NetError> {
        let mut builder = match TokioResolver::builder_tokio() {
            Ok(builder) => builder,
            Err(_) => Resolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default()),
        };
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Always;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // Addresses are remembered where they are pinned.
        options.cache_size = 0;
        builder.build().map(Self)
    }
}

impl Resolve for SystemNames {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            match self.0.lookup_ip(name).await {
                Ok(found) => Ok(found.iter().collect()),
                Err(error) if error.is_no_records_found() => Err(ResolveError::NoSuchHost),
                Err(NetError::Timeout) => Err(ResolveError::TimedOut),
                Err(error) => Err(ResolveError::Failed(error.to_string())),
            }
        })
    }
}
