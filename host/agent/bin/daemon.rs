//! The daemon of its own user that owns the TPM.

use attest_agent::{Admins, Agent, Settings, config, installed, listen, start_log, told_to_end};
use attest_evidence::exchange::Isolation;
use attest_evidence::report::{Explain as _, Fault, Report};
use attest_spawner::{Spawner, Starting, User, Users};
use rustix::process::{Gid, Resource, Rlimit, Uid, geteuid, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Serves the jobs of this machine, until it is told to end.
pub(crate) fn serve() -> Result<(), Report> {
    let config = config::admin_file()?.ok_or_else(|| {
        Report::new("AR-C601", Fault::Environment, "an agent needs an admin's configuration, and there is none")
            .hint("make /etc/attest-run/config.toml; an empty file takes the defaults")
    })?;
    let section = config.agent;
    start_log("info");
    let user = find(&section.user)?;
    let worker = find(&section.worker_user)?;
    let egress = find(&section.egress_user)?;
    let ids = [user.uid(), worker.uid(), egress.uid()];
    if ids.contains(&0) || ids.iter().collect::<std::collections::BTreeSet<_>>().len() < ids.len() {
        let what = "agent, workers and egress need a user each, and not root";
        return Err(Report::new("AR-C602", Fault::Environment, what)
            .fact("user", format!("{} ({})", section.user, user.uid()))
            .fact("worker_user", format!("{} ({})", section.worker_user, worker.uid()))
            .fact("egress_user", format!("{} ({})", section.egress_user, egress.uid())));
    }
    let admins = section.admins.iter().map(|name| find(name).map(|user| user.uid())).collect::<Result<_, _>>()?;

    // Everything up to here, and the spawner and the socket, while this process still may. Then nothing.
    if geteuid().is_root() {
        make_state(&section.state, &user)?;
    }
    let ids = |user: &uzers::User| User { uid: user.uid(), gid: user.primary_group_id() };
    let users = Users { worker: ids(&worker), egress: ids(&egress) };
    let spawner = Spawner::start(&installed::spawned(), Some(users)).and_then(Starting::ready).map_err(|error| {
        error
            .report()
            .hint("start the agent as root, or with CAP_SETUID, CAP_SETGID and CAP_KILL: its spawner needs them")
    })?;
    if geteuid().is_root()
        && let Some(folder) = section.socket.parent()
    {
        make_folder(folder)?;
    }
    let socket = listen(&section.socket).map_err(|error| error.report())?;
    let http_roots = config::roots(section.http_roots.as_deref())?;
    let tpm = config::transport(Some(&section.tpm), &section.state)?;
    let (event_log, measurements) = config::logs(&tpm, section.event_log.as_deref(), section.measurements.as_deref())?;
    give_up(&user)?;

    let settings = Settings {
        state: section.state,
        tpm,
        event_log,
        measurements,
        isolation: Isolation::Agent,
        programs: installed::programs(),
        http_roots,
        tools: section.tools,
        worker: installed::spawned().worker,
        embedded_broker: None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Report::new("AR-C504", Fault::Environment, error.to_string()))?;
    let served = runtime.block_on(async {
        let agent = Arc::new(Agent::start(settings, spawner, None).await.map_err(|error| error.report())?);
        tracing::info!(socket = %section.socket.display(), "serving");
        agent.serve(socket, Admins::new(admins), told_to_end()).await.map_err(|error| error.report())
    });
    // Whatever still reads a file is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

fn find(name: &str) -> Result<uzers::User, Report> {
    name.parse().ok().and_then(uzers::get_user_by_uid).or_else(|| uzers::get_user_by_name(name)).ok_or_else(|| {
        Report::new("AR-C603", Fault::Environment, format!("there is no user `{name}`"))
            .hint("`useradd --system --shell /usr/sbin/nologin NAME` makes one")
    })
}

fn make_state(path: &Path, user: &uzers::User) -> Result<(), Report> {
    if path.exists() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .and_then(|()| chown(path, Some(user.uid()), Some(user.primary_group_id())))
        .map_err(|error| Report::new("AR-C604", Fault::Environment, format!("can't make {}: {error}", path.display())))
}

/// The folder of the socket, which every user of this machine may reach.
fn make_folder(path: &Path) -> Result<(), Report> {
    if path.exists() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(|error| Report::new("AR-C604", Fault::Environment, format!("can't make {}: {error}", path.display())))
}

/// Takes the agent's user and groups, and gives up every capability. One thread runs, and it is this one.
fn give_up(user: &uzers::User) -> Result<(), Report> {
    let drop_all = || -> rustix::io::Result<()> {
        if geteuid().is_root() {
            let groups: Vec<Gid> =
                user.groups().unwrap_or_default().iter().map(|group| Gid::from_raw(group.gid())).collect();
            rustix::thread::set_thread_groups(&groups)?;
            let (uid, gid) = (Uid::from_raw(user.uid()), Gid::from_raw(user.primary_group_id()));
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        }
        rustix::thread::clear_ambient_capability_set()?;
        let none = CapabilitySet::empty();
        rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
        rustix::thread::set_no_new_privs(true)?;
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
    };
    drop_all().map_err(|error| {
        Report::new("AR-C605", Fault::Environment, format!("can't give up privileges: {error}"))
            .fact("user", user.uid())
    })?;
    if geteuid().as_raw() != user.uid() {
        return Err(Report::new("AR-C606", Fault::Environment, "the agent runs as another user than configured")
            .fact("configured", user.uid())
            .fact("running as", geteuid().as_raw())
            .hint("start it as root, or as that user with `User=` in its unit"));
    }
    Ok(())
}
