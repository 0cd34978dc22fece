//! What a kind of host is to the rest of the program: `Protocol` is what its folder must offer, [`Kind`] the same without its
//! types, so that all of them stand in one list (`kinds`).

use std::any::type_name;
use std::sync::Arc;

use crate::config::reading::Table;
use crate::config::{Environment, HostConfig, HostKind, HostSettings};
use crate::job::upload::{Class, Session};

use super::supplies::Supplies;
use super::{Host, HostError};

/// What the folder of a kind must offer besides the verbs of [`Host`].
pub(crate) trait Protocol: Host + Sized + 'static {
    /// The word after `kind =` in a `[host.NAME]` table. It stands in queues, so it never changes.
    const WORD: &'static str;
    /// The name of the service, as its maker writes it.
    const NAME: &'static str;
    /// Jobs uploading at once that make sense when nobody says; nothing leaves it to the daemon's limit.
    const MAX_UPLOADS: Option<usize> = None;
    /// Whether the service never tells more of a stored file than that it has it: no size, no digest. `check` then warns of an
    /// after-action, which would wait for ever.
    const GIVES_ONLY_ITS_WORD: bool = false;
    /// Whether `on_unknown = "probe"` is offered: the service can be asked about a finish that went unanswered, but at a cost, so
    /// the user decides. A service that can be asked for nothing is always asked.
    const PROBES_IF_TOLD_TO: bool = false;
    /// Whether people are told of it: in messages, in `config.example.toml`, in the README. One that is built for tests alone is
    /// not.
    const DOCUMENTED: bool = true;

    /// The settings that only this kind has.
    type Settings: HostSettings;

    /// Takes them out of the table. Nothing where one that must be there is missing or wrong, which is then told.
    fn read(table: &Table<'_>, environment: &dyn Environment) -> Option<Self::Settings>;

    /// A host with these settings. Sends nothing.
    fn make(settings: &Self::Settings, supplies: &mut Supplies<'_>) -> Result<Self, HostError>;

    /// Reads a stored session as the verbs do, and stores it again: what a session says must survive that.
    fn stored_again(session: &Session) -> Result<Session, HostError>;
}

/// A host, or why there is none.
type Made = Result<Arc<dyn Host>, HostError>;

/// A kind of host, in the list of all of them.
#[derive(Debug)]
pub struct Kind {
    config: HostKind,
    /// Of the type that implements it.
    path: fn() -> &'static str,
    make: fn(&HostConfig, &mut Supplies<'_>) -> Made,
    stored_again: fn(&Session) -> Result<Session, HostError>,
}

impl Kind {
    pub(super) const fn of<P: Protocol>() -> Kind {
        let config = HostKind {
            word: P::WORD,
            name: P::NAME,
            max_uploads: P::MAX_UPLOADS,
            gives_only_its_word: P::GIVES_ONLY_ITS_WORD,
            probes_if_told_to: P::PROBES_IF_TOLD_TO,
            documented: P::DOCUMENTED,
            read: read::<P>,
        };
        Kind { config, path: type_name::<P>, make: make::<P>, stored_again: P::stored_again }
    }

    /// The word after `kind =`.
    pub fn word(&self) -> &'static str {
        self.config.word
    }

    /// The name of the service.
    pub fn name(&self) -> &'static str {
        self.config.name
    }

    /// The name of its folder.
    #[doc(hidden)]
    pub fn module(&self) -> &'static str {
        (self.path)().rsplit("::").nth(1).unwrap_or_default()
    }

    /// The host that `config` describes.
    pub(super) fn make(&self, config: &HostConfig, supplies: &mut Supplies<'_>) -> Made {
        (self.make)(config, supplies)
    }

    pub(super) fn stored_again(&self, session: &Session) -> Result<Session, HostError> {
        (self.stored_again)(session)
    }
}

impl AsRef<HostKind> for Kind {
    fn as_ref(&self) -> &HostKind {
        &self.config
    }
}

fn read<P: Protocol>(table: &Table<'_>, environment: &dyn Environment) -> Option<Arc<dyn HostSettings>> {
    P::read(table, environment).map(|settings| Arc::new(settings) as Arc<dyn HostSettings>)
}

fn make<P: Protocol>(config: &HostConfig, supplies: &mut Supplies<'_>) -> Made {
    let another = || HostError::new(Class::HostRefused, format!("[host.{}] has the settings of another kind", config.name));
    let settings = config.settings_of::<P::Settings>().ok_or_else(another)?;
    P::make(settings, supplies).map(|host| Arc::new(host) as Arc<dyn Host>)
}
