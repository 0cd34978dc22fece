//! Where work runs that may wait for a disk.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::mounts::Mounts;

/// Where work runs that may wait for a disk, so that it keeps no task waiting.
#[derive(Debug, Clone, Copy, Default)]
pub enum Threads {
    /// On threads of the runtime that may block.
    #[default]
    Pool,
    /// On the caller's, which has no other: nothing in a simulator waits.
    #[cfg(feature = "simulator")]
    Caller,
}

/// The work panicked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("internal error: {0}")]
pub struct Panicked(String);

impl Threads {
    /// Runs `work` and waits for it.
    ///
    /// # Errors
    ///
    /// It panicked.
    pub async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
        match self {
            Threads::Pool => tokio::task::spawn_blocking(work).await.map_err(|error| Panicked(error.to_string())),
            #[cfg(feature = "simulator")]
            Threads::Caller => Ok(work()),
        }
    }
}

/// Does `work` for every path, and answers what it said of each, in their order; nothing of those whose file system has not
/// answered within `limit`, which is for all of them together. Those that are on a file system that may hang have a thread for
/// themselves, and each other thread that ends has done all of its work.
pub(crate) fn each_within<T: Send + 'static>(
    paths: Vec<PathBuf>,
    limit: Duration,
    work: impl Fn(&Path) -> T + Clone + Send + 'static,
) -> Vec<Option<T>> {
    let mut answers: Vec<Option<T>> = paths.iter().map(|_| None).collect();
    let (mounts, deadline) = (Mounts::now(), Instant::now() + limit);
    let (hanging, here): (Vec<_>, Vec<_>) =
        paths.into_iter().enumerate().partition(|(_, path)| !mounts.met(path, |_| false).is_empty());
    let (tell, told) = channel();
    for load in hanging.into_iter().map(|one| vec![one]).chain([here]).filter(|load| !load.is_empty()) {
        let (tell, work) = (tell.clone(), work.clone());
        let all = move || load.iter().for_each(|(index, path)| drop(tell.send((*index, work(path)))));
        if let Err(error) = std::thread::Builder::new().name("folder".into()).spawn(all) {
            tracing::warn!("cannot start a thread that looks at folders: {error}");
        }
    }
    drop(tell);
    loop {
        match told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((index, answer)) => answers[index] = Some(answer),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return answers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_does_not_answer_costs_its_own_answer_and_the_limit() {
        let (hang, hung) = channel::<()>();
        let hung = std::sync::Arc::new(std::sync::Mutex::new(hung));
        let work = move |path: &Path| {
            if path == Path::new("/hangs") {
                assert!(hung.lock().unwrap().recv().is_err());
            }
            path.components().count()
        };
        let answers = each_within(["/", "/a/b", "/hangs"].map(PathBuf::from).into(), Duration::from_millis(200), work);
        assert_eq!(answers, [Some(1), Some(3), None]);
        drop(hang);
    }
}
