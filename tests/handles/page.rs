//! G07: what a step writes is no order to anybody: not to a CI system, not to a terminal.

use super::{Scene, http};
use crate::support::run;

#[test]
fn g07_what_a_step_writes_is_no_command() {
    let scene = Scene::new();
    let (output, summary) = (scene.runner.write("output", ""), scene.runner.write("summary", ""));
    let mut command = scene.command(&http(&[]), &[], &["page"]);
    command.env("GITHUB_ACTIONS", "true").env("CI", "true").env("GITHUB_OUTPUT", &output);
    command.env("GITHUB_STEP_SUMMARY", &summary);
    let out = run(&mut command).ok();
    let lines: Vec<&str> = out.stderr.lines().collect();

    // All that the step wrote stands between two lines that it can't know.
    let fence = lines.iter().position(|line| line.starts_with("::stop-commands::")).unwrap();
    let token = lines[fence].trim_start_matches("::stop-commands::");
    assert_eq!(token.len(), 32);
    let end = lines.iter().position(|line| *line == format!("::{token}::")).unwrap();
    for said in ["::set-output name=a::b", "##[error]c \\u{1b}[31mred"] {
        let at = lines.iter().position(|line| line.contains(said)).unwrap_or_else(|| panic!("{}", out.stderr));
        assert!(fence < at && at < end, "{}", out.stderr);
    }
    assert!(!out.stderr.contains('\u{1b}'), "{}", out.stderr);
    // Behind it, one command: the remark, in one line, whatever is in it.
    let outside = |at: usize| at < fence || at > end;
    let commands = lines.iter().enumerate().filter(|(at, line)| outside(*at) && line.starts_with("::")).count();
    assert_eq!(commands, 1, "{}", out.stderr);
    let remark = "::warning file=src/a%2Cb.rs,line=3,title=a%3A b%2C c::look%0A::error::here";
    assert_eq!(lines.last(), Some(&remark), "{}", out.stderr);

    // Outputs stand between delimiters of their own.
    let written = std::fs::read_to_string(output).unwrap();
    let mut lines = written.lines();
    let (name, delimiter) = lines.next().unwrap().split_once("<<").unwrap();
    assert_eq!((name, delimiter.len()), ("out", 32));
    assert_eq!(lines.collect::<Vec<_>>(), ["one", "two=three", "::error::four", delimiter]);
    assert_eq!(std::fs::read_to_string(summary).unwrap(), "# Done\n::warning::not a command\n");
    assert_eq!(out.stdout, "out=one\\u{a}two=three\\u{a}::error::four\n");

    // Two runs have two fences.
    let again = run(scene.command(&http(&[]), &[], &["page"]).env("GITHUB_ACTIONS", "true"));
    assert!(!again.ok().stderr.contains(token));
}

#[test]
fn pages_have_their_bounds() {
    let scene = Scene::new();
    scene.run(&[], &["summaries", "1024"]).ok();
    let out = scene.run(&[], &["summaries", "1025"]).refused(134, "AR-W302");
    assert!(out.stderr.contains("1 MiB of summary"), "{}", out.stderr);
    scene.run(&[], &["annotations", "1000"]).ok();
    let out = scene.run(&[], &["annotations", "1001"]).refused(134, "AR-W302");
    assert!(out.stderr.contains("1000 annotations"), "{}", out.stderr);
}
