//! The one list of the emulated hosts. Whatever concerns all of them goes through it: the rules, the servers, the printed tables,
//! the demo and the tests. A further host is a file or folder beside this one, its `mod` in `lib.rs`, and an entry here.

use std::net::SocketAddr;

use super::Emulated;

/// An emulated host.
struct Kind {
    word: &'static str,
    table: fn(SocketAddr) -> String,
}

/// An entry is the name of the host's module, and of the type in it that implements [`Emulated`]. The module has its word (`KIND`),
/// what its documentation leaves open (`Rules`), and what prints its table (`config`). A `#[cfg(…)]` may stand before it.
macro_rules! kinds {
    ($($(#[doc = $about:literal])? $(#[cfg($cfg:meta)])? $module:ident: $emulation:ident,)+) => {
        /// How each host reads and answers where its documentation leaves a choice.
        #[derive(Debug, Clone, Default)]
        pub struct Rules {
            $($(#[doc = $about])? $(#[cfg($cfg)])? pub $module: super::$module::Rules,)+
        }

        /// Every kind there is.
        static KINDS: &[Kind] = &[
            $($(#[cfg($cfg)])? Kind { word: super::$module::KIND, table: super::$module::config },)+
        ];

        pub(super) fn hosts(rules: Rules) -> Vec<Box<dyn Emulated>> {
            vec![$($(#[cfg($cfg)])? Box::new(super::$module::$emulation::new(rules.$module)),)+]
        }
    };
}

kinds! {
    /// CloudKP.
    cloudkp: CloudKp,
    /// UploadGig.
    uploadgig: UploadGig,
    /// KooDrive.
    koodrive: KooDrive,
    /// Kie.ai.
    kie: Kie,
    /// 4shared.
    fourshared: FourShared,
    /// A store that speaks S3.
    s3: S3,
    /// A WebDAV server.
    webdav: WebDav,
    /// A server of tus.
    tus: Tus,
    /// The example, which exists nowhere else.
    #[cfg(feature = "example-kind")]
    example: Example,
}

/// The `[host.…]` tables of a configuration that uses the hosts of a sandbox at `addr`.
pub fn config_for(addr: SocketAddr) -> String {
    KINDS.iter().map(|kind| (kind.table)(addr)).collect::<Vec<_>>().join("\n")
}

/// The same for one kind; nothing for a word that is none.
pub fn config_of(word: &str, addr: SocketAddr) -> Option<String> {
    KINDS.iter().find(|kind| kind.word == word).map(|kind| (kind.table)(addr))
}

/// The words of the kinds, in the order of [`config_for`]. Each is also the name of its table.
pub fn kinds() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.word).collect()
}
