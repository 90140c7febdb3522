//! The smallest step: it says hello.

fn run(args: Vec<String>) -> attest_sdk::Result {
    let whom = args.first().map_or("world", String::as_str);
    attest_sdk::info(&format!("hello, {whom}"));
    Ok(())
}

attest_sdk::step!(run);
