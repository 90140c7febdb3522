//! How the program begins, and what it does not begin with.

use crate::harness::*;
use crate::servers::Raw;
use attest_wire::Channel;
use attest_wire::egress::{FromEgress, Start};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attest-egress"));
    command.stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

#[test]
fn this_machine_can_raise_the_walls() {
    let done = program().arg("--check-walls").stdin(Stdio::null()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn it_is_not_started_by_hand() {
    for (arguments, why) in [
        (&["--user", "0"][..], "its arguments"),
        (&["--user", "a", "b"], "its arguments"),
        (&["--check"], "its arguments"),
        (&[], "is not an agent"),
    ] {
        let done = program().args(arguments).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.code() == Some(2) && said.contains(why) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn what_it_cannot_work_with_it_says() {
    let short = one_secret("https://a.example", &["basic"]);
    let short = Start { secrets: vec![secret("npm", "short", &["https://a.example"], &["basic"])], ..short };
    let roots = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
    for (start, descriptors, why) in [
        (short, 1, "`npm` has 5 bytes"),
        (Start { roots, ..nothing() }, 1, "added roots"),
        (nothing(), 0, "0 descriptors"),
        (nothing(), 2, "2 descriptors"),
    ] {
        let (agent, stdin) = UnixStream::pair().unwrap();
        let (worker, _theirs) = UnixStream::pair().unwrap();
        let mut child = program().stdin(Stdio::from(OwnedFd::from(stdin))).spawn().unwrap();
        let agent = Channel::new(agent);
        let all = [worker.as_fd(), worker.as_fd()];
        agent.send_with(&start, &all[..descriptors]).unwrap();
        match agent.receive::<FromEgress>().unwrap() {
            FromEgress::NotStarted { reason } => assert!(reason.contains(why), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert!(!child.wait().unwrap().success());
    }
}

#[test]
fn it_ends_with_the_agent() {
    let (agent, stdin) = UnixStream::pair().unwrap();
    let (_worker, theirs) = UnixStream::pair().unwrap();
    let mut child = program().stdin(Stdio::from(OwnedFd::from(stdin))).spawn().unwrap();
    let agent = Channel::new(agent);
    agent.send_with(&nothing(), &[theirs.as_fd()]).unwrap();
    assert_eq!(agent.receive::<FromEgress>().unwrap(), FromEgress::Ready);
    drop(agent);
    child.wait().unwrap();
}

#[tokio::test]
async fn names_are_asked_for_behind_the_walls() {
    let server = Raw::saying("done");
    let origins = vec![private("https://nobody-has-this-name.example.com"), private(&server.origin)];
    let mut egress = Egress::start(Start { origins, ..nothing() }).await;
    // It depends on where this runs whether anybody answers who could know.
    let (failure, sent) = egress.fail(get("https://nobody-has-this-name.example.com")).await;
    assert!(["no-such-host", "timed-out"].contains(&failure.as_str()), "{sent:?}");
    egress.ask(get(&server.origin)).await;
}

#[tokio::test]
async fn it_is_the_user_that_it_is_told_to_be_and_can_do_nothing() {
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let server = Raw::saying("done");
    let start = Start { origins: vec![private(&server.origin)], ..nothing() };
    let arguments: &[&str] = if root { &["--user", "4000000", "4000001"] } else { &[] };
    let mut egress = Egress::start_as(arguments, start).await;
    egress.ask(get(&server.origin)).await;
    if root {
        assert_eq!(egress.status("Uid:"), ["4000000"; 4].join("\t"));
        assert_eq!(egress.status("Gid:"), ["4000001"; 4].join("\t"));
        assert_eq!(egress.status("Groups:"), "");
    }
    for (line, value) in [
        ("CapEff:", "0000000000000000"),
        ("CapPrm:", "0000000000000000"),
        ("NoNewPrivs:", "1"),
        ("Seccomp:", "2"),
        ("Threads:", "1"),
    ] {
        assert_eq!(egress.status(line), value, "{line}");
    }
}
