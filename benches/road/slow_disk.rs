//! A disk that answers a sync late: the C library's two calls for it, replaced in the daemon by slower ones that also count.

use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = include_str!("slow_sync.c");

pub(crate) struct SlowDisk {
    dir: tempfile::TempDir,
    /// What each sync takes more.
    pub micros: u64,
}

impl SlowDisk {
    /// Builds the replacement; where that cannot be, says why.
    pub(crate) fn new(micros: u64) -> Result<SlowDisk, String> {
        if !cfg!(target_os = "linux") {
            return Err("only Linux lets a library be preloaded so".into());
        }
        let disk = SlowDisk { dir: tempfile::tempdir().unwrap(), micros };
        std::fs::write(disk.dir.path().join("slow_sync.c"), SOURCE).unwrap();
        std::fs::write(disk.count(), [0; 8]).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-shared", "-fPIC", "-o"]).arg(disk.library()).arg(disk.dir.path().join("slow_sync.c"));
        match cc.output() {
            Ok(output) if output.status.success() => Ok(disk),
            Ok(output) => Err(format!("cc has failed: {}", String::from_utf8_lossy(&output.stderr))),
            Err(error) => Err(format!("there is no cc ({error})")),
        }
    }

    fn library(&self) -> PathBuf {
        self.dir.path().join("slow_sync.so")
    }

    fn count(&self) -> PathBuf {
        self.dir.path().join("count")
    }

    /// What a process needs in its environment to have this disk.
    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let micros = PathBuf::from(self.micros.to_string());
        vec![("LD_PRELOAD", self.library()), ("FERRYD_BENCH_SYNC_US", micros), ("FERRYD_BENCH_SYNC_COUNT", self.count())]
    }

    /// Syncs so far.
    pub(crate) fn syncs(&self) -> u64 {
        u64::from_ne_bytes(std::fs::read(self.count()).unwrap().try_into().unwrap())
    }
}
