//! `ferryd sandbox`: the sandbox hosts, until Ctrl-C.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::os::signals;
use ferryd_sandbox::faults::Script;
use ferryd_sandbox::{self as sandbox, Options, Sandbox};

use super::exit::Exit;
use super::init::{self, quoted};
use super::render::{self, CommandFailure};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Address and port to listen on; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:8787", value_name = "ADDR", value_parser = parse_listen)]
    listen: SocketAddr,
    /// Keep everything in this folder [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Write a complete configuration for these hosts to FILE, with a folder to drop files into beside it.
    #[arg(long, value_name = "FILE")]
    write_config: Option<PathBuf>,
    /// Play this script of faults, in TOML or JSON: docs/SANDBOX.md lists what they can do.
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Count bytes and check sizes, but store nothing: for measurements.
    #[arg(long)]
    discard: bool,
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:8787".into())
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, CommandFailure> {
    if !arguments.listen.ip().is_loopback() {
        let message = format!("`{}` is not a loopback address", arguments.listen);
        let hint = "the sandbox has no access control, so it only listens on loopback; use 127.0.0.1:8787";
        return Err(CommandFailure::new(Exit::Usage, message).hint(hint));
    }
    let temporary = tempfile::tempdir()
        .map_err(|error| CommandFailure::new(Exit::Fault, format!("cannot create a temporary folder: {error}")))?;
    let dir = arguments.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let faults = match &arguments.faults {
        Some(file) => read_script(file)?,
        None => Script::default(),
    };
    let options = Options { listen: arguments.listen, faults, discard: arguments.discard, ..Options::new(&dir) };
    let (asked, mut ask) = tokio::sync::mpsc::channel(1);
    let listener = signals::listen(move |_| {
        // One is enough.
        asked.try_send(()).ok();
    });
    let _listener = listener.map_err(|error| CommandFailure::new(Exit::Fault, format!("cannot listen for signals: {error}")))?;
    super::runtime()?.block_on(async {
        let sandbox = Sandbox::start(options).map_err(|error| {
            CommandFailure::new(Exit::Fault, with_cause(&error)).hint("`--listen 127.0.0.1:0` picks a free port")
        })?;
        let told = tell(&sandbox, &dir, arguments.write_config.as_deref());
        if told.is_ok() {
            ask.recv().await;
        }
        sandbox.stop().await;
        told.map(|()| Exit::Fine)
    })
}

/// Tells a person how to use the hosts.
fn tell(sandbox: &Sandbox, dir: &Path, config: Option<&Path>) -> Result<(), CommandFailure> {
    let addr = sandbox.addr();
    let serving = format!("# Serving on {addr}, storing files in {}.", dir.display());
    let Some(config) = config else {
        let sections = sandbox::config_for(addr);
        return render::out(&format!("{serving} Add these sections to your configuration:\n\n{sections}"));
    };
    let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    let drop = write_config(&config, addr)
        .map_err(|error| CommandFailure::new(Exit::Usage, format!("cannot write `{}`: {error}", render::path(&config))))?;
    let (config, drop) = (render::path(&config), render::path(&drop));
    render::out(&format!("{serving}\n# Now run: ferryd --config '{config}' run\n# Then put a file into {drop}\n"))
}

/// Writes a configuration for the hosts at `addr`. Answers the folder that it watches.
fn write_config(file: &Path, addr: SocketAddr) -> std::io::Result<PathBuf> {
    let beside = file.with_extension("d");
    let drop = beside.join("Drop");
    let text = |path: &Path| path.to_str().map(quoted).ok_or(std::io::ErrorKind::InvalidFilename);
    let hosts: Vec<String> = sandbox::kinds().into_iter().map(quoted).collect();
    let config = format!(
        "# For practice: the hosts are those of `ferryd sandbox --listen {addr}`.\n\n[daemon]\nstate_dir = {}\n\n\
         [[watch]]\npath = {}\ncreate = true\nto = [{}]\n\n{}",
        text(&beside.join("state"))?,
        text(&drop)?,
        hosts.join(", "),
        sandbox::config_for(addr)
    );
    init::write(file, &config)?;
    Ok(drop)
}

fn read_script(file: &Path) -> Result<Script, CommandFailure> {
    let failed = |error: String| CommandFailure::new(Exit::Usage, format!("cannot use `{}`: {error}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    Script::parse(&text).map_err(|error| failed(with_cause(&error)))
}

/// What went wrong, and why.
fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
