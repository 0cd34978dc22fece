//! Programs that are not ours against the sandbox: the samples of the hosts' own documents, a SOAP library for 4shared, and one for S3.
//!
//! They show that the sandbox speaks the hosts' protocols and not merely what ferryd speaks. They are in Python and need packages,
//! which `cargo test` must not fetch: without `FERRYD_PYTHON` every test here is skipped, and says so. The variable names a Python
//! that has `tests/clients/requirements.txt` installed; `.ci/run` makes one.

use std::path::Path;
use std::process::{Command, Stdio};

use ferryd_sandbox::cloudkp::{ChunkReply, FinishReply};
use ferryd_sandbox::kie::ReplyShape;
use ferryd_sandbox::{Options, Rules, Sandbox};

use crate::skip::skipped;

/// Runs a program from `tests/clients` against a sandbox with these rules; `path` is where on the sandbox its first argument leads.
fn run(program: &str, path: &str, change: impl FnOnce(&mut Rules)) {
    let Some(python) = std::env::var_os("FERRYD_PYTHON") else {
        return skipped("FERRYD_PYTHON names no Python with tests/clients/requirements.txt installed");
    };
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut options = Options::new(dir.path());
    change(&mut options.rules);
    let sandbox = {
        let _inside = runtime.enter();
        Sandbox::start(options).unwrap()
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(program);
    let mut command = Command::new(python);
    command.arg(file).arg(format!("http://{}{path}", sandbox.addr())).stdin(Stdio::null()).current_dir(dir.path());
    // A proxy of this machine has no business on its loopback.
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    let output = command.output().unwrap();
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.trim() == "ok", "{program}: {}\n{said}\n{complaint}", output.status);
}

#[test]
fn the_sample_of_cloudkp_succeeds() {
    run("cloudkp_sample.py", "", |_| {});
}

/// The answers that the sample itself expects, which are not those its document describes.
#[test]
fn the_sample_of_cloudkp_succeeds_with_the_answers_it_expects() {
    run("cloudkp_sample.py", "", |rules| {
        (rules.cloudkp.chunk_reply, rules.cloudkp.finish_reply) = (ChunkReply::Ok, FinishReply::Bare);
    });
}

#[test]
fn the_sample_of_uploadgig_succeeds() {
    run("uploadgig_sample.py", "", |_| {});
}

#[test]
fn the_samples_of_kie_succeed_with_both_documented_answers() {
    for shape in [ReplyShape::Pages, ReplyShape::Quickstart] {
        run("kie_sample.py", "", |rules| rules.kie.shape = shape);
    }
}

#[test]
fn a_library_for_s3_uploads_in_one_request_and_in_parts() {
    run("s3_boto3.py", "/s3", |_| {});
}

#[test]
fn a_soap_library_uploads_to_4shared() {
    run("fourshared_zeep.py", "/4shared/jax3/DesktopApp", |_| {});
}
