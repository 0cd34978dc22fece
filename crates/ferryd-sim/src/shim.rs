use std::io;
use std::path::Path;
use ferryd::internals::os::simulated_files::Disk;
#[allow(unused)]
pub(crate) trait Shim {
    fn thaw(&self) {}
    fn freeze(&self) {}
    fn unmount(&self, _: &Path) -> io::Result<()> { Ok(()) }
    fn remount(&self, _: &Path) -> io::Result<()> { Ok(()) }
    fn restore(&self, _: &Path) -> io::Result<()> { Ok(()) }
    fn overwrite(&self, path: &Path, b: &[u8]) -> io::Result<()>;
    fn overwrite_keeping_mtime(&self, path: &Path, b: &[u8]) -> io::Result<()> { self.overwrite(path, b) }
    fn truncate(&self, path: &Path, n: u64) -> io::Result<()>;
    fn link(&self, path: &Path, to: &Path) -> io::Result<()> { Ok(()) }
    fn lose_power(&self, f: &mut dyn FnMut() -> bool) {}
    fn lose_events(&self, lost: bool) {}
    fn before_steps(&self, gate: std::sync::Arc<dyn Fn(&str) -> bool + Send + Sync>) {}
}
impl Shim for Disk {
    fn overwrite(&self, path: &Path, b: &[u8]) -> io::Result<()> { self.write(path, b) }
    fn truncate(&self, path: &Path, n: u64) -> io::Result<()> { let mut b = self.read(path)?; b.truncate(n as usize); self.write(path, &b) }
}
