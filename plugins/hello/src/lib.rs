//! The smallest step: it says hello.

#[attest_sdk::step]
fn run(args: Vec<String>) -> attest_sdk::Result {
    let whom = args.first().map_or("world", String::as_str);
    attest_sdk::info(&format!("hello, {whom}"));
    Ok(())
}
