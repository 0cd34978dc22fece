//! A host that is made when it is first needed.

use std::fmt;
use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::job::upload::Class;
use crate::os::threads::Threads;

use super::{Host, HostError, Unusable};

/// A host that is made when it is first asked for, on a thread that may wait, since a secret may come from a program. Clones are
/// the same host: it is made once for all who ask.
///
/// What could not be made, or was refused, is not mended by asking again. Whoever learns of that takes [`LazyHost::anew`], which
/// reads the secrets again; how often is theirs to bound.
#[derive(Clone)]
pub struct LazyHost {
    make: Arc<dyn Fn() -> Arc<dyn Host> + Send + Sync>,
    threads: Threads,
    made: Arc<OnceCell<Arc<dyn Host>>>,
}

impl fmt::Debug for LazyHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.made.initialized() { "LazyHost(made)" } else { "LazyHost(not made)" })
    }
}

impl LazyHost {
    /// The host that `make` answers. It may wait.
    pub fn new(threads: Threads, make: impl Fn() -> Arc<dyn Host> + Send + Sync + 'static) -> LazyHost {
        LazyHost { make: Arc::new(make), threads, made: Arc::default() }
    }

    /// The host itself.
    pub async fn get(&self) -> Arc<dyn Host> {
        let make = async {
            let make = self.make.clone();
            let made = self.threads.run(move || make()).await;
            made.unwrap_or_else(|error| Arc::new(Unusable(HostError::new(Class::Unreadable, error.to_string()))))
        };
        self.made.get_or_init(|| make).await.clone()
    }

    /// The same host, to be made anew.
    #[must_use]
    pub fn anew(&self) -> LazyHost {
        LazyHost { made: Arc::default(), ..self.clone() }
    }

    /// Whether it has been made.
    pub fn is_made(&self) -> bool {
        self.made.initialized()
    }

    /// Whether the other is a clone of this one.
    pub fn is(&self, other: &LazyHost) -> bool {
        Arc::ptr_eq(&self.made, &other.made)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A host whose error says how many have been made.
    fn counted() -> LazyHost {
        let count = AtomicUsize::new(0);
        let numbered = move || HostError::new(Class::HostRefused, format!("{}", count.fetch_add(1, Ordering::Relaxed) + 1));
        LazyHost::new(Threads::default(), move || Arc::new(Unusable(numbered())))
    }

    async fn number(host: &LazyHost) -> String {
        host.get().await.check().await.unwrap_err().said
    }

    #[tokio::test]
    async fn a_host_is_made_once_for_all_who_ask_together_and_again_only_anew() {
        let host = counted();
        let same = host.clone();
        assert_eq!(tokio::join!(number(&host), number(&same), number(&host)), ("1".into(), "1".into(), "1".into()));
        let anew = host.anew();
        assert!(host.is(&same) && !host.is(&anew));
        assert_eq!((number(&anew).await, number(&same).await), ("2".into(), "1".into()));
    }

    #[tokio::test]
    async fn a_bug_while_a_host_is_made_ends_no_more_than_that_host() {
        let host = LazyHost::new(Threads::default(), || panic!("a bug"));
        assert_eq!(host.get().await.check().await.unwrap_err().class, Class::Unreadable);
    }
}
