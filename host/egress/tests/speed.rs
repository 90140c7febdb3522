//! How fast a large body goes out, beside the tool that people have. Not a test of every run: it takes a minute, and curl.

use crate::harness::*;
use crate::servers::Tls;
use attest_wire::egress::Start;
use hyper::Request;
use std::process::Command;
use std::time::Instant;

const BYTES: usize = 1 << 30;
const PIECE: usize = 64 * 1024;

#[tokio::test]
#[ignore = "takes a minute, and curl"]
async fn a_large_upload_reaches_half_the_speed_of_curl_in_constant_memory() {
    let file = std::env::temp_dir().join(format!("attest-egress-{}", std::process::id()));
    std::fs::File::create(&file).unwrap().set_len(BYTES as u64).unwrap();
    for protocol in ["http/1.1", "h2"] {
        let server = Tls::echo(protocol).await;
        let target = format!("{}/sink", server.origin);
        let start = Start { roots: server.root.clone(), ..one_secret(&server.origin, &["header:x-token"]) };
        let mut egress = Egress::start(start).await;
        for _ in 0..3 {
            let began = Instant::now();
            let status = Command::new("curl").args(["-sk", "-o", "/dev/null", "-T"]).arg(&file).arg(&target).status();
            assert!(status.unwrap().success());
            let curl = began.elapsed();

            let piece = hyper::body::Bytes::from(vec![0; PIECE]);
            let body = sized(BYTES, piece);
            let request = Request::put(&target).header("content-length", BYTES).body(body).unwrap();
            let began = Instant::now();
            let (_, text, _) = egress.ask(with(request, &asked("npm", "header:x-token", ""))).await;
            let here = began.elapsed();
            assert_eq!(text, BYTES.to_string());
            let speed = |took: std::time::Duration| BYTES as f64 / took.as_secs_f64() / 1e6;
            println!("{protocol}: curl {:.0} MB/s, egress {:.0} MB/s, {} KiB", speed(curl), speed(here), egress.peak());
            assert!(here < 2 * curl, "{here:?} against {curl:?}");
        }
        assert!(egress.peak() < 64 * 1024);
    }
    std::fs::remove_file(file).unwrap();
}
