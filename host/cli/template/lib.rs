//! A step of a pipeline. What it opens or sets it declares in `step.toml`.

use attest_sdk::{Result, info, set_output};

#[attest_sdk::step]
fn run(args: Vec<String>) -> Result {
    let whom = args.first().map_or("world", String::as_str);
    info(&format!("hello, {whom}"));
    set_output("greeting", &format!("hello, {whom}"))
}
