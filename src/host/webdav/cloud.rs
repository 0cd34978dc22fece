//! Where Nextcloud and ownCloud have what WebDAV has not, by the address of a folder of theirs (page, 12 and 13).

use super::place;

/// Between the address of a server and the id of a user.
const FILES: &str = "/remote.php/dav/files/";

/// A folder of a user of Nextcloud or ownCloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloud {
    /// The address of the server, without a slash at the end.
    server: String,
    /// The user's id, as it stands in addresses.
    user: String,
    /// The folder below the user's own, as people read it: names with a slash before each.
    folder: String,
}

impl Cloud {
    /// What the address of a folder says.
    pub(super) fn of(base_url: &str) -> Option<Cloud> {
        let (server, behind) = base_url.split_once(FILES)?;
        let (user, folder) = behind.split_once('/').unwrap_or((behind, ""));
        let folder = place::names_of(folder).iter().map(|name| format!("/{name}")).collect();
        (!user.is_empty()).then(|| Cloud { server: server.to_owned(), user: user.to_owned(), folder })
    }

    /// Where chunks go.
    pub(super) fn uploads(&self) -> String {
        format!("{}/remote.php/dav/uploads/{}", self.server, self.user)
    }

    /// Where the server tells what it is.
    pub(super) fn status(&self) -> String {
        format!("{}/status.php", self.server)
    }

    /// Where shares are listed and made.
    pub(super) fn shares(&self) -> String {
        format!("{}/ocs/v2.php/apps/files_sharing/api/v1/shares?format=json", self.server)
    }

    /// Where the server tells what it lets users do.
    pub(super) fn capabilities(&self) -> String {
        format!("{}/ocs/v2.php/cloud/capabilities?format=json", self.server)
    }

    /// The file at `path` below the folder, as shares name it.
    pub(super) fn path(&self, path: &str) -> String {
        format!("{}/{path}", self.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_follows_from_the_address_of_a_folder() {
        let cloud = Cloud::of("https://h.example/x/remote.php/dav/files/me%40you/a%20b/c").unwrap();
        assert_eq!(cloud.uploads(), "https://h.example/x/remote.php/dav/uploads/me%40you");
        assert_eq!(cloud.status(), "https://h.example/x/status.php");
        assert_eq!(cloud.path("d/ü.txt"), "/a b/c/d/ü.txt");
        let own = Cloud::of("https://h.example/remote.php/dav/files/me").unwrap();
        assert_eq!((own.path("d"), own.shares().contains("example/ocs/v2.php/")), ("/d".into(), true));
        assert_eq!(Cloud::of("https://h.example/remote.php/webdav"), None);
        assert_eq!(Cloud::of("https://h.example/remote.php/dav/files/"), None);
    }
}
